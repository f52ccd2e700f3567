//! `engr <app> lock`: nothing is published until it is unlocked, or its time is over.

use deploy::Timestamp;
use deploy::lock::Lock;
use deploy::publish::swap;

use crate::cli::LockArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::{Output, when};
use crate::publish::{NoStep, damage_text, holder, locker, swap_failure};

/// Locks the app, in place of an earlier lock. A deploy under way loses its publish.
pub async fn run(app: &AppContext, args: LockArgs) -> CommandResult {
    let (output, store) = (Output::new(false), app.store()?);
    let now = Timestamp::now();
    let until = args.until.as_deref().map(|text| end(text, now)).transpose()?;
    if args.message.trim().is_empty() {
        return Err(Failure::usage("a lock needs a reason, for those whom it stops")
            .hint(format_args!("give it with `engr {} lock -m \"why\"`", app.name)));
    }
    let lock = Lock { by: app.actor(), since: now, message: args.message, until };
    let (mut earlier, mut deploying) = (None, None);
    let swapped = swap(&*store, &app.name, |state| -> Result<_, NoStep> {
        earlier = state.live_lock(now).cloned();
        deploying = state.live_claim(now).cloned();
        Ok(state.locked(lock.clone(), now))
    });
    let swapped = swapped.await.map_err(|error| swap_failure(&app.name, error))?;
    if let Some(damage) = swapped.damage {
        output.warn(format_args!("{}", damage_text(damage)));
    }
    let end = match lock.until {
        Some(until) => format!("{}, or `engr {} unlock`", when::clock(until, now), app.name),
        None => format!("`engr {} unlock`", app.name),
    };
    output.line(format_args!("locked    nothing is published to {} until {end}", app.name));
    if let Some(earlier) = earlier {
        output.line(format_args!("replaced  {}", locker(&app.name, &earlier, now)));
    }
    if let Some(claim) = deploying {
        output.line(format_args!("stopped   {}, and cannot publish any more", holder(&claim, now)));
    }
    Ok(Exit::Done)
}

/// The end that `--until` names.
fn end(text: &str, now: Timestamp) -> CommandResult<Timestamp> {
    let forms = "write 2026-11-22T10:00Z, \"2026-11-22 10:00\", 10:00, or a length like 2h";
    let end = when::parse_future(text, now)
        .ok_or_else(|| Failure::usage(format_args!("{text:?} is not a time")).hint(forms))?;
    if end <= now {
        let shown = when::clock(end, now);
        return Err(Failure::usage(format_args!(
            "{shown} has been: a lock until then binds nobody"
        ))
        .hint(forms));
    }
    Ok(end)
}
