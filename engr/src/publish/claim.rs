//! A claim, kept alive while this process works under it.

use std::sync::Arc;
use std::time::Duration;

use deploy::claim::{CLAIM_LIFE, Claim, RENEW_EVERY};
use deploy::id::Id;
use deploy::prune::Plan;
use deploy::publish::{Damage, SwapError, swap};
use deploy::release::Artifact;
use deploy::state::{Refused, State};
use deploy::store::{Store, Watch};
use deploy::{Timestamp, layout};
use tokio::time::{Instant, sleep, sleep_until};

use super::refusal::{NoStep, swap_failure};
use crate::failure::{CommandResult, Failure};
use crate::interrupt::{Interrupt, interrupted};

/// How soon a renewal or a watch that failed for the moment is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// A claim of ours: [`Self::hold`] keeps it alive beside the work that is done under it.
#[derive(Debug)]
pub struct HeldClaim {
    store: Arc<dyn Store>,
    app: String,
    id: Id,
}

impl HeldClaim {
    /// Claims `app` if `allowed` by its newest state.
    ///
    /// # Errors
    /// When another's claim lives, when it is not allowed, and when the store fails.
    pub async fn take(
        store: &Arc<dyn Store>,
        app: &str,
        by: &str,
        allowed: impl Fn(&State) -> Result<(), NoStep>,
    ) -> Result<(Self, Option<Damage>), SwapError<NoStep>> {
        let id = Id::random();
        let swapped = swap(&**store, app, |state| {
            allowed(&state)?;
            let now = Timestamp::now();
            Ok(state.claimed(Claim::new(id.clone(), by.to_owned(), now), now)?)
        });
        let damage = swapped.await?.damage;
        Ok((Self { store: store.clone(), app: app.to_owned(), id }, damage))
    }

    /// By what the state knows it.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Does `work`, renewing the claim meanwhile, for as long as it is ours and nobody interrupts.
    pub async fn hold<T>(
        &self,
        interrupt: &Interrupt,
        work: impl Future<Output = CommandResult<T>>,
    ) -> CommandResult<T> {
        tokio::select! {
            // A build that Ctrl-C ended too is an interrupt, not a failed build.
            biased;
            () = interrupt.raised() => Err(interrupted()),
            loss = keep(&*self.store, &self.app, &self.id) => Err(swap_failure(&self.app, loss)),
            done = work => done,
        }
    }

    /// Names the artifact that will be published: agents fetch it meanwhile.
    pub async fn name_artifact(&self, artifact: Artifact) -> CommandResult<()> {
        let named = swap(&*self.store, &self.app, |state| {
            Ok(state.renewed(&self.id, Some(artifact), Timestamp::now())?)
        });
        named.await.map(drop).map_err(|error| swap_failure(&self.app, error))
    }

    /// Marks the prune that `plan` is of, before anything of it is removed.
    pub async fn begin_prune(&self, plan: &Plan) -> CommandResult<()> {
        let begun = swap(&*self.store, &self.app, |state| match plan.spares(&state) {
            true => Ok(state.prune_begun(&self.id, plan.from, Timestamp::now())?),
            false => Err(NoStep::Moved),
        });
        begun.await.map(drop).map_err(|error| swap_failure(&self.app, error))
    }

    /// Ends the prune, which has removed all that it meant to, and the claim with it.
    pub async fn end_prune(&self) -> CommandResult<()> {
        let ended = swap(&*self.store, &self.app, |state| {
            Ok(state.prune_ended(&self.id, Timestamp::now())?)
        });
        ended.await.map(drop).map_err(|error| swap_failure(&self.app, error))
    }

    /// Gives the claim up because of `failure`, so that nobody waits for its end.
    pub async fn give_up(self, failure: Failure) -> Failure {
        let given = swap(&*self.store, &self.app, |state| {
            // Nothing is written where the claim is gone already.
            match state.claim.as_ref().is_some_and(|claim| claim.id == self.id) {
                true => Ok(state.unclaimed(&self.id, Timestamp::now())),
                false => Err(NoStep::Refused(Refused::ClaimLost(None))),
            }
        });
        match given.await {
            Ok(_) | Err(SwapError::Refused(_)) => failure,
            Err(error) => failure.hint(format_args!(
                "the claim could not be given up ({error}); it ends by itself within {} s",
                CLAIM_LIFE.as_secs()
            )),
        }
    }
}

fn lost_to(claim: Option<Claim>) -> SwapError<NoStep> {
    SwapError::Refused(NoStep::Refused(Refused::ClaimLost(claim.map(Box::new))))
}

/// Renews the claim `id`, and ends with the reason when it is no longer there, or nothing may be
/// published under it any more.
async fn keep(store: &dyn Store, app: &str, id: &Id) -> SwapError<NoStep> {
    // Without a watch the loss is seen at the next renewal.
    let mut watch = store.watch(layout::STATE).ok();
    let mut renew_at = Instant::now() + RENEW_EVERY;
    let mut ends_at = Instant::now() + CLAIM_LIFE;
    loop {
        tokio::select! {
            () = sleep_until(renew_at) => {
                let renewed = swap(store, app, |state| {
                    Ok(state.renewed(id, None, Timestamp::now())?)
                });
                let now = Instant::now();
                match renewed.await {
                    Ok(_) => (renew_at, ends_at) = (now + RENEW_EVERY, now + CLAIM_LIFE),
                    Err(lost @ SwapError::Refused(_)) => return lost,
                    Err(error) if Instant::now() >= ends_at => return error,
                    Err(_) => renew_at = Instant::now() + PAUSE,
                }
            }
            state = next_state(&mut watch) => {
                if state.claim.as_ref().is_none_or(|claim| claim.id != *id) {
                    return lost_to(state.claim);
                }
                if let Err(locked) = state.unfrozen(Timestamp::now()) {
                    return SwapError::Refused(NoStep::Refused(locked));
                }
            }
        }
    }
}

/// The next state that can be read.
async fn next_state(watch: &mut Option<Box<dyn Watch>>) -> State {
    let Some(watch) = watch else { return std::future::pending().await };
    loop {
        match watch.next().await.map(|object| State::from_object(&object.data)) {
            Ok(Ok(state)) => return state,
            // The next renewal meets the damage, and says what comes of it.
            Ok(Err(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "cannot watch the claim");
                sleep(PAUSE).await;
            }
        }
    }
}
