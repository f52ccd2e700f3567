//! How a release is to go through the fleet: as people set it, and as a release carries it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Share, Span};

/// The rules of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Rules {
    /// How many instances go first, alone. None does where this is 0.
    pub canary: Limit,
    /// How long these must be healthy until the others follow.
    pub bake: Span,
    /// How many of the others may be on their way at a time. Unset: all of them where versions
    /// overlap, as no capacity is lost then; else [`MAX_PARALLEL_APART`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<Limit>,
    /// So many instances may fail; with one more the rollout halts.
    pub max_failures: u32,
    /// How long all instances are watched after the last one has switched.
    pub watch_for: Span,
    /// What becomes of the instances that have switched when a rollout halts.
    pub on_failure: OnFailure,
    /// An instance that has not reported for so long is passed over.
    pub stale_after: Span,
}

/// A fourth of the fleet: what is switched at a time where each switch costs capacity.
pub const MAX_PARALLEL_APART: Limit = Limit::Part(Share { per_mille: 250 });

impl Default for Rules {
    fn default() -> Self {
        Self {
            canary: Limit::Count(1),
            bake: Span::from_secs(10),
            max_parallel: None,
            max_failures: 0,
            watch_for: Span::from_secs(60),
            on_failure: OnFailure::Revert,
            stale_after: Span::from_secs(90),
        }
    }
}

impl Rules {
    /// How many of `all` instances may be on their way at a time; at least one.
    pub fn parallel(&self, all: usize, is_graceful: bool) -> usize {
        let default = if is_graceful { Limit::ALL } else { MAX_PARALLEL_APART };
        self.max_parallel.unwrap_or(default).of(all).max(1)
    }
}

/// What becomes of the instances that have switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They go back to the release before.
    Revert,
    /// They stay.
    Halt,
}

/// A text that is neither `revert` nor `halt`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither `revert` nor `halt`")]
pub struct NotOnFailure(String);

impl FromStr for OnFailure {
    type Err = NotOnFailure;

    fn from_str(text: &str) -> Result<Self, NotOnFailure> {
        match text {
            "revert" => Ok(Self::Revert),
            "halt" => Ok(Self::Halt),
            _ => Err(NotOnFailure(text.to_owned())),
        }
    }
}

/// What a release carries of its rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Plan {
    /// All switch as soon as they can. They are watched all the same, and brought back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
    /// How many instances its publisher found. Only a hint: by it many agents spread out what they
    /// would else do in the same moment.
    pub instances: u32,
    /// The rules.
    #[serde(flatten)]
    pub rules: Rules,
}

/// A number of instances, or a share of them: `2`, or `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many.
    Count(u32),
    /// So large a part of all, rounded down.
    Part(Share),
}

impl Limit {
    /// Every instance.
    pub const ALL: Self = Self::Part(Share { per_mille: 1000 });

    /// How many of `all` that are.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => all.min(count as usize),
            // A part of something is never nothing.
            Self::Part(Share { per_mille: 0 }) => 0,
            Self::Part(share) => (all * usize::from(share.per_mille) / 1000).max(1).min(all),
        }
    }
}

/// A text that is neither.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a number of instances nor a share of them (write 2, or 25%)")]
pub struct NotLimit(String);

impl FromStr for Limit {
    type Err = NotLimit;

    fn from_str(text: &str) -> Result<Self, NotLimit> {
        let bad = || NotLimit(text.to_owned());
        match text.trim().ends_with('%') {
            true => text.parse().map(Self::Part).map_err(|_| bad()),
            false => text.trim().parse().map(Self::Count).map_err(|_| bad()),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Part(share) => write!(f, "{share}"),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Part(share) => share.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = crate::amount::number_or_text(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_a_share() {
        let read = |text: &str| serde_json::from_str::<Limit>(text);
        assert_eq!(read("2").unwrap(), Limit::Count(2));
        assert_eq!(read("\"2\"").unwrap(), Limit::Count(2));
        assert_eq!(read("\"25%\"").unwrap(), Limit::Part(Share { per_mille: 250 }));
        for bad in ["-1", "0.5", "\"all\"", "\"101%\"", "true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for text in ["2", "\"25%\""] {
            assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn a_share_of_some_is_one_at_least() {
        let quarter = MAX_PARALLEL_APART;
        for (all, some) in [(0, 0), (1, 1), (3, 1), (8, 2), (10_000, 2_500)] {
            assert_eq!(quarter.of(all), some, "of {all}");
        }
        assert_eq!(Limit::Count(3).of(2), 2);
        let rules = Rules::default();
        assert_eq!((rules.parallel(20, true), rules.parallel(20, false)), (20, 5));
        let none = Rules { max_parallel: Some(Limit::Count(0)), ..rules };
        assert_eq!(none.parallel(20, true), 1, "a rollout must move");
    }

    #[test]
    fn an_older_plan_has_the_defaults() {
        let plan: Plan = serde_json::from_str(r#"{"instances": 3, "bake": "1s"}"#).unwrap();
        let rules = Rules { bake: Span::from_secs(1), ..Rules::default() };
        assert_eq!(plan, Plan { now: false, instances: 3, rules });
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
