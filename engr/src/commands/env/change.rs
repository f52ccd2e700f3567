//! A changed environment as a release, or staged for the next deploy.

use deploy::Digest;
use deploy::Timestamp;
use deploy::environment::Environment;
use deploy::id::Id;
use deploy::prune::Pruned;
use deploy::publish::{SwapError, swap};
use deploy::release::{Draft, Kind};
use deploy::state::State;

use crate::cli::PublishArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit};
use crate::output::Output;
use crate::output::events::{ChangeEvent, Outcome};
use crate::publish::{
    NoStep, Publisher, ensure_whole, environment_changes, read_environment, swap_failure, tell,
    upload_environment,
};

/// How often a change is worked out anew because somebody else changed the environment meanwhile.
const ATTEMPTS_MAX: usize = 10;

/// Changes the environment by `apply`, whose base is the staged one if there is any, else the
/// current one.
pub(super) async fn run(
    app: &AppContext,
    args: &PublishArgs,
    stage: bool,
    apply: impl Fn(&Environment) -> CommandResult<Environment>,
) -> CommandResult {
    let output = Output::new(args.follow.json);
    let publisher = Publisher::open(app, args, &output)?;
    publisher.unfrozen().await?;
    for _ in 1..ATTEMPTS_MAX {
        match attempt(&publisher, stage, &apply).await? {
            Attempt::Ended(exit) => return Ok(exit),
            Attempt::Published(published) => return publisher.follow(&published).await,
            Attempt::Moved => {}
        }
    }
    Err(swap_failure(&app.name, SwapError::Refused(NoStep::Moved)))
}

enum Attempt {
    Ended(Exit),
    Published(Box<crate::publish::Published>),
    /// Somebody else changed the environment: nothing was written.
    Moved,
}

/// What of a state the change was worked out from: the staged environment, the current one, and the
/// prunes, one of which could have removed what was found in the bucket.
type Basis = (Option<Digest>, Option<Digest>, Option<Pruned>);

fn basis(state: &State) -> Basis {
    let current = state.release.as_ref().and_then(|release| release.environment);
    (state.staged_environment, current, state.pruned.clone())
}

async fn attempt(
    publisher: &Publisher<'_>,
    stage: bool,
    apply: impl Fn(&Environment) -> CommandResult<Environment>,
) -> CommandResult<Attempt> {
    let (store, output) = (&*publisher.store, publisher.output);
    let state = publisher.state().await?;
    let basis = basis(&state);
    let current = read_environment(store, basis.1.as_ref()).await?;
    let staged = match &basis.0 {
        Some(digest) => Some(read_environment(store, Some(digest)).await?),
        None => None,
    };
    let next = apply(staged.as_ref().unwrap_or(&current))?;
    let stage = stage || state.release.is_none();
    let before = if stage { staged.as_ref().unwrap_or(&current) } else { &current };
    let changes = environment_changes(before, &next);
    if changes.is_empty() && (stage || staged.is_none()) {
        output.line("nothing changes");
        return Ok(Attempt::Ended(publisher.end(Exit::Done, Outcome::Unchanged, state.current())));
    }
    if stage || changes.is_empty() {
        // Where the next environment is the current one again, nothing waits for a deploy.
        let wait = (next != current).then_some(&next);
        return held(publisher, &state, wait, basis, &changes).await;
    }
    let digest = upload_environment(store, &state, &next).await?;
    if let Some(release) = &state.release {
        ensure_whole(store, &[deploy::layout::artifact(&release.artifact.digest)]).await?;
    }
    tell(output, &changes);
    publisher.revive().await?;
    released(publisher, digest, basis, names(&changes)).await
}

fn names(changes: &[ChangeEvent]) -> Vec<String> {
    changes.iter().filter_map(|change| change.name.clone()).collect()
}

/// Publishes the current release with another environment.
async fn released(
    publisher: &Publisher<'_>,
    digest: Digest,
    expected: Basis,
    names: Vec<String>,
) -> CommandResult<Attempt> {
    let (by, message) = (publisher.app.actor(), publisher.args.message.clone());
    let step = |state: State| {
        if basis(&state) != expected {
            return Err(NoStep::Moved);
        }
        let release = state.release.as_ref().ok_or(NoStep::NoRelease)?;
        let kind = Kind::Env(names.clone());
        let mut draft = Draft::again(release, by.clone(), kind, message.clone());
        draft.id = Id::random();
        draft.environment = Some(digest);
        // What was staged is in it.
        Ok((State { staged_environment: None, ..state }, draft))
    };
    match publisher.publish_unless_moved(None, step).await? {
        Some(published) => Ok(Attempt::Published(Box::new(published))),
        None => Ok(Attempt::Moved),
    }
}

/// Holds `next` for the next deploy.
async fn held(
    publisher: &Publisher<'_>,
    state: &State,
    next: Option<&Environment>,
    expected: Basis,
    changes: &[ChangeEvent],
) -> CommandResult<Attempt> {
    let release = state.current();
    let digest = match next {
        Some(next) => Some(upload_environment(&*publisher.store, state, next).await?),
        None => None,
    };
    let (store, name) = (&*publisher.store, &publisher.app.name);
    let by = publisher.app.actor();
    let staged = publisher.when_free(async || {
        swap(store, name, |state| match basis(&state) == expected {
            true => Ok(state.staged(digest, &by, Timestamp::now())?),
            false => Err(NoStep::Moved),
        })
        .await
    });
    if staged.await?.is_none() {
        return Ok(Attempt::Moved);
    }
    tell(publisher.output, changes);
    publisher.output.line(match (next, release) {
        (None, _) => "the environment is the current one again: nothing is staged any longer",
        (_, None) => "staged: there is no release yet, and the first deploy sets it",
        _ => "staged for the next deploy",
    });
    Ok(Attempt::Ended(publisher.end(Exit::Done, Outcome::Staged, release)))
}
