//! A person with a laptop: what `engr` does there, and what befalls it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, timeout};

use super::World;
use crate::Digest;
use crate::claim::{CLAIM_LIFE, Claim, RENEW_EVERY};
use crate::fixtures::{artifact, at, draft};
use crate::id::Id;
use crate::lock::Lock;
use crate::publish::{SwapError, Swapped, swap};
use crate::state::{Refused, State};

pub(super) struct Deployer {
    world: Arc<World>,
    name: String,
    /// How many seconds its clock is off.
    clock_off: AtomicI64,
    clock_jumps: AtomicU32,
}

/// What a claim that kept this deployer waiting was when it was first met.
#[derive(PartialEq)]
struct Block {
    claim: Id,
    expires: Timestamp,
    clock_jumps: u32,
}

impl Deployer {
    pub(super) fn new(world: Arc<World>, number: usize) -> Self {
        let deployer = Self {
            world,
            name: format!("deployer-{number}"),
            clock_off: AtomicI64::new(0),
            clock_jumps: AtomicU32::new(0),
        };
        deployer.set_clock();
        deployer
    }

    /// Does this and that, one thing after the other; some of it is killed at any moment.
    pub(super) async fn run(self) {
        let actions = 1 + self.world.random().below(3);
        for number in 0..actions {
            sleep(self.world.span(self.world.pause_secs_max)).await;
            let killed_after = self.world.span(90);
            let killed = self.world.random().percent(25);
            let action = self.act(format!("{}-{number}", self.name));
            if killed {
                let _ = timeout(killed_after, action).await;
            } else {
                action.await;
            }
        }
    }

    async fn act(&self, id: String) {
        let choice = self.world.random().below(10);
        match choice {
            0 => self.stage(&id).await,
            1 => self.unlock().await,
            2 if self.world.with_locks => self.lock().await,
            2..4 => self.publish(&id, None).await,
            _ => self.deploy(&id).await,
        }
    }

    /// Claims, builds while it renews, and publishes under the claim.
    async fn deploy(&self, id: &str) {
        let claim = Id::fixed(format!("claim-{id}"));
        if !self.claim(&claim).await {
            return;
        }
        let built = Instant::now() + self.world.span(60);
        while Instant::now() < built {
            sleep(RENEW_EVERY.min(built - Instant::now())).await;
            let renewed = self.swap(|state, now| state.renewed(&claim, None, now)).await;
            if let Err(SwapError::Refused(_)) = renewed {
                return;
            }
        }
        self.publish(id, Some(&claim)).await;
    }

    /// Waits until the claim is its own. Gives whether it is.
    async fn claim(&self, id: &Id) -> bool {
        let mut blocked: Option<(Block, Instant)> = None;
        loop {
            let claimed = self.swap(|state, now| {
                state.claimed(Claim::new(id.clone(), self.name.clone(), now), now)
            });
            let other = match claimed.await {
                Ok(_) => return true,
                Err(SwapError::Refused(Refused::Claimed(other))) => other,
                // A command that meets a lock, or cannot reach the bucket, ends.
                Err(_) => return false,
            };
            let clock_jumps = self.clock_jumps.load(Relaxed);
            let block = Block { claim: other.id, expires: other.expires, clock_jumps };
            match &blocked {
                Some((first, since)) if *first == block => {
                    let waited = since.elapsed();
                    assert!(waited < CLAIM_LIFE * 2, "one claim blocks for {waited:?}");
                }
                _ => blocked = Some((block, Instant::now())),
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn publish(&self, id: &str, under: Option<&Id>) {
        self.world.ledger().plan(id, under);
        let mut if_current = None;
        let wants_current = self.world.random().percent(20);
        let published = self.swap(|state, now| {
            // The caller names the release that it saw first.
            if wants_current && if_current.is_none() {
                if_current = state.current();
            }
            state.published(draft(id, &self.name), under, if_current, now)
        });
        match published.await {
            Ok(swapped) => self.world.ledger().told_published(id, &swapped),
            Err(SwapError::Refused(_) | SwapError::Load(_) | SwapError::Contended) => {
                self.world.ledger().told_refused(id);
            }
            // Nobody knows.
            Err(SwapError::Write(_)) => {}
        }
    }

    async fn stage(&self, id: &str) {
        let environment = Digest::of(artifact(id).digest.to_string().as_bytes());
        let _ = self.swap(|state, now| state.staged(Some(environment), &self.name, now)).await;
    }

    /// Mostly for a while, and now and then until somebody unlocks.
    async fn lock(&self) {
        let secs = self.world.random().below(120) as i64;
        let ends = self.world.random().percent(80);
        let _ = self
            .swap(|state, now| {
                let until = ends.then(|| now + SignedDuration::from_secs(secs));
                let (by, message) = (self.name.clone(), "why".to_owned());
                Ok(state.locked(Lock { by, since: now, message, until }, now))
            })
            .await;
    }

    async fn unlock(&self) {
        let _ = self.swap(|state, now| Ok(state.unlocked(&self.name, now))).await;
    }

    async fn swap(
        &self,
        mut step: impl FnMut(State, Timestamp) -> Result<State, Refused>,
    ) -> Result<Swapped, SwapError<Refused>> {
        let swapped = swap(&self.world.store, "app", |state| step(state, self.now())).await;
        if let Ok(swapped) = &swapped {
            self.world.ledger().told_generation(swapped.generation);
        }
        swapped
    }

    /// What its clock says. Now and then that jumps.
    fn now(&self) -> Timestamp {
        let jumps = self.world.random().percent(3);
        if jumps {
            self.set_clock();
        }
        let passed = SignedDuration::try_from(self.world.start.elapsed()).unwrap();
        at(self.clock_off.load(Relaxed)) + passed
    }

    /// Often nearly right, else minutes off.
    fn set_clock(&self) {
        let mut random = self.world.random();
        let range = if random.percent(60) { 2 } else { 600 };
        self.clock_off.store(random.below(range * 2) as i64 - range as i64, Relaxed);
        self.clock_jumps.fetch_add(1, Relaxed);
    }
}
