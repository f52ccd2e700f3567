//! Following one object by asking again and again.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::Gcs;
use super::pace::Pace;
use crate::store::retry::random_share;
use crate::store::{ErrorKind, Generation, LastLook, Object, Result, Store, Watch};

/// A watch of one object in a [`Gcs`].
pub(super) struct GcsWatch {
    gcs: Gcs,
    name: String,
    pace: Pace,
    /// When it asked last. None: never.
    asked: Option<Instant>,
    /// One draw for each pause, so that a call that is dropped does not draw again.
    chance: f64,
    /// What this watch gave last, or reported as damaged.
    last: Option<Generation>,
    last_look: LastLook,
}

impl GcsWatch {
    pub(super) fn new(gcs: Gcs, name: &str, interval: Duration) -> Self {
        let (name, pace) = (name.to_owned(), Pace::new(interval));
        let last_look = LastLook::default();
        Self { gcs, name, pace, asked: None, chance: random_share(), last: None, last_look }
    }

    /// What is new, if anything is.
    async fn look(&mut self) -> Result<Option<Object>> {
        let read = match self.last {
            Some(seen) => self.gcs.read_if_changed(&self.name, seen).await,
            None => self.gcs.read(&self.name).await.map(Some),
        };
        match read {
            // A bucket that was made again by nobody's fault can hold what was seen before.
            Ok(object) => Ok(object.filter(|object| Some(object.generation) != self.last)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Watch for GcsWatch {
    async fn next(&mut self) -> Result<Object> {
        loop {
            if let Some(asked) = self.asked {
                sleep_until(asked + self.pace.pause(self.chance)).await;
            }
            // A call that is dropped in the middle of a question has not asked.
            let began = Instant::now();
            let looked = self.look().await;
            (self.asked, self.chance) = (Some(began), random_share());
            match looked {
                Ok(object) => {
                    self.pace.answered();
                    self.last_look.now();
                    if let Some(object) = object {
                        self.last = Some(object.generation);
                        return Ok(object);
                    }
                }
                Err(error) => {
                    self.pace.failed();
                    // The pause counts from the failure: it may have taken long to come.
                    self.asked = Some(Instant::now());
                    return Err(error);
                }
            }
        }
    }

    fn set_interval(&mut self, interval: Duration) {
        self.pace.set_interval(interval);
    }

    fn tell_looks(&mut self, look: LastLook) {
        self.last_look = look;
    }
}
