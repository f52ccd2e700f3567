//! `engr <app> pause`, `resume` and `abort`: what somebody wants of the current release's rollout.
//!
//! Each writes one order into `state.json`, which the instances obey and their conductor carries out.
//! A lock keeps back what is not published yet: it is in the way of `resume`, which brings a release to
//! further instances, and of neither of the others, which hold one or take it back.

use deploy::Timestamp;
use deploy::lock::Lock;
use deploy::publish::{SwapError, swap};
use deploy::release::Release;
use deploy::rollout::course::order_of;
use deploy::rollout::{Progress, Stage, Verb};
use deploy::state::State;

use crate::cli::OrderArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::Output;
use crate::output::events::{Event, Outcome, ResultEvent};
use crate::publish::{NoStep, damage_text, locker, swap_failure};
use crate::rollout::read_progress;

/// Gives the order.
pub async fn run(app: &AppContext, verb: Verb, args: OrderArgs) -> CommandResult {
    let (output, store, by) = (Output::new(args.json), app.store()?, app.actor());
    let name = &app.name;
    let progress = read_progress(&*store).await?;
    let mut seen = None;
    let swapped = swap(&*store, name, |state| {
        let now = Timestamp::now();
        let number = state.current().ok_or(NoStep::NoRelease)?;
        let decided = decide(name, verb, &state, progress.as_ref(), now);
        let gives = matches!(decided, Decision::Give(_));
        seen = Some((state.clone(), decided));
        // Nothing is written where there is nothing to order.
        if gives { Ok(state.ordered(verb, number, &by, now)?) } else { Err(NoStep::Moved) }
    })
    .await;
    let (state, decided) = match (&swapped, seen) {
        (Ok(_) | Err(SwapError::Refused(NoStep::Moved)), Some(seen)) => seen,
        (_, _) => return swapped.map(|_| Exit::Done).map_err(|error| swap_failure(name, error)),
    };
    let text = match decided {
        Decision::Give(text) => text,
        Decision::Refuse(failure) => return Err(failure),
        Decision::Nothing(text) => {
            output.line(text);
            return Ok(end(&output, Outcome::Unchanged, state.current()));
        }
    };
    let swapped = swapped.map_err(|error| swap_failure(name, error))?;
    if let Some(damage) = swapped.damage {
        output.warn(format_args!("{}", damage_text(damage)));
    }
    // It may have come to its end before the order did.
    let order = swapped.state.order.as_ref().map(|order| &order.id);
    let newer = read_progress(&*store).await?;
    let is_heard = newer.as_ref().is_some_and(|newer| newer.order.as_ref() == order);
    match decide(name, verb, &state, newer.as_ref(), Timestamp::now()) {
        Decision::Refuse(failure) if !is_heard => return Err(failure),
        Decision::Refuse(_) | Decision::Give(_) | Decision::Nothing(_) => {}
    }
    let number = swapped.state.current();
    let shown = number.map(|number| format!(" v{number}")).unwrap_or_default();
    output.line(text);
    output.line(format_args!("follow it with `engr {name} wait{shown}`"));
    Ok(end(&output, Outcome::Ordered, number))
}

fn end(output: &Output, outcome: Outcome, release: Option<u64>) -> Exit {
    output.event(&Event::Result(&ResultEvent { outcome, release, ..ResultEvent::default() }));
    Exit::Done
}

/// What comes of an order.
#[derive(Debug)]
enum Decision {
    /// It is given, and will do this.
    Give(String),
    /// It is so already.
    Nothing(String),
    /// It makes no sense.
    Refuse(Failure),
}

/// Whether to give the order; `progress` is of whichever release was conducted last.
fn decide(
    app: &str,
    verb: Verb,
    state: &State,
    progress: Option<&Progress>,
    now: Timestamp,
) -> Decision {
    let Some(release) = &state.release else {
        return Decision::Refuse(crate::publish::no_release(app));
    };
    let v = format!("v{}", release.number);
    let refuse = |what: String| Failure::usage(format_args!("{v} {what}"));
    if release.rollout.is_none() {
        let failure =
            refuse("goes to all instances at once: an older engr has published it".into());
        return Decision::Refuse(failure.hint(way_back(app, state)));
    }
    let progress = progress.filter(|progress| progress.release == release.id);
    let order = order_of(state);
    let pending =
        order.filter(|order| progress.is_none_or(|p| p.order.as_ref() != Some(&order.id)));
    let stage = progress.map(|progress| progress.stage);
    let again = || hint_again(app, release, state);
    match (verb, stage, order.map(|order| order.verb)) {
        (Verb::Abort, Some(Stage::Reverting | Stage::Reverted), _) => {
            Decision::Nothing(format!("{v} was taken back already"))
        }
        (_, Some(Stage::Reverting | Stage::Reverted), _) => {
            Decision::Refuse(again().into_iter().fold(
                refuse("was taken back already, and does not come again by itself".into()),
                Failure::hint,
            ))
        }
        (_, Some(Stage::Done), _) => Decision::Refuse(
            refuse("serves on all instances, and its rollout is over".into())
                .hint(way_back(app, state)),
        ),
        (Verb::Abort, _, Some(Verb::Abort)) => {
            Decision::Nothing(format!("{v} is being called off already"))
        }
        (_, _, Some(Verb::Abort)) => Decision::Refuse(
            refuse("is being called off".into())
                .hint(format_args!("follow that with `engr {app} wait {v}`")),
        ),
        (Verb::Abort, ..) => match &state.base {
            Some(base) => Decision::Give(format!(
                "{v} is called off, and all instances go back to v{}",
                base.release.number
            )),
            None => Decision::Refuse(
                refuse("has nothing before it to go back to".into())
                    .hint(format_args!("hold it with `engr {app} pause`"))
                    .hint(format_args!("or bring another one: `engr {app} deploy`")),
            ),
        },
        (_, Some(Stage::Watching), _) => Decision::Refuse(
            refuse("has switched on all instances already".into())
                .hint(format_args!("take it back with `engr {app} abort`")),
        ),
        (Verb::Pause, Some(Stage::Halted), _) if pending.is_none() => Decision::Refuse(
            refuse("is halted already".into())
                .hint(format_args!("go on with `engr {app} resume`, or take it back with `abort`")),
        ),
        (Verb::Pause, _, Some(Verb::Pause)) => {
            let by = order.map_or("somebody", |order| order.by.as_str());
            Decision::Nothing(format!("{v} is paused already, by {by}"))
        }
        (Verb::Pause, ..) => Decision::Give(format!(
            "{v} is paused: no further instance begins to switch, and it goes on with `engr {app} \
             resume`"
        )),
        (Verb::Resume, Some(Stage::Halted), _) if pending.is_none() => match state.live_lock(now) {
            Some(lock) => Decision::Refuse(locked(app, lock, now)),
            None => {
                Decision::Give(format!("{v} goes on, and what has failed until now does not count"))
            }
        },
        (Verb::Resume, _, Some(Verb::Pause)) => match state.live_lock(now) {
            Some(lock) => Decision::Refuse(locked(app, lock, now)),
            None => Decision::Give(format!("{v} goes on")),
        },
        (Verb::Resume, Some(Stage::Halted), _) => {
            Decision::Nothing(format!("{v} is being resumed already"))
        }
        (Verb::Resume, ..) => Decision::Refuse(
            refuse("is neither paused nor halted: its rollout goes on".into())
                .hint(format_args!("follow it with `engr {app} wait {v}`")),
        ),
        (Verb::Unknown, ..) => Decision::Nothing(String::new()),
    }
}

/// What to do instead where a rollout is over.
fn way_back(app: &str, state: &State) -> String {
    match state.base.as_ref().filter(|base| Some(base.release.number) != state.current()) {
        Some(base) => format!("go back with `engr {app} rollback v{}`", base.release.number),
        None => format!("go back with `engr {app} rollback`"),
    }
}

/// What to do about a release that was taken back.
fn hint_again(app: &str, release: &Release, state: &State) -> Vec<String> {
    let base = state.base.as_ref().map(|base| base.release.number);
    let stay = base.map(|base| {
        format!("make what runs the newest release with `engr {app} rollback v{base}`")
    });
    let digest = release.artifact.digest.short();
    let deploy = format!(
        "deploy a better one with `engr {app} deploy`; the same with `--artifact {digest}`"
    );
    std::iter::once(deploy).chain(stay).collect()
}

fn locked(app: &str, lock: &Lock, now: Timestamp) -> Failure {
    Failure::new(Exit::Lost, anyhow::anyhow!("{}", locker(app, lock, now)))
        .hint("nothing goes on while it is locked")
        .hint(format_args!("if the lock is over, lift it with `engr {app} unlock`"))
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
