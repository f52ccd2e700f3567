//! `--wait-lock`: waits until another's claim or a lock has ended, and tries again.

use std::time::Duration;

use deploy::Timestamp;
use deploy::claim::Claim;
use deploy::layout;
use deploy::lock::Lock;
use deploy::publish::{SwapError, load};
use deploy::state::{Refused, State};
use deploy::store::Store;
use tokio::time::{Instant, sleep, timeout_at};

use super::Publisher;
use super::refusal::{NoStep, holder, locker, swap_failure};
use crate::failure::{CommandResult, Exit, Failure};
use crate::interrupt::interrupted;
use crate::output::events::Event;
use crate::output::when;

/// How long after an end that another clock has set that clock is given the benefit of the doubt,
/// and how soon a failed watch is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a lock is looked at where it cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(5);

/// What is in the way.
#[derive(Clone, Debug, PartialEq)]
enum Block {
    Claim(Box<Claim>),
    Lock(Box<Lock>),
}

impl Block {
    fn of(refused: Refused) -> Result<Self, Refused> {
        match refused {
            Refused::Claimed(claim) => Ok(Self::Claim(claim)),
            Refused::Locked(lock) => Ok(Self::Lock(lock)),
            other => Err(other),
        }
    }

    /// What of `state` is in the way still.
    fn still(&self, state: State) -> Option<Self> {
        match self {
            Self::Claim(claim) => {
                let now = state.claim.filter(|now| now.id == claim.id)?;
                Some(Self::Claim(Box::new(now)))
            }
            Self::Lock(lock) => {
                state.lock.filter(|now| *now == **lock).map(|lock| Self::Lock(Box::new(lock)))
            }
        }
    }

    /// When it ends by itself. None: never.
    fn end(&self) -> Option<Timestamp> {
        match self {
            Self::Claim(claim) => Some(claim.expires),
            Self::Lock(lock) => lock.until,
        }
    }

    /// Whether it is the same one, renewed or not.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Claim(one), Self::Claim(other)) => one.id == other.id,
            (Self::Lock(one), Self::Lock(other)) => one == other,
            (Self::Claim(_), Self::Lock(_)) | (Self::Lock(_), Self::Claim(_)) => false,
        }
    }

    fn text(&self, app: &str, now: Timestamp) -> String {
        match self {
            Self::Claim(claim) => holder(claim, now),
            Self::Lock(lock) => locker(app, lock, now),
        }
    }
}

impl Publisher<'_> {
    /// Makes `attempt` until no other's claim and no lock is in its way: once without `--wait-lock`.
    /// None: what it was worked out from is no longer so ([`NoStep::Moved`]).
    pub async fn when_free<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, SwapError<NoStep>>,
    ) -> CommandResult<Option<T>> {
        let limit = self.args.wait_lock.map(|limit| limit.0);
        let deadline = limit.map(|limit| Instant::from_std(self.began) + limit);
        let mut told: Option<Block> = None;
        loop {
            let refused = match attempt().await {
                Ok(value) => return Ok(Some(value)),
                Err(SwapError::Refused(NoStep::Moved)) => return Ok(None),
                Err(SwapError::Refused(NoStep::Refused(refused))) => refused,
                Err(error) => return Err(swap_failure(&self.app.name, error)),
            };
            let fail = |refused| swap_failure(&self.app.name, SwapError::Refused(refused));
            let deadline = match deadline {
                Some(deadline) => deadline,
                None => return Err(fail(NoStep::Refused(refused))),
            };
            let block = Block::of(refused).map_err(|refused| fail(NoStep::Refused(refused)))?;
            if !told.as_ref().is_some_and(|told| told.is(&block)) {
                self.tell_of_wait(&block);
                told = Some(block.clone());
            }
            self.wait_for_end(block, deadline).await?;
        }
    }

    /// Makes sure that no lock binds, before anything is done; waits for its end with `--wait-lock`.
    pub async fn unfrozen(&self) -> CommandResult<()> {
        let free = self.when_free(async || {
            let loaded = load(&*self.store, &self.app.name).await.map_err(SwapError::Load)?;
            let unfrozen = loaded.state.unfrozen(Timestamp::now());
            unfrozen.map_err(|refused| SwapError::Refused(NoStep::Refused(refused)))
        });
        free.await.map(|_| ())
    }

    fn tell_of_wait(&self, block: &Block) {
        let text = block.text(&self.app.name, Timestamp::now());
        self.output.transient("");
        self.output.line(format_args!("waiting   {text}"));
        self.output.event(&match block {
            Block::Claim(claim) => Event::Waiting {
                what: "claim",
                by: &claim.by,
                since: claim.since,
                expires: Some(claim.expires),
                message: None,
            },
            Block::Lock(lock) => Event::Waiting {
                what: "lock",
                by: &lock.by,
                since: lock.since,
                expires: lock.until,
                message: Some(&lock.message),
            },
        });
    }

    async fn wait_for_end(&self, block: Block, deadline: Instant) -> CommandResult<()> {
        tokio::select! {
            waited = timeout_at(deadline, ended(&*self.store, block.clone())) => match waited {
                Ok(()) => Ok(()),
                Err(_) => Err(waited_in_vain(&self.app.name, &block)),
            },
            () = self.interrupt.raised() => Err(interrupted()),
        }
    }
}

fn waited_in_vain(app: &str, block: &Block) -> Failure {
    let text = block.text(app, Timestamp::now());
    let (error, way_out) = match block {
        Block::Claim(_) => (format!("{text}, and still is"), "if it was left behind, break it"),
        Block::Lock(_) => (format!("{text} (it still binds)"), "if it is over, lift it"),
    };
    Failure::new(Exit::Lost, anyhow::anyhow!(error))
        .hint("wait longer with `--wait-lock=TIME`")
        .hint(format_args!("{way_out} with `engr {app} unlock`"))
}

/// Ends when `block` is seen to be gone or in another's place, or its end has come.
async fn ended(store: &dyn Store, mut block: Block) {
    // Without a watch the attempt is made again now and then.
    let mut watch = store.watch(layout::STATE).ok();
    let look_again = if watch.is_some() { Duration::MAX } else { UNWATCHED };
    loop {
        let left = block.end().map(|end| when::between(Timestamp::now(), end) + PAUSE);
        let left = left.unwrap_or(Duration::MAX).min(look_again);
        let seen = async {
            match &mut watch {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep(left) => return,
            object = seen => match object.map(|object| State::from_object(&object.data)) {
                Ok(Ok(state)) => match block.still(state) {
                    Some(still) => block = still,
                    None => return,
                },
                // Damaged: whoever writes next heals it, and ends the claim by that.
                Ok(Err(_)) => return,
                Err(error) => {
                    tracing::debug!(%error, "cannot watch what is waited for");
                    sleep(PAUSE).await;
                }
            },
        }
    }
}
