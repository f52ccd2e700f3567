//! The app's history: the object versions of `state.json` themselves.
//!
//! The generations are read many at a time, as a bucket may be far away and its history long, and
//! folded in their order: `steps` says what each write did.

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use crate::desired_agent::DesiredAgent;
use crate::layout;
use crate::release::Release;
use crate::state::State;
use crate::store::{ErrorKind, Generation, Object, Result, Store, with_tries};

mod steps;

pub use steps::{Ended, Step, What};

/// How many generations are being read at a time.
const READS_MAX: usize = 16;

/// All that the bucket still knows, oldest first.
#[derive(Debug, Default)]
pub struct History {
    /// The releases.
    pub releases: Vec<Release>,
    /// The agents that the fleet was to run, one after the other. None: what each was made with.
    pub agents: Vec<Option<DesiredAgent>>,
    /// What was done, one step after the other: the releases' publishing too.
    pub steps: Vec<Step>,
    /// Generations that are there and cannot be read.
    pub damaged: Vec<Generation>,
    /// The newest state that can be read.
    newest: Option<State>,
}

impl History {
    /// Reads every kept generation of `state.json`.
    ///
    /// # Errors
    /// What the store fails with. A damaged generation is no failure: it is listed.
    pub async fn read(store: &dyn Store) -> Result<Self> {
        let mut history = Self::default();
        each(store, |generation, state, _| match state {
            Some(state) => history.push(generation, state),
            None => history.damaged.push(generation),
        })
        .await?;
        Ok(history)
    }

    fn push(&mut self, generation: Generation, state: State) {
        steps::push(&mut self.steps, self.newest.as_ref(), &state, generation);
        if let Some(release) = &state.release
            && self.releases.last().is_none_or(|last| last.id != release.id)
        {
            self.releases.push(release.clone());
        }
        let id = |agent: &Option<DesiredAgent>| agent.as_ref().map(|agent| agent.id.clone());
        if self.agents.last().is_none_or(|last| id(last) != id(&state.agent)) {
            self.agents.push(state.agent.clone());
        }
        self.newest = Some(state);
    }

    /// The newest state that can be read.
    pub fn newest(&self) -> Option<&State> {
        self.newest.as_ref()
    }

    /// The release of that number.
    pub fn get(&self, number: u64) -> Option<&Release> {
        self.releases.iter().rev().find(|release| release.number == number)
    }

    /// What was desired at `time`.
    pub fn at(&self, time: Timestamp) -> Option<&Release> {
        self.releases.iter().rev().find(|release| release.published <= time)
    }
}

/// Calls `see` with each kept generation of `state.json`, oldest first, and with none where it is
/// damaged; and with its size.
pub(crate) async fn each(
    store: &dyn Store,
    mut see: impl FnMut(Generation, Option<State>, u64),
) -> Result<()> {
    let generations = with_tries(async || store.versions(layout::STATE).await).await?;
    let read = async |generation| {
        let read = async || store.read_generation(layout::STATE, generation).await;
        (generation, with_tries(read).await)
    };
    let mut reads = stream::iter(generations).map(read).buffered(READS_MAX);
    while let Some((generation, read)) = reads.next().await {
        match read {
            Ok(Object { data, .. }) => {
                see(generation, State::from_object(&data).ok(), data.len() as u64);
            }
            // Erased since the listing.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) if error.kind == ErrorKind::Corrupt => see(generation, None, 0),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::fixtures::{at, draft};
    use crate::id::Id;
    use crate::store::memory::{Fate, Memory};
    use crate::store::{Expect, Generation};

    /// Writes the next state as it is.
    fn put(store: &Memory, state: &State) {
        store.put_aside(layout::STATE, &state.to_object(), Expect::Any);
    }

    #[tokio::test]
    async fn lists_each_release_once_and_what_is_damaged() {
        let store = Memory::new();
        let published = |state: State, id: &str, time: i64| {
            state.published(draft(id, "a"), None, None, at(time)).unwrap()
        };
        let first = published(State::new("app"), "one", 100);
        put(&store, &State::new("app"));
        put(&store, &first);
        let claim = crate::claim::Claim::new(Id::fixed("c"), "a".to_owned(), at(110));
        put(&store, &first.clone().claimed(claim, at(110)).unwrap());
        let second = published(first.clone(), "two", 200);
        put(&store, &second);
        store.put_aside(layout::STATE, b"no state", Expect::Any);
        put(&store, &second);
        // Published from a state that did not know of the second: two have the same number.
        put(&store, &published(first, "another two", 300));
        store.rot(layout::STATE, Generation(6));

        let history = History::read(&store).await.unwrap();
        let ids: Vec<_> = history.releases.iter().map(|release| release.id.to_string()).collect();
        assert_eq!(ids, ["one", "two", "another two"]);
        assert_eq!(history.damaged, [Generation(5), Generation(6)]);
        assert_eq!(history.get(2).unwrap().id, Id::fixed("another two"), "the newer one");
        assert_eq!(history.get(3), None);
        let at = |time| history.at(at(time)).map(|release| release.number);
        assert_eq!([99, 100, 199, 200, 1_000].map(at), [None, Some(1), Some(1), Some(2), Some(2)]);
    }

    /// One after the other they would take more than two seconds.
    #[tokio::test(start_paused = true)]
    async fn generations_are_read_many_at_a_time_and_stay_in_order() {
        let store = Memory::new();
        let mut state = State::new("app");
        for number in 0..40 {
            state = state.published(draft(&number.to_string(), "a"), None, None, at(0)).unwrap();
            put(&store, &state);
        }
        let (mut reads, mut failed) = (0, 0);
        store.turn(Box::new(move |operation, _| {
            reads += u64::from(operation == "read");
            // Every seventh read fails once, and the later ones are the faster ones.
            let fails = operation == "read" && reads % 7 == 0 && failed < 5;
            failed += u64::from(fails);
            let fate = if fails { Fate::Fails } else { Fate::Done };
            (Duration::from_millis(100 - reads.min(50)), fate)
        }));
        let began = Instant::now();
        let history = History::read(&store).await.unwrap();
        let numbers: Vec<_> = history.releases.iter().map(|release| release.number).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_can_neither_be_read_nor_passed_over_is_a_failure() {
        let store = Memory::new();
        put(&store, &State::new("app"));
        store.turn(Box::new(|operation, _| {
            let fate = if operation == "read" { Fate::Fails } else { Fate::Done };
            (Duration::ZERO, fate)
        }));
        assert_eq!(History::read(&store).await.unwrap_err().kind, ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn an_app_without_a_state_has_none() {
        let history = History::read(&Memory::new()).await.unwrap();
        assert!(history.releases.is_empty() && history.damaged.is_empty());
    }
}
