//! A claim, kept alive while this process works under it.

use std::sync::Arc;
use std::time::Duration;

use deploy::claim::{CLAIM_LIFE, Claim, RENEW_EVERY};
use deploy::id::Id;
use deploy::publish::{Damage, SwapError, swap};
use deploy::release::Artifact;
use deploy::state::{Refused, State};
use deploy::store::{Store, Watch};
use deploy::{Timestamp, layout};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::interrupted;
use super::refusal::{NoStep, swap_failure};
use crate::failure::{CommandResult, Failure};
use crate::interrupt::Interrupt;

/// How soon a renewal or a watch that failed for the moment is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// A claim of ours. A task renews it until this is dropped, and learns at once when it is lost.
#[derive(Debug)]
pub struct HeldClaim {
    store: Arc<dyn Store>,
    app: String,
    id: Id,
    lost: oneshot::Receiver<SwapError<NoStep>>,
    keeper: JoinHandle<()>,
}

impl HeldClaim {
    /// Claims `app` if `allowed` by its newest state, and begins to renew the claim.
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
        let (tell, lost) = oneshot::channel();
        let keeping = keep(store.clone(), app.to_owned(), id.clone());
        let keeper = tokio::spawn(async move {
            // Nobody listens any more when the work under the claim has just ended.
            let _ = tell.send(keeping.await);
        });
        Ok((Self { store: store.clone(), app: app.to_owned(), id, lost, keeper }, damage))
    }

    /// By what the state knows it.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Does `work` for as long as the claim is ours and nobody interrupts.
    pub async fn hold<T>(
        &mut self,
        interrupt: &mut Interrupt,
        work: impl Future<Output = CommandResult<T>>,
    ) -> CommandResult<T> {
        tokio::select! {
            // A build that Ctrl-C ended too is an interrupt, not a failed build.
            biased;
            () = interrupt.raised() => Err(interrupted()),
            loss = &mut self.lost => match loss {
                Ok(loss) => Err(swap_failure(&self.app, loss)),
                Err(_) => Err(swap_failure(&self.app, lost_to(None))),
            },
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

    /// Ends the renewing: what is published under the claim next ends it.
    pub async fn settle(&mut self) {
        self.keeper.abort();
        // It ends by the abort, or had ended by itself.
        let _ = (&mut self.keeper).await;
    }

    /// Gives the claim up because of `failure`, so that nobody waits for its end.
    pub async fn give_up(mut self, failure: Failure) -> Failure {
        self.settle().await;
        let given = swap(&*self.store, &self.app, |state| {
            // Nothing is written where the claim is gone already.
            match state.claim.as_ref().is_some_and(|claim| claim.id == self.id) {
                true => Ok(state.unclaimed(&self.id)),
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

impl Drop for HeldClaim {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

fn lost_to(claim: Option<Claim>) -> SwapError<NoStep> {
    SwapError::Refused(NoStep::Refused(Refused::ClaimLost(claim)))
}

/// Renews the claim `id`, and ends with the reason when it is no longer there.
async fn keep(store: Arc<dyn Store>, app: String, id: Id) -> SwapError<NoStep> {
    // Without a watch the loss is seen at the next renewal.
    let mut watch = store.watch(layout::STATE).ok();
    let mut renew_at = Instant::now() + RENEW_EVERY;
    let mut ends_at = Instant::now() + CLAIM_LIFE;
    loop {
        tokio::select! {
            () = sleep_until(renew_at) => {
                let renewed = swap(&*store, &app, |state| {
                    Ok(state.renewed(&id, None, Timestamp::now())?)
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
                if state.claim.as_ref().is_none_or(|claim| claim.id != id) {
                    return lost_to(state.claim);
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
