//! Whose turn it is, by what the instances report.

use std::collections::BTreeMap;
use std::time::Duration;

use deploy::desired_agent::order_key;
use deploy::id::Id;
use deploy::report::UpdatePhase;

use super::types::Neighbour;

/// An undecided instance that has not written for so long, as seen from here, is passed over.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

/// The other instances, as they were listed last.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbours {
    /// By name: what it said, and since when it has said nothing else.
    seen: BTreeMap<String, (Neighbour, Duration)>,
}

/// What an instance may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is on.
    Mine,
    /// So many come before it.
    After(usize),
    /// Another is going or on trial.
    Taken {
        /// It comes before this one in the order.
        by_earlier: bool,
        /// How many that are undecided do.
        before: usize,
    },
    /// The binary was bad where it was tried first.
    Halted,
}

impl Neighbours {
    /// Takes a listing in, of all but `own`. What is no longer listed is forgotten.
    pub(super) fn update(&mut self, now: Duration, own: &str, listed: Vec<Neighbour>) {
        let mut before = std::mem::take(&mut self.seen);
        for neighbour in listed.into_iter().filter(|one| one.name != own && one.is_able) {
            let since = match before.remove(&neighbour.name) {
                Some((known, since)) if known.written == neighbour.written => since,
                _ => now,
            };
            self.seen.insert(neighbour.name.clone(), (neighbour, since));
        }
    }

    /// Whose turn it is for the update `id`, seen from the instance `own`.
    pub(super) fn turn(&self, now: Duration, own: &str, id: &Id) -> Turn {
        let own_key = order_key(id, own);
        let is_stale = |since: Duration| now.saturating_sub(since) > STALE_AFTER;
        let (mut good, mut bad) = (0, 0);
        let (mut undecided_before, mut taken, mut by_earlier) = (0, false, false);
        // The first that is alive or decided, and whether it was bad there.
        let mut canary = (own_key, false);
        for (neighbour, since) in self.seen.values() {
            let key = order_key(id, &neighbour.name);
            let phase = neighbour.update.as_ref().filter(|update| update.id == *id);
            let phase = phase.map(|update| update.phase);
            let is_bad = phase == Some(UpdatePhase::Bad) || neighbour.bad.contains(id);
            good += usize::from(phase == Some(UpdatePhase::Good));
            bad += usize::from(is_bad);
            let is_decided = is_bad || phase.is_some_and(UpdatePhase::has_ended);
            if !is_decided && is_stale(*since) {
                continue;
            }
            if key < canary.0 {
                canary = (key, is_bad);
            }
            if !is_decided && key < own_key {
                undecided_before += 1;
            }
            if goes(neighbour) && !is_stale(*since) {
                taken = true;
                by_earlier |= key < own_key;
            }
        }
        // Where it was bad wherever it was tried, the canary may be one that has come since.
        if canary.1 || (bad > 0 && good == 0) {
            return Turn::Halted;
        }
        match (undecided_before, taken) {
            (0, false) => Turn::Mine,
            (before, true) => Turn::Taken { by_earlier, before },
            (before, false) => Turn::After(before),
        }
    }
}

/// Whether it says that it is about to run another binary, or does: for whichever update.
fn goes(neighbour: &Neighbour) -> bool {
    neighbour.update.as_ref().is_some_and(|update| match update.phase {
        UpdatePhase::Going | UpdatePhase::Trial | UpdatePhase::Unknown => true,
        UpdatePhase::Fetching
        | UpdatePhase::Checking
        | UpdatePhase::Waiting
        | UpdatePhase::Good
        | UpdatePhase::Bad
        | UpdatePhase::Halted => false,
    })
}
