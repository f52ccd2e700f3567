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
