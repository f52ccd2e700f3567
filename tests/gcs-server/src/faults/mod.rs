//! Faults on request, the same again for the same seed.
//!
//! Rules are asked in their order, and the first that strikes decides. A rule strikes only with
//! what can befall the call at hand: a flipped byte needs a download, a lost precondition needs
//! one.

mod choice;
mod kind;
mod rule;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deploy::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::answer::Answer;
pub(crate) use choice::Strike;
use choice::Subject;
pub use kind::Kind;
pub use rule::{Match, Rule};

/// The faults of a server. A handle: clones are the same.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    outage: watch::Sender<Outage>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<rule::Active>,
    rules_made: u64,
    injected: BTreeMap<Kind, u64>,
    /// What each listing was answered last.
    listings: HashMap<String, Answer>,
    clock_skew_secs: i64,
    hidden: HashSet<String>,
}

/// Whether the whole server is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// It is not.
    #[default]
    None,
    /// Every call on storage gets this status.
    Status(u16),
    /// Connections are refused, and those that there are, cut.
    Refuse,
}

impl Default for Faults {
    fn default() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), outage: watch::Sender::default() }))
    }
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule behind those that there are.
    pub fn add(&self, rule: Rule) {
        let mut state = self.lock();
        state.rules_made += 1;
        let id = state.rules_made;
        state.rules.push(rule::Active::new(rule, id));
    }

    /// Takes away all rules, any outage, and what else is wrong. The counts stay.
    pub fn clear(&self) {
        self.lock().rules.clear();
        self.set_outage(Outage::None);
        self.set_clock_skew_secs(0);
        self.hide_buckets([]);
    }

    /// Sets the server's clock ahead, or behind: what it writes down, and what it tells in `Date`.
    pub fn set_clock_skew_secs(&self, secs: i64) {
        self.lock().clock_skew_secs = secs;
    }

    /// Answers as if there were none of these buckets, until other ones are named here. Listings
    /// of buckets still tell of them.
    pub fn hide_buckets(&self, names: impl IntoIterator<Item = String>) {
        self.lock().hidden = names.into_iter().collect();
    }

    /// Sends the whole server away, or brings it back.
    pub fn set_outage(&self, outage: Outage) {
        self.0.outage.send_replace(outage);
    }

    /// How often each kind befell a call.
    pub fn injected(&self) -> BTreeMap<Kind, u64> {
        self.lock().injected.clone()
    }

    pub(crate) fn outage(&self) -> watch::Receiver<Outage> {
        self.0.outage.subscribe()
    }

    /// What befalls this call, if anything does.
    pub(crate) fn strike(&self, subject: &Subject<'_>) -> Option<Strike> {
        let mut state = self.lock();
        let has_listing = state.listings.contains_key(&subject.listing());
        let strike = state.rules.iter_mut().find_map(|rule| rule.strike(subject, has_listing))?;
        *state.injected.entry(strike.kind).or_default() += 1;
        Some(strike)
    }

    /// Takes a strike back that befell nothing.
    pub(crate) fn give_back(&self, strike: &Strike) {
        let mut state = self.lock();
        if let Some(count) = state.injected.get_mut(&strike.kind) {
            *count = count.saturating_sub(1);
        }
        if let Some(rule) = state.rules.iter_mut().find(|rule| rule.id == strike.rule) {
            rule.give_back();
        }
    }

    /// What the server's clock says.
    pub(crate) fn now(&self) -> Timestamp {
        let skew = self.lock().clock_skew_secs;
        let now = Timestamp::now();
        let ahead = std::time::Duration::from_secs(skew.unsigned_abs());
        let skewed = if skew < 0 { now.checked_sub(ahead) } else { now.checked_add(ahead) };
        skewed.unwrap_or(now)
    }

    pub(crate) fn has_skewed_clock(&self) -> bool {
        self.lock().clock_skew_secs != 0
    }

    pub(crate) fn hides(&self, bucket: &str) -> bool {
        self.lock().hidden.contains(bucket)
    }

    /// Remembers what a listing is answered. Gives what it was answered before.
    pub(crate) fn remember(&self, listing: String, answer: &Answer) -> Option<Answer> {
        self.lock().listings.insert(listing, answer.clone())
    }
}

pub(crate) use choice::Subject as FaultSubject;
