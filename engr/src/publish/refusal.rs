//! What a step of the state that was not taken means to a user.

use deploy::Timestamp;
use deploy::claim::Claim;
use deploy::lock::Lock;
use deploy::publish::{LoadError, SwapError};
use deploy::state::{Refused, StateError};

use crate::failure::{Exit, Failure};
use crate::output::when;

/// Why a command takes no step.
#[derive(Debug, thiserror::Error)]
pub enum NoStep {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It was worked out for another state than the newest one.
    #[error("the app was changed by somebody else meanwhile")]
    Moved,
    /// It needs a release, and there is none.
    #[error("the app has no release yet")]
    NoRelease,
}

/// The failure of a step.
pub fn swap_failure(app: &str, error: SwapError<NoStep>) -> Failure {
    match error {
        SwapError::Refused(NoStep::Refused(refused)) => refused_failure(app, refused),
        SwapError::Refused(NoStep::NoRelease) => no_release(app),
        SwapError::Refused(error @ NoStep::Moved) => {
            Failure::new(Exit::Lost, error).hint("run the command again")
        }
        SwapError::Load(error) => load_failure(error),
        SwapError::Write(error) => error.into(),
        error @ SwapError::Contended => {
            Failure::new(Exit::Lost, error).hint("run the command again")
        }
    }
}

/// The failure to read the state.
pub fn load_failure(error: LoadError) -> Failure {
    match error {
        LoadError::Store(error) => error.into(),
        LoadError::State(error @ StateError::Newer { .. }) => {
            Failure::new(Exit::Usage, error).hint("update engr")
        }
        LoadError::State(error) => Failure::new(Exit::Internal, error),
    }
}

/// The failure of a command that needs a release.
pub fn no_release(app: &str) -> Failure {
    Failure::usage(format_args!("{app} has no release yet"))
        .hint(format_args!("make one with `engr {app} deploy`"))
}

/// The failure of a refused step.
pub fn refused_failure(app: &str, refused: Refused) -> Failure {
    match refused {
        Refused::Locked(lock) => locked(app, &lock, Timestamp::now()),
        Refused::Claimed(claim) => claimed(app, &claim, Timestamp::now()),
        refused @ Refused::ClaimLost(_) => {
            Failure::new(Exit::Lost, refused).hint("nothing was published; run the command again")
        }
        refused @ Refused::NotCurrent { .. } => Failure::new(Exit::Lost, refused)
            .hint(format_args!("look at `engr {app} releases`, then run it again")),
    }
}

fn claimed(app: &str, claim: &Claim, now: Timestamp) -> Failure {
    let error = anyhow::anyhow!("{}", holder(claim, now));
    Failure::new(Exit::Lost, error)
        .hint("wait for it with `--wait-lock`")
        .hint(format_args!("if it was left behind, break it with `engr {app} unlock`"))
}

fn locked(app: &str, lock: &Lock, now: Timestamp) -> Failure {
    let error = anyhow::anyhow!("{}", locker(app, lock, now));
    Failure::new(Exit::Lost, error)
        .hint("nothing was published; wait for the lock's end with `--wait-lock`")
        .hint(format_args!("if it is over, lift it with `engr {app} unlock`"))
}

/// Who has locked the app, since when, until when and why.
pub fn locker(app: &str, lock: &Lock, now: Timestamp) -> String {
    let (since, age) = (when::clock(lock.since, now), when::age(lock.since, now));
    let until = lock.until.map(|until| format!(", until {}", when::clock(until, now)));
    let (until, why) = (until.unwrap_or_default(), lock.message.trim());
    format!("{} has locked {app} since {since} ({age}){until}: {why}", lock.by)
}

/// Who deploys, and since when.
pub fn holder(claim: &Claim, now: Timestamp) -> String {
    let (since, age) = (when::clock(claim.since, now), when::age(claim.since, now));
    format!("{} has been deploying since {since} ({age})", claim.by)
}
