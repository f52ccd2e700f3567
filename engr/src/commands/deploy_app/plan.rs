//! `--plan`: what a deploy would change, without a claim and without a write.

use deploy::release::Kind;
use deploy::rollout::Plan;

use super::{Wanted, built, find, next_environment};
use crate::cli::DeployArgs;
use crate::failure::{CommandResult, Exit};
use crate::fleet;
use crate::output::events::{Change, ChangeEvent, Event, Outcome, ResultEvent};
use crate::output::round;
use crate::publish::{Content, Publisher, changes, read_environment, tell};
use crate::rollout::{plan_text, read_progress};

/// How a release would go through the fleet, and the same for people.
type Way = (Plan, String);

/// Tells what a deploy would change; exit code 3 if anything.
pub(super) async fn run(publisher: &Publisher<'_>, args: &DeployArgs) -> CommandResult {
    let all = publisher.interrupt.unless_raised(plan(publisher, args)).await;
    let (current, all, rollout) = all?;
    tell(publisher.output, &all);
    if all.is_empty() {
        publisher.output.line("nothing would change");
        return Ok(publisher.end(Exit::Done, Outcome::Unchanged, current));
    }
    publisher.output.line(format_args!("{:<11} {}", "rollout", rollout.1));
    publisher.output.event(&Event::Result(&ResultEvent {
        outcome: Outcome::Changes,
        exit_code: Exit::Changes as u8,
        release: current,
        seconds: Some(round(publisher.began.elapsed().as_secs_f64())),
        rollout: Some(rollout.0),
        ..ResultEvent::default()
    }));
    Ok(Exit::Changes)
}

async fn plan(
    publisher: &Publisher<'_>,
    args: &DeployArgs,
) -> CommandResult<(Option<u64>, Vec<ChangeEvent>, Way)> {
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
    let of_fleet = publisher.fleet.plan().await?;
    all.extend(of_fleet.iter().map(instance_change));
    let is_made = |change: &&fleet::Change| matches!(change, fleet::Change::Create(_));
    let is_gone = |change: &&fleet::Change| matches!(change, fleet::Change::Remove(_));
    let instances =
        publisher.fleet.instances().await?.len() + of_fleet.iter().filter(is_made).count();
    let instances = instances.saturating_sub(of_fleet.iter().filter(is_gone).count());
    let current = state.current();
    let good = publisher.served().await?.good;
    let state = state.based_on(read_progress(store).await?.as_ref(), good);
    let is_graceful = next.settings.graceful_shutdown;
    let plan = publisher.plan(&state, &Kind::Deploy, is_graceful, instances);
    let text = plan_text(&plan, instances, is_graceful, state.base.is_some());
    Ok((current, all, (plan, text)))
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
