//! A rule: what befalls which calls, how often, and by which chance.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::choice::{Strike, Subject};
use super::kind::Kind;

/// Which faults befall which calls, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// How likely it is for a call that fits, from 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Which faults, each as likely.
    pub kinds: Vec<Kind>,
    /// The same seed gives the same faults for the same calls in the same order.
    #[serde(default)]
    pub seed: u64,
    /// Which calls.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// How often at most.
    #[serde(default)]
    pub count: Option<u64>,
    /// How late [`Kind::Slow`] is.
    #[serde(default = "default_delay_ms")]
    pub delay_ms: u64,
    /// What [`Kind::TooManyRequests`] says in `Retry-After`.
    #[serde(default = "default_retry_after_secs")]
    pub retry_after_secs: u64,
}

/// Which calls a rule is for: all that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The method.
    #[serde(default)]
    pub method: Option<String>,
    /// What the path begins with. Without it, calls on storage alone are meant.
    #[serde(default)]
    pub path_prefix: Option<String>,
    /// The object's name.
    #[serde(default)]
    pub name: Option<String>,
    /// What the object's name begins with.
    #[serde(default)]
    pub name_prefix: Option<String>,
    /// The kind of call, as the counts name it (`objects.insert multipart`).
    #[serde(default)]
    pub call: Option<String>,
}

fn always() -> f64 {
    1.0
}

fn default_delay_ms() -> u64 {
    500
}

fn default_retry_after_secs() -> u64 {
    1
}

impl Rule {
    /// One of these befalls every call on storage.
    pub fn new(kinds: impl Into<Vec<Kind>>) -> Self {
        Self {
            probability: always(),
            kinds: kinds.into(),
            seed: 0,
            matches: Match::default(),
            count: None,
            delay_ms: default_delay_ms(),
            retry_after_secs: default_retry_after_secs(),
        }
    }

    /// The same with this likelihood, by this seed.
    pub fn by_chance(self, probability: f64, seed: u64) -> Self {
        Self { probability, seed, ..self }
    }

    /// The same so often at most.
    pub fn times(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// The same for these calls alone.
    pub fn on(self, matches: Match) -> Self {
        Self { matches, ..self }
    }

    /// The same with this delay for [`Kind::Slow`].
    pub fn late_by(self, delay: Duration) -> Self {
        Self { delay_ms: delay.as_millis().try_into().unwrap_or(u64::MAX), ..self }
    }
}

impl Match {
    /// Calls on the object of this name.
    pub fn object(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The same with this method alone.
    pub fn method(self, method: impl Into<String>) -> Self {
        Self { method: Some(method.into()), ..self }
    }

    fn fits(&self, subject: &Subject<'_>) -> bool {
        let of_object = |given: &Option<String>, fits: fn(&str, &str) -> bool| {
            let name = subject.object.as_deref();
            given.as_ref().is_none_or(|given| name.is_some_and(|name| fits(name, given)))
        };
        self.method.as_ref().is_none_or(|method| *method == subject.call.method.as_str())
            && match &self.path_prefix {
                Some(prefix) => subject.call.path.starts_with(prefix),
                None => subject.route.is_storage(),
            }
            && of_object(&self.name, |name, given| name == given)
            && of_object(&self.name_prefix, |name, given| name.starts_with(given))
            && self.call.as_ref().is_none_or(|call| call == subject.route.kind())
    }
}

/// A rule with how often it has struck, and its chance.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: u64,
    rule: Rule,
    struck: u64,
    chance: Chance,
}

impl Active {
    pub(super) fn new(rule: Rule, id: u64) -> Self {
        let chance = Chance(rule.seed);
        Self { id, rule, struck: 0, chance }
    }

    pub(super) fn give_back(&mut self) {
        self.struck = self.struck.saturating_sub(1);
    }

    /// Whether it befalls this call, and with what.
    pub(super) fn strike(&mut self, subject: &Subject<'_>, has_listing: bool) -> Option<Strike> {
        let Self { id, rule, struck, chance } = self;
        if rule.count.is_some_and(|count| *struck >= count) || !rule.matches.fits(subject) {
            return None;
        }
        let mut kinds = rule.kinds.clone();
        kinds.retain(|kind| subject.can_be_befallen_by(*kind, has_listing));
        if kinds.is_empty() || chance.share() >= rule.probability {
            return None;
        }
        *struck += 1;
        let number = chance.next();
        Some(Strike {
            rule: *id,
            kind: kinds[number as usize % kinds.len()],
            delay: Duration::from_millis(rule.delay_ms),
            retry_after_secs: rule.retry_after_secs,
            number: chance.next(),
        })
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to but without 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
