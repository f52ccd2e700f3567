//! A few lines at the bottom of a terminal that are drawn over as things change.

use std::fmt::Display;
use std::fmt::Write as _;

use super::{Output, print};

/// The lines; they are gone when this is dropped. Off a terminal nothing is drawn.
#[derive(Debug)]
pub struct Live<'a> {
    output: &'a Output,
    drawn: Vec<String>,
}

impl<'a> Live<'a> {
    /// No lines yet.
    pub fn new(output: &'a Output) -> Self {
        Self { output, drawn: Vec::new() }
    }

    /// Draws `lines` in place of those before.
    pub fn draw(&mut self, lines: Vec<String>) {
        if self.output.is_terminal() && lines != self.drawn {
            let lines = fitting(lines, height());
            print(over(self.drawn.len(), &lines));
            self.drawn = lines;
        }
    }

    /// So many columns and rows can be drawn.
    pub fn room(&self) -> (usize, usize) {
        (width(), room(height()))
    }

    /// A line that stays, above the drawn ones.
    pub fn line(&mut self, text: impl Display) {
        let below = std::mem::take(&mut self.drawn);
        if !below.is_empty() {
            print(over(below.len(), &[]));
        }
        self.output.line(text);
        self.draw(below);
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.draw(Vec::new());
    }
}

fn height() -> usize {
    terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0))
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
}

/// The cursor stands below what is drawn, and the prompt above it stays in sight.
fn room(height: usize) -> usize {
    height.saturating_sub(2).max(1)
}

/// What cannot be on the screen cannot be drawn over.
fn fitting(mut lines: Vec<String>, height: usize) -> Vec<String> {
    let room = room(height);
    if lines.len() > room {
        let hidden = lines.len() - (room - 1);
        lines.truncate(room - 1);
        lines.push(format!("… and {hidden} more"));
    }
    lines
}

/// Goes up over the lines drawn before, clears them, and writes the new ones. The terminal cuts
/// what is too long: a line that wraps would take two.
fn over(before: usize, lines: &[String]) -> String {
    let mut text = String::from("\r");
    if before > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, "\x1b[{before}A");
    }
    text.push_str("\x1b[J\x1b[?7l");
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text + "\x1b[?7h"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let lines = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(fitting(lines(3), 5), lines(3));
        assert_eq!(fitting(lines(4), 5), ["0", "1", "… and 2 more"]);
        assert_eq!(fitting(lines(4), 0), ["… and 4 more"]);
    }

    #[test]
    fn new_lines_are_drawn_over_the_old() {
        assert_eq!(over(2, &["a".into()]), "\r\x1b[2A\x1b[J\x1b[?7la\n\x1b[?7h");
        assert_eq!(over(0, &[]), "\r\x1b[J\x1b[?7l\x1b[?7h");
    }
}
