//! `engr <app> prune`: old releases go, and what no kept one names. [`deploy::prune`] says why
//! nothing goes that is needed.

use deploy::prune::{LookError, Plan, look, remove};

use crate::cli::PruneArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::events::{Event, Outcome, ResultEvent};
use crate::output::{Output, ask, bytes};
use crate::publish::{HeldClaim, damage_text, swap_failure};

/// Shows what goes, has it confirmed, and removes it under a claim.
pub async fn run(app: &AppContext, args: PruneArgs) -> CommandResult {
    let (output, store) = (Output::new(args.json), app.store()?);
    let keep = args.keep as usize;
    let plan = look(&*store, keep).await.map_err(|error| cannot_look(app, error))?;
    tell(&output, &plan);
    if plan.is_empty() {
        return Ok(end(&output, Exit::Done, Outcome::Unchanged));
    }
    if args.plan {
        return Ok(end(&output, Exit::Changes, Outcome::Changes));
    }
    if !args.yes && !confirmed(&args)? {
        output.line("nothing was removed");
        return Ok(end(&output, Exit::Done, Outcome::Unchanged));
    }

    let (interrupt, by) = (Interrupt::new()?, app.actor());
    let taken = HeldClaim::take(&store, &app.name, &by, |_| Ok(())).await;
    let (held, damage) = taken.map_err(|error| swap_failure(&app.name, error))?;
    if let Some(damage) = damage {
        output.warn(format_args!("{}", damage_text(damage)));
    }
    let phase = output.phase("prune");
    let work = async {
        // What is removed is what goes now, and not what was shown: others may have published.
        let plan = look(&*store, keep).await.map_err(|error| cannot_look(app, error))?;
        held.begin_prune(&plan).await?;
        remove(&*store, &plan).await?;
        Ok(plan)
    };
    let removed = held.hold(&interrupt, work).await;
    // Not while it is held: the claim that ends by this is not one that was lost.
    let ended = match &removed {
        Ok(_) => held.end_prune().await,
        Err(_) => Ok(()),
    };
    match removed.and_then(|plan| ended.map(|()| plan)) {
        Ok(plan) => {
            phase.done(format_args!("removed {}", summary(&plan)));
            Ok(end(&output, Exit::Done, Outcome::Done))
        }
        Err(failure) => {
            let failure = held.give_up(failure).await;
            Err(failure.hint(format_args!("`engr {} prune` goes on where it stopped", app.name)))
        }
    }
}

fn confirmed(args: &PruneArgs) -> CommandResult<bool> {
    if args.json || !ask::can_ask() {
        let error = "what is removed cannot be brought back, and nobody is there to confirm it";
        return Err(Failure::usage(error).hint("confirm it by adding `--yes`"));
    }
    ask::confirm("Remove it?")
}

fn tell(output: &Output, plan: &Plan) {
    let (artifacts, environments) = (plan.artifacts().0, plan.environments().0);
    let agents = plan.agents().0;
    output.event(&Event::Prune {
        keeps: plan.kept,
        from: plan.from,
        states: plan.states.len(),
        artifacts,
        environments,
        agents,
        bytes: plan.bytes(),
    });
    let releases = count(plan.kept, "release", "releases");
    let from = if plan.from > 0 { format!(", from v{} on", plan.from) } else { String::new() };
    output.line(format_args!("keeps     {releases}{from}, and what they name"));
    match plan.is_empty() {
        true => output.line("there is nothing to remove"),
        false => output.line(format_args!("removes   {}", summary(plan))),
    }
    if plan.goes_on {
        output.line("          and so goes on with a prune that did not come to its end");
    }
}

/// `3 states, 1 artifact, no environments: 2.3 MB`.
fn summary(plan: &Plan) -> String {
    let states = count(plan.states.len(), "state", "states");
    let artifacts = count(plan.artifacts().0, "artifact", "artifacts");
    let environments = count(plan.environments().0, "environment", "environments");
    // They are few, and most prunes have none to remove.
    let agents = match plan.agents().0 {
        0 => String::new(),
        some => format!(", {}", count(some, "agent", "agents")),
    };
    format!("{states}, {artifacts}, {environments}{agents}: {}", bytes(plan.bytes()))
}

fn count(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

fn end(output: &Output, exit: Exit, outcome: Outcome) -> Exit {
    let result = ResultEvent { outcome, exit_code: exit as u8, ..ResultEvent::default() };
    output.event(&Event::Result(&result));
    exit
}

fn cannot_look(app: &AppContext, error: LookError) -> Failure {
    match error {
        LookError::Store(error) => error.into(),
        LookError::Unreadable(error) => {
            Failure::new(Exit::Internal, error).hint("nothing was removed").hint(format_args!(
                "keep so few releases that it is among those that go: `engr {} prune --keep N`",
                app.name
            ))
        }
    }
}
