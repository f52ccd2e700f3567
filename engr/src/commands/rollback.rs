//! `engr <app> rollback`: an earlier release's content as a new release.

use deploy::release::{Draft, Kind, Release};
use deploy::rollout::Fate;
use deploy::state::{Refused, State};

use super::releases::Known;
use crate::cli::RollbackArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Failure};
use crate::output::Output;
use crate::publish::{
    Content, NoStep, Publisher, changes, ensure_kept, ensure_whole, no_release, read_environment,
    tell,
};

/// How many known releases are named to somebody who named an unknown one.
const KNOWN_MAX: usize = 20;

/// Rolls back.
pub async fn run(app: &AppContext, args: RollbackArgs) -> CommandResult {
    let output = Output::new(args.publish.follow.json);
    let publisher = Publisher::open(app, &args.publish, &output)?;
    let state = publisher.state().await?;
    let current = state.release.clone().ok_or_else(|| no_release(&app.name))?;
    publisher.unfrozen().await?;
    let known = Known::read(app).await?;
    let target = match args.release {
        Some(number) => named(&known, number, current.number, &app.name)?,
        None => last_good(&known, &current, &app.name)?,
    };
    ensure_kept(&app.name, &state, format_args!("v{}", target.number), [target.number])?;
    ensure_whole(&*publisher.store, &target.objects()).await?;
    let source = target.source.as_ref().map(|source| &source.commit[..source.commit.len().min(10)]);
    output.line(format_args!(
        "rollback  v{} → v{} ({}{})",
        current.number,
        target.number,
        target.kind,
        source.map(|commit| format!(", {commit}")).unwrap_or_default()
    ));
    tell_changes(&publisher, &current, target).await?;
    publisher.revive().await?;
    let (by, message) = (app.actor(), args.publish.message.clone());
    let draft = Draft::again(target, by, Kind::Rollback(target.number), message);
    let expected = current.number;
    let pruned = state.pruned;
    let step = |state: State| match (args.release, state.current()) {
        // What was found in the bucket may have been removed since.
        _ if state.pruned != pruned => Err(NoStep::Moved),
        // Which release was the last good one, and what changes, was judged against this one.
        (None, current) if current != Some(expected) => {
            Err(NoStep::Refused(Refused::NotCurrent { expected, current }))
        }
        _ => Ok((state, draft.clone())),
    };
    let published = publisher.publish(None, step).await?;
    publisher.follow(&published).await
}

async fn tell_changes(
    publisher: &Publisher<'_>,
    current: &Release,
    target: &Release,
) -> CommandResult<()> {
    let store = &*publisher.store;
    let new = Content::of(store, target).await?;
    // The release that one goes back from may be the damaged one.
    let old = match read_environment(store, current.environment.as_ref()).await {
        Ok(environment) => environment,
        Err(failure) => {
            publisher.output.warn(format_args!("{:#}", failure.error));
            new.environment.clone()
        }
    };
    let (artifact, settings) = (current.artifact, current.settings.clone());
    let all = changes(Some(&Content { artifact, environment: old, settings }), &new);
    if all.is_empty() {
        publisher.output.line("it is what runs now: every instance starts it anew");
    }
    tell(publisher.output, &all);
    Ok(())
}

/// The release that was asked for.
fn named<'a>(known: &'a Known, number: u64, current: u64, app: &str) -> CommandResult<&'a Release> {
    if number == current {
        let failure = Failure::usage(format_args!("v{number} is the current release"));
        return Err(failure.hint(format_args!("start it anew with `engr {app} restart`")));
    }
    known.history.get(number).ok_or_else(|| {
        let failure = Failure::usage(format_args!("{app} has no release v{number}"));
        failure.hint(format_args!("it has {}", list(known)))
    })
}

/// The newest release before the current one that served everywhere, with other content.
fn last_good<'a>(known: &'a Known, current: &Release, app: &str) -> CommandResult<&'a Release> {
    let earlier = known.newest_first().filter(|(release, _)| release.number < current.number);
    let differs = |release: &Release| {
        let content = |r: &Release| (r.artifact.digest, r.environment, r.settings.clone());
        content(release) != content(current)
    };
    let mut good = earlier.filter(|(release, fate)| *fate == Fate::Done && differs(release));
    good.next().map(|(release, _)| release).ok_or_else(|| {
        let number = current.number;
        if known.newest_first().all(|(release, _)| release.number >= number) {
            return Failure::usage(format_args!("{app} has no release before v{number}"));
        }
        let what = "is known to have succeeded with other content";
        Failure::usage(format_args!("no release of {app} before v{number} {what}"))
            .hint(format_args!("name one: `engr {app} rollback vN`; it has {}", list(known)))
    })
}

fn list(known: &Known) -> String {
    let mut names: Vec<_> =
        known.newest_first().map(|(release, _)| format!("v{}", release.number)).collect();
    let more = names.len().saturating_sub(KNOWN_MAX);
    names.truncate(KNOWN_MAX);
    let more = if more > 0 { format!(" and {more} older ones") } else { String::new() };
    names.join(", ") + &more
}
