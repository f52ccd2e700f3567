//! `--wait-lock`: waits until another's claim has ended, and tries again.

use std::time::Duration;

use deploy::Timestamp;
use deploy::claim::Claim;
use deploy::layout;
use deploy::publish::SwapError;
use deploy::state::{Refused, State};
use deploy::store::Store;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Publisher;
use super::refusal::{NoStep, holder, swap_failure};
use crate::failure::{CommandResult, Exit, Failure};
use crate::interrupt::interrupted;
use crate::output::events::Event;
use crate::output::when;

/// How long after a claim's end its holder's clock is given the benefit of the doubt, and how soon
/// a failed watch is tried again.
const PAUSE: Duration = Duration::from_millis(500);

impl Publisher<'_> {
    /// Makes `attempt` until no other's claim is in its way: once without `--wait-lock`. None: what
    /// it was worked out from is no longer so ([`NoStep::Moved`]).
    pub async fn when_free<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, SwapError<NoStep>>,
    ) -> CommandResult<Option<T>> {
        let limit = self.args.wait_lock.map(|limit| limit.0);
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut told = None;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(Some(value)),
                Err(error) => error,
            };
            match (error, deadline) {
                (SwapError::Refused(NoStep::Moved), _) => return Ok(None),
                (SwapError::Refused(NoStep::Refused(Refused::Claimed(claim))), Some(deadline)) => {
                    if told.as_ref() != Some(&claim.id) {
                        self.tell_of_wait(&claim);
                        told = Some(claim.id.clone());
                    }
                    self.wait_for_end(&claim, deadline).await?;
                }
                (error, _) => return Err(swap_failure(&self.app.name, error)),
            }
        }
    }

    fn tell_of_wait(&self, claim: &Claim) {
        self.output.transient("");
        self.output.line(format_args!("waiting   {}", holder(claim, Timestamp::now())));
        self.output.event(&Event::Waiting {
            by: &claim.by,
            since: claim.since,
            expires: claim.expires,
        });
    }

    async fn wait_for_end(&self, claim: &Claim, deadline: Instant) -> CommandResult<()> {
        tokio::select! {
            ended = timeout_at(deadline, ended(&*self.store, claim)) => match ended {
                Ok(()) => Ok(()),
                Err(_) => Err(waited_in_vain(&self.app.name, claim)),
            },
            () = self.interrupt.raised() => Err(interrupted()),
        }
    }
}

fn waited_in_vain(app: &str, claim: &Claim) -> Failure {
    let error = anyhow::anyhow!("{}, and still is", holder(claim, Timestamp::now()));
    Failure::new(Exit::Lost, error)
        .hint("wait longer with `--wait-lock=TIME`")
        .hint(format_args!("if it was left behind, break it with `engr {app} unlock`"))
}

/// Ends when `claim` is seen to be gone or another's, or has not been renewed in time.
async fn ended(store: &dyn Store, claim: &Claim) {
    let mut expires = claim.expires;
    // Without a watch the end is seen at the claim's expiry.
    let mut watch = store.watch(layout::STATE).ok();
    loop {
        let left = when::between(Timestamp::now(), expires) + PAUSE;
        let seen = async {
            match &mut watch {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep_until(Instant::now() + left) => return,
            object = seen => match object.map(|object| State::from_object(&object.data)) {
                Ok(Ok(state)) => match state.claim {
                    Some(now) if now.id == claim.id => expires = now.expires,
                    _ => return,
                },
                // Damaged: whoever writes next heals it, and ends the claim by that.
                Ok(Err(_)) => return,
                Err(error) => {
                    tracing::debug!(%error, "cannot watch the claim");
                    sleep(PAUSE).await;
                }
            },
        }
    }
}
