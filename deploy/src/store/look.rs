//! How fresh a watch's view of its object is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// When a watch last heard from its store, whether there was news or not. Shared with whoever
/// wants to tell of it.
#[derive(Clone, Debug, Default)]
pub struct LastLook(Arc<Mutex<Option<Instant>>>);

impl LastLook {
    /// The store has answered just now.
    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When it answered, by a clock that says `now`. None: never.
    pub fn time(&self, now: Timestamp) -> Option<Timestamp> {
        self.age().and_then(|age| now.checked_sub(age).ok())
    }

    /// How long ago it answered, by a clock that nobody sets. None: never.
    pub fn age(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}
