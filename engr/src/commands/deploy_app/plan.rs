//! `--plan`: what a deploy would change, without a claim and without a write.

use super::{Wanted, built, find, next_environment};
use crate::cli::DeployArgs;
use crate::failure::{CommandResult, Exit};
use crate::fleet;
use crate::output::events::{Change, ChangeEvent, Outcome};
use crate::publish::{Content, Publisher, changes, read_environment, tell};

/// Tells what a deploy would change; exit code 3 if anything.
pub(super) async fn run(publisher: &Publisher<'_>, args: &DeployArgs) -> CommandResult {
    let all = publisher.interrupt.unless_raised(plan(publisher, args)).await;
    let (current, all) = all?;
    tell(publisher.output, &all);
    if all.is_empty() {
        publisher.output.line("nothing would change");
        return Ok(publisher.end(Exit::Done, Outcome::Unchanged, current));
    }
    Ok(publisher.end(Exit::Changes, Outcome::Changes, current))
}

async fn plan(
    publisher: &Publisher<'_>,
    args: &DeployArgs,
) -> CommandResult<(Option<u64>, Vec<ChangeEvent>)> {
    let artifact = match &args.artifact {
        Some(wanted) => find::in_bucket(publisher, wanted).await?.artifact(),
        None => {
            Wanted::Built { archive: built(publisher.app, publisher.output).await?, source: None }
                .artifact()
        }
    };
    let (store, state) = (&*publisher.store, publisher.state().await?);
    let current = match &state.release {
        Some(release) => Some(Content::of(store, release).await?),
        None => None,
    };
    let next = Content {
        artifact,
        environment: read_environment(store, next_environment(&state).as_ref()).await?,
        settings: publisher.app.config.settings(),
    };
    let mut all = changes(current.as_ref(), &next);
    all.extend(publisher.fleet.plan().await?.iter().map(instance_change));
    Ok((state.current(), all))
}

fn instance_change(change: &fleet::Change) -> ChangeEvent {
    let (change, name) = match change {
        fleet::Change::Create(name) => (Change::Added, name.clone()),
        fleet::Change::Start(name) => (Change::Changed, format!("{name} (started)")),
        fleet::Change::Reconfigure(name) => (Change::Changed, name.clone()),
        fleet::Change::Remove(name) => (Change::Removed, name.clone()),
        fleet::Change::Balancer(what) => (Change::Changed, format!("balancer: {what}")),
    };
    ChangeEvent { what: "instances", change, name: Some(name), from: None, to: None }
}
