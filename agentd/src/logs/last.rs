//! What an app said last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use deploy::log_line::LogLine;
use deploy::report::LAST_LINES_MAX;

/// An app's last lines, kept for the report of a failure. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    /// Those of a run that an agent before this one has taken down.
    pub fn of(lines: &[LogLine]) -> Self {
        let last = Self::default();
        last.push(lines);
        last
    }

    /// The lines, oldest first.
    pub fn get(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    pub(super) fn push(&self, lines: &[LogLine]) {
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for line in &lines[lines.len().saturating_sub(LAST_LINES_MAX)..] {
            if last.len() == LAST_LINES_MAX {
                last.pop_front();
            }
            last.push_back(shortened(&line.text));
        }
    }
}

/// A report is small: of a line it holds the beginning.
fn shortened(text: &str) -> String {
    const MAX: usize = 1000;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
