//! Faults on request, the same again for the same seed.
//!
//! Rules are asked in their order, and the first that strikes decides. A rule strikes only with
//! what can befall the call at hand: a flipped byte needs a download, a lost precondition needs
//! one.

mod choice;
mod kind;
mod rule;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    injected: BTreeMap<Kind, u64>,
    /// What each listing was answered last.
    listings: HashMap<String, Answer>,
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
        self.lock().rules.push(rule::Active::new(rule));
    }

    /// Takes away all rules and any outage. The counts stay.
    pub fn clear(&self) {
        self.lock().rules.clear();
        self.set_outage(Outage::None);
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

    /// Remembers what a listing is answered. Gives what it was answered before.
    pub(crate) fn remember(&self, listing: String, answer: &Answer) -> Option<Answer> {
        self.lock().listings.insert(listing, answer.clone())
    }
}

pub(crate) use choice::Subject as FaultSubject;
