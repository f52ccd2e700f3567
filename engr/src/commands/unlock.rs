//! `engr <app> unlock`: removes a lock, and breaks a claim.

use deploy::Timestamp;
use deploy::publish::{SwapError, swap};

use crate::context::AppContext;
use crate::failure::{CommandResult, Exit};
use crate::output::Output;
use crate::publish::{NoStep, damage_text, holder, locker, swap_failure};

/// Removes both, whoever's they are, and says whose they were. Who held the claim cannot publish
/// under it.
pub async fn run(app: &AppContext) -> CommandResult {
    let output = Output::new(false);
    let (store, by) = (app.store()?, app.actor());
    let (mut claim, mut lock) = (None, None);
    let swapped = swap(&*store, &app.name, |state| {
        (claim, lock) = (state.claim.clone(), state.lock.clone());
        // Nothing is written where there is nothing to remove.
        match claim.is_some() || lock.is_some() {
            true => Ok(state.unlocked(&by, Timestamp::now())),
            false => Err(NoStep::Moved),
        }
    });
    match swapped.await {
        Ok(swapped) => {
            if let Some(damage) = swapped.damage {
                output.warn(format_args!("{}", damage_text(damage)));
            }
        }
        Err(SwapError::Refused(_)) => {
            output.line(format_args!("{} is not locked, and nobody holds a claim on it", app.name));
            return Ok(Exit::Done);
        }
        Err(error) => return Err(swap_failure(&app.name, error)),
    }
    let now = Timestamp::now();
    if let Some(lock) = lock {
        let end = if lock.is_live(now) { "" } else { "; it was over" };
        output.line(format_args!("unlocked: {}{end}", locker(&app.name, &lock, now)));
    }
    if let Some(claim) = claim {
        let end = if claim.is_live(now) { "" } else { "; it had expired" };
        output.line(format_args!("unlocked: {}{end}", holder(&claim, now)));
    }
    Ok(Exit::Done)
}
