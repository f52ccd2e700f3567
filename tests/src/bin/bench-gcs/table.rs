//! Figures, and the table of them.

/// Figures of one thing, in one unit.
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn new(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    pub(crate) fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The table's line of it.
    pub(crate) fn row(&self, what: &str, unit: &str, peer: &str) {
        let runs = self.0.len();
        let (min, max) = (self.0.first(), self.0.last());
        let [min, max] = [min, max].map(|figure| shown(figure.copied().unwrap_or(f64::NAN)));
        row(
            what,
            &format!("{} {unit}", shown(self.median())),
            runs,
            &format!("{min} to {max}"),
            peer,
        );
    }
}

pub(crate) fn head() {
    println!("| what | median | runs | min to max | peer in the same run |");
    println!("| --- | --- | --- | --- | --- |");
}

/// A line of the table.
pub(crate) fn row(what: &str, figure: &str, runs: usize, range: &str, peer: &str) {
    println!("| {what} | {figure} | {runs} | {range} | {peer} |");
}

/// With three digits that matter, and no more than a clock has.
pub(crate) fn shown(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}
