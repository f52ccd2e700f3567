//! A failure of what is tried again and again, several times a second.

use std::io;

/// Tells of a failure when it begins or becomes another one, and not at each try.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    told: Option<String>,
}

impl Complaint {
    /// `what` has failed once more.
    pub(super) fn about(&mut self, error: &io::Error, what: &'static str) {
        if self.is_news(error) {
            tracing::warn!(%error, "{what}");
        }
    }

    fn is_news(&mut self, error: &io::Error) -> bool {
        let text = error.to_string();
        let is_news = self.told.as_ref() != Some(&text);
        self.told = Some(text);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_and_another_one_too() {
        let mut complaint = Complaint::default();
        let news = ["a", "a", "b", "b", "a"].map(|text| complaint.is_news(&io::Error::other(text)));
        assert_eq!(news, [true, false, true, false, true]);
    }
}
