//! The app's history: the object versions of `state.json` themselves.

use jiff::Timestamp;

use crate::layout;
use crate::release::Release;
use crate::state::State;
use crate::store::{ErrorKind, Generation, Result, Store, with_tries};

/// All releases that the bucket still knows, oldest first.
#[derive(Debug, Default)]
pub struct History {
    /// The releases.
    pub releases: Vec<Release>,
    /// Generations that are there and cannot be read.
    pub damaged: Vec<Generation>,
}

impl History {
    /// Reads every kept generation of `state.json`.
    ///
    /// # Errors
    /// What the store fails with. A damaged generation is no failure: it is listed.
    pub async fn read(store: &dyn Store) -> Result<Self> {
        let mut history = Self::default();
        for generation in with_tries(async || store.versions(layout::STATE).await).await? {
            let read = async || store.read_generation(layout::STATE, generation).await;
            let object = match with_tries(read).await {
                Ok(object) => object,
                // Pruned since the listing.
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Err(error) if error.kind == ErrorKind::Corrupt => {
                    history.damaged.push(generation);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match State::from_object(&object.data) {
                Ok(state) => history.push(state),
                Err(_) => history.damaged.push(generation),
            }
        }
        Ok(history)
    }

    fn push(&mut self, state: State) {
        let Some(release) = state.release else { return };
        if self.releases.last().is_none_or(|last| last.id != release.id) {
            self.releases.push(release);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{at, draft};
    use crate::id::Id;
    use crate::store::memory::Memory;
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

    #[tokio::test]
    async fn an_app_without_a_state_has_none() {
        let history = History::read(&Memory::new()).await.unwrap();
        assert!(history.releases.is_empty() && history.damaged.is_empty());
    }
}
