//! Columns that line up.

use std::fmt;

/// A table: a heading and rows, columns two spaces apart.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_uppercase).to_vec()] }
    }

    /// The same without the column of this heading.
    pub fn without(mut self, heading: &str) -> Self {
        let heading = heading.to_uppercase();
        if let Some(column) = self.rows[0].iter().position(|cell| *cell == heading) {
            for row in &mut self.rows {
                row.remove(column);
            }
        }
        self
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max()
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(|c| width(c).unwrap_or(0)).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            let end = if index + 1 < self.rows.len() { "\n" } else { "" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let mut table = Table::new(["name", "phase"]);
        table.row(["hello-10".into(), "serving".into()]);
        table.row(["é".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME      PHASE\nhello-10  serving\né");
        assert_eq!(table.without("phase").to_string(), "NAME\nhello-10\né");
    }
}
