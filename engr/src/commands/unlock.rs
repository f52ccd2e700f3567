//! `engr <app> unlock`: breaks a claim.

use deploy::Timestamp;
use deploy::publish::{SwapError, swap};

use crate::context::AppContext;
use crate::failure::{CommandResult, Exit};
use crate::output::Output;
use crate::publish::{NoStep, damage_text, holder, swap_failure};

/// Breaks whoever's claim it is, and says whose it was. Who held it cannot publish under it.
pub async fn run(app: &AppContext) -> CommandResult {
    let output = Output::new(false);
    let store = app.store()?;
    let mut broken = None;
    let by = app.actor();
    let swapped = swap(&*store, &app.name, |state| {
        broken = state.claim.clone();
        // Nothing is written where there is nothing to break.
        if broken.is_some() {
            Ok(state.unlocked(&by, Timestamp::now()))
        } else {
            Err(NoStep::Moved)
        }
    });
    match swapped.await {
        Ok(swapped) => {
            if let Some(damage) = swapped.damage {
                output.warn(format_args!("{}", damage_text(damage)));
            }
        }
        Err(SwapError::Refused(_)) => {
            output.line(format_args!("nobody holds a claim on {}", app.name));
            return Ok(Exit::Done);
        }
        Err(error) => return Err(swap_failure(&app.name, error)),
    }
    if let Some(claim) = broken {
        let now = Timestamp::now();
        let end = if claim.is_live(now) { "" } else { "; it had expired" };
        output.line(format_args!("unlocked: {}{end}", holder(&claim, now)));
    }
    Ok(Exit::Done)
}
