//! What was found, and how bad it is. Pure.

use serde::Serialize;

use crate::failure::{Exit, Failure};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// As it should be.
    Good,
    /// Deploys work, and something should be otherwise.
    Weak,
    /// A deploy cannot work.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How it is.
    pub health: Health,
    /// What was looked at.
    pub what: &'static str,
    /// What was seen.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The code that a command would end with for it.
    #[serde(skip)]
    pub exit: Exit,
}

impl Finding {
    /// As it should be.
    pub fn good(what: &'static str, text: impl Into<String>) -> Self {
        Self { health: Health::Good, what, text: text.into(), remedy: None, exit: Exit::Done }
    }

    /// Not as it should be, and no deploy fails for it.
    pub fn weak(what: &'static str, text: impl Into<String>, remedy: Option<String>) -> Self {
        Self { health: Health::Weak, what, text: text.into(), remedy, exit: Exit::Done }
    }

    /// In the way of a deploy.
    pub fn bad(
        what: &'static str,
        text: impl Into<String>,
        remedy: Option<String>,
        exit: Exit,
    ) -> Self {
        Self { health: Health::Bad, what, text: text.into(), remedy, exit }
    }

    /// A look that failed itself.
    pub fn failed(what: &'static str, failure: &Failure) -> Self {
        let causes: Vec<String> = failure.error.chain().map(ToString::to_string).collect();
        let remedy = (!failure.hints.is_empty()).then(|| failure.hints.join("; "));
        Self::bad(what, causes.join(": "), remedy, failure.exit)
    }
}

/// The first bad finding's code: what comes after it may be its consequence.
pub fn exit<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Exit {
    let mut bad = findings.into_iter().filter(|finding| finding.health == Health::Bad);
    bad.next().map_or(Exit::Done, |finding| finding.exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_bad_says_how_it_ends() {
        let (good, weak) = (Finding::good("a", "b"), Finding::weak("a", "b", None));
        let bad = |exit| Finding::bad("a", "b", None, exit);
        assert_eq!(exit([&good, &weak]), Exit::Done);
        assert_eq!(exit([&weak, &bad(Exit::NotAllowed), &bad(Exit::Usage)]), Exit::NotAllowed);
    }
}
