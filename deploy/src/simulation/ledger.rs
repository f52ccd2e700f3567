//! What the deployers were told, against what lies in the bucket.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Id;
use crate::publish::Swapped;
use crate::release::Release;
use crate::state::State;
use crate::store::Generation;
use crate::store::memory::Stored;

#[derive(Default)]
pub(super) struct Ledger {
    /// What is to be published, by the release's id, and under which claim.
    plans: BTreeMap<String, Option<Id>>,
    published: BTreeMap<String, (u64, Generation)>,
    refused: BTreeSet<String>,
    generations: BTreeSet<Generation>,
}

/// One generation of the state as it was written.
struct Written {
    state: State,
    rotten: bool,
}

impl Ledger {
    pub(super) fn plan(&mut self, release: &str, under: Option<&Id>) {
        self.plans.insert(release.to_owned(), under.cloned());
    }

    pub(super) fn told_published(&mut self, release: &str, swapped: &Swapped) {
        let number = swapped.state.current().expect("a publish leaves a release");
        self.published.insert(release.to_owned(), (number, swapped.generation));
    }

    pub(super) fn told_refused(&mut self, release: &str) {
        self.refused.insert(release.to_owned());
    }

    pub(super) fn told_generation(&mut self, generation: Generation) {
        assert!(self.generations.insert(generation), "two writers won generation {generation}");
    }

    /// Holds every generation that was ever written to the rules.
    pub(super) fn check(&self, slots: &[Option<Stored>]) {
        let written: Vec<_> = slots.iter().flatten().map(Written::read).collect();
        assert_eq!(written.len(), slots.len(), "nobody deletes the state");
        let mut numbers = Numbers::default();
        let nothing = Written { state: State::new("app"), rotten: false };
        let before = std::iter::once(&nothing).chain(&written);
        for ((before, after), generation) in before.zip(&written).zip(1..) {
            numbers.damaged += u64::from(before.rotten);
            check_claim(before, after);
            check_lock(before, after);
            let Some(release) = &after.state.release else { continue };
            if numbers.add(release) {
                self.check_publish(before, release, after, Generation(generation));
            }
        }
        self.check_told(&written);
    }

    /// A release appears for the first time, in `generation`.
    fn check_publish(
        &self,
        before: &Written,
        release: &Release,
        after: &Written,
        generation: Generation,
    ) {
        let id = release.id.to_string();
        let lock = before.state.live_lock(release.published).filter(|_| !before.rotten);
        assert_eq!(lock, None, "{id} was published in spite of a lock");
        let claim = before.state.claim.as_ref();
        match &self.plans[&id] {
            Some(own) => {
                let held = claim.is_some_and(|claim| claim.id == *own);
                assert!(held, "{id} was published under a lost claim: {claim:?}");
            }
            // The claim of a state that could not be read binds nobody.
            None if before.rotten => {}
            None => {
                let live = claim.filter(|claim| claim.is_live(release.published));
                assert_eq!(live, None, "{id} was published over another's claim");
            }
        }
        assert_eq!(after.state.claim, None, "a publish ends the claim");
        if let Some(told) = self.published.get(&id) {
            let again = told.1 > generation && after.rotten;
            assert!(*told == (release.number, generation) || again, "{id} was told {told:?}");
        }
    }

    fn check_told(&self, written: &[Written]) {
        let readable: BTreeSet<String> = written
            .iter()
            .filter(|written| !written.rotten)
            .filter_map(|written| written.state.release.as_ref())
            .map(|release| release.id.to_string())
            .collect();
        for id in &self.refused {
            assert!(!readable.contains(id), "{id} was refused, and is published");
        }
        for (id, (_, generation)) in &self.published {
            let rotten = written[generation.0 as usize - 1].rotten;
            assert!(rotten || readable.contains(id), "{id} was published, and is lost");
        }
    }
}

/// A claim takes the place of a dead one only.
fn check_claim(before: &Written, after: &Written) {
    // The claim of a state that could not be read binds nobody.
    if before.rotten {
        return;
    }
    if let (Some(before), Some(after)) = (&before.state.claim, &after.state.claim) {
        let taken = before.id != after.id && before.is_live(after.since);
        assert!(!taken, "{before:?} was taken by {after:?}");
    }
}

/// Nobody claims while a lock binds, and only who unlocks removes one.
fn check_lock(before: &Written, after: &Written) {
    if before.rotten {
        return;
    }
    let id = |written: &Written| written.state.claim.as_ref().map(|claim| claim.id.clone());
    if let Some(claim) = after.state.claim.as_ref().filter(|_| id(before) != id(after)) {
        let lock = before.state.live_lock(claim.since);
        assert_eq!(lock, None, "{claim:?} was taken in spite of a lock");
    }
    if before.state.lock.is_some() && after.state.lock.is_none() {
        let ends = (&after.state.claim, &after.state.release) == (&None, &before.state.release);
        assert!(ends, "{:?} was lost", before.state.lock);
    }
}

impl Written {
    fn read(stored: &Stored) -> Self {
        let state = State::from_object(&stored.data).expect("what was written is a state");
        Self { state, rotten: stored.rotten }
    }
}

/// Numbers are given once, and none is passed over but for damage.
#[derive(Default)]
struct Numbers {
    given: BTreeMap<u64, Id>,
    damaged: u64,
}

impl Numbers {
    /// Gives whether the release is new.
    fn add(&mut self, release: &Release) -> bool {
        let last = self.given.last_key_value().map_or(0, |(number, _)| *number);
        if self.given.get(&release.number) == Some(&release.id) {
            return false;
        }
        assert!(release.number > last, "v{} was given after v{last}", release.number);
        let gap = release.number - last - 1;
        assert!(gap <= self.damaged, "after v{last} came v{}", release.number);
        self.given.insert(release.number, release.id.clone());
        true
    }
}
