//! The app at one moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deploy::Timestamp;
use deploy::agent_rollout::AgentStanding;
use deploy::claim::Claim;
use deploy::desired_agent::DesiredAgent;
use deploy::lock::Lock;
use deploy::publish::load;
use deploy::release::Release;
use deploy::report::{Agent, AgentUpdate, BadAgent, CrashLoop, Failure, Report, Version};
use deploy::rollout::Progress;
use deploy::rollout::course::order_of;
use deploy::state::State;
use deploy::store::Store;
use serde::Serialize;

use super::rollout::{RolloutJson, RolloutStatus};
use crate::context::AppContext;
use crate::failure::CommandResult;
use crate::fleet::{Instance, Provider};
use crate::follow::{InstanceView, Seen};
use crate::publish::{damage_text, load_failure};
use crate::rollout::{Heard, read_progress};
use deploy::reports::Reports;

/// Where snapshots come from. The history is not read: it grows.
pub(super) struct Source<'a> {
    app: &'a AppContext,
    store: Arc<dyn Store>,
    fleet: Box<dyn Provider>,
    reports: Reports,
    /// When it was opened, and who has been silent since.
    began: Instant,
    heard: Heard,
}

/// What is desired, and what runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot {
    pub(super) app: String,
    pub(super) release: Option<Release>,
    /// A claim that binds others.
    pub(super) claim: Option<Claim>,
    /// A lock that binds.
    pub(super) lock: Option<Lock>,
    /// The agent that the fleet is to run.
    pub(super) agent: Option<DesiredAgent>,
    /// How the release's rollout stands.
    pub(super) rollout: Option<RolloutStatus>,
    pub(super) staged: bool,
    /// A prune is under way, or was cut off.
    pub(super) prune_unfinished: bool,
    pub(super) damage: Option<String>,
    pub(super) addresses: Vec<String>,
    /// How a fleet without instances gets some.
    pub(super) how_to_make: String,
    pub(super) instances: Vec<InstanceStatus>,
    /// What `sync` would do.
    pub(super) to_sync: Vec<String>,
}

/// One instance, as `status --json` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct InstanceStatus {
    pub(super) name: String,
    /// The release that serves there.
    pub(super) release: Option<u64>,
    /// What it is doing; `down` when its agent does not run, `silent` before that agent's
    /// first report.
    pub(super) phase: &'static str,
    /// The serving app's process.
    pub(super) pid: Option<u32>,
    /// When that process started.
    pub(super) started: Option<Timestamp>,
    pub(super) restarts: u32,
    /// The first of `addresses`.
    pub(super) address: Option<String>,
    pub(super) addresses: Vec<String>,
    pub(super) agent_pid: Option<u32>,
    pub(super) agent_version: Option<String>,
    /// The SHA-256 of that agent's binary.
    pub(super) agent_digest: Option<deploy::Digest>,
    /// How far it is with the agent that it is to run.
    pub(super) agent_update: Option<AgentUpdate>,
    /// Where it stands with the one that is wanted now.
    #[serde(skip)]
    pub(super) agent_standing: Option<AgentStanding>,
    /// Agents that did not do there.
    pub(super) agent_bad: Vec<BadAgent>,
    /// When it reported last.
    pub(super) reported: Option<Timestamp>,
    /// When its agent had heard last from the bucket by then.
    pub(super) looked: Option<Timestamp>,
    /// How old its view of the bucket was by then, if it was too old.
    #[serde(skip)]
    pub(super) old_view: Option<Duration>,
    /// It has this release on its disk, and waits for its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waits: Option<u64>,
    /// Its app is not well: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unwell: Option<String>,
    /// It has not reported for too long.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) stale: bool,
    /// Versions that finish their requests.
    pub(super) draining: Vec<Version>,
    /// What its app says that it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app_status: Option<String>,
    /// Its app crashes again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crash_loop: Option<CrashLoop>,
    pub(super) last_failure: Option<Failure>,
}

/// `status --json`.
#[derive(Debug, Serialize)]
pub(super) struct Json<'a> {
    app: &'a str,
    release: Option<u64>,
    published: Option<Timestamp>,
    by: Option<&'a str>,
    what: Option<String>,
    message: Option<&'a str>,
    artifact: Option<deploy::Digest>,
    claim: Option<ClaimJson<'a>>,
    lock: Option<LockJson<'a>>,
    agent: Option<&'a DesiredAgent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<RolloutJson<'a>>,
    environment_staged: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prune_unfinished: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<&'a str>,
    address: Option<&'a str>,
    addresses: &'a [String],
    instances: &'a [InstanceStatus],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    to_sync: &'a [String],
}

#[derive(Debug, Serialize)]
struct ClaimJson<'a> {
    by: &'a str,
    since: Timestamp,
    expires: Timestamp,
}

#[derive(Debug, Serialize)]
struct LockJson<'a> {
    by: &'a str,
    since: Timestamp,
    message: &'a str,
    until: Option<Timestamp>,
}

impl<'a> Source<'a> {
    /// Of the app's bucket and fleet.
    pub(super) fn open(app: &'a AppContext) -> CommandResult<Self> {
        let (store, fleet) = (app.store()?, app.fleet()?);
        let (reports, heard) = (Reports::default(), Heard::default());
        Ok(Self { app, store, fleet, reports, began: Instant::now(), heard })
    }

    /// The app now.
    pub(super) async fn look(&mut self) -> CommandResult<Snapshot> {
        let loaded = load(&*self.store, &self.app.name).await.map_err(load_failure)?;
        self.reports.refresh(&*self.store).await?;
        let (instances, changes) = (self.fleet.instances().await?, self.fleet.plan().await?);
        let agent = loaded.state.agent.clone();
        let progress = read_progress(&*self.store).await?;
        let views = self.views(&instances, loaded.state.release.as_ref(), progress.as_ref());
        let seen = seen(&loaded.state, progress);
        let base = loaded.state.base.as_ref().map(|base| base.release.number);
        let release = loaded.state.release.as_ref();
        let rollout = release.and_then(|release| RolloutStatus::of(release, &seen, base, &views));
        let is_stale = |name: &str| views.iter().any(|it| it.name == name && it.silent.is_some());
        let status = |one: &Instance| InstanceStatus {
            stale: is_stale(&one.name),
            ..status(one, self.reports.get(&one.name), agent.as_ref())
        };
        let statuses = instances.iter().map(status).collect();
        Ok(Snapshot {
            app: self.app.name.clone(),
            claim: loaded.state.live_claim(Timestamp::now()).cloned(),
            lock: loaded.state.live_lock(Timestamp::now()).cloned(),
            rollout,
            staged: loaded.state.staged_environment.is_some(),
            prune_unfinished: loaded.state.prune_unfinished().is_some(),
            release: loaded.state.release,
            damage: loaded.damage.map(damage_text),
            addresses: self.fleet.addresses(),
            how_to_make: self.fleet.how_to_make(),
            instances: statuses,
            agent,
            to_sync: changes.iter().map(ToString::to_string).collect(),
        })
    }

    /// Where each instance stands with `release`.
    fn views(
        &mut self,
        instances: &[Instance],
        release: Option<&Release>,
        progress: Option<&Progress>,
    ) -> Vec<InstanceView> {
        let (now, wall) = (self.began.elapsed(), Timestamp::now());
        let reports = &self.reports;
        self.heard.update(now, instances.iter().map(|one| (&*one.name, reports.get(&one.name))));
        let Some(release) = release else { return Vec::new() };
        let rules = release.rollout.as_ref().map(|plan| plan.rules.clone()).unwrap_or_default();
        let rolls = progress.is_some_and(|it| it.release == release.id && it.stage.is_underway());
        let view = |one: &Instance| {
            let stale_after = rules.stale_after.0;
            let silent = self.heard.silence(&one.name, now, wall, stale_after, rolls);
            InstanceView::new(one, reports.get(&one.name), release.number, silent)
        };
        instances.iter().filter_map(view).collect()
    }
}

/// What the fleet says of the current release.
fn seen(state: &State, progress: Option<Progress>) -> Seen {
    let id = state.release.as_ref().map(|release| &release.id);
    Seen {
        progress: progress.filter(|progress| Some(&progress.release) == id),
        order: order_of(state).cloned(),
        ..Seen::default()
    }
}

fn status(
    instance: &Instance,
    report: Option<&Report>,
    agent: Option<&DesiredAgent>,
) -> InstanceStatus {
    // What was reported in an earlier life of the instance has ended with it.
    let is_now = |report: &&Report| {
        let Agent { pid, launcher, .. } = report.agent;
        instance.agent_pid.is_some_and(|known| [Some(pid), launcher].contains(&Some(known)))
    };
    let now = report.filter(is_now);
    let serving = now.and_then(|report| report.serving.as_ref());
    let known = instance.addresses.iter().map(ToString::to_string).collect();
    let reported = report.map(|report| report.addresses.clone()).filter(|all| !all.is_empty());
    let addresses: Vec<String> = reported.unwrap_or(known);
    InstanceStatus {
        name: instance.name.clone(),
        release: serving.map(|version| version.release),
        phase: match (instance.agent_pid, now) {
            (None, _) => "down",
            (Some(_), None) => "silent",
            (Some(_), Some(report)) => report.phase.word(),
        },
        pid: serving.map(|version| version.pid),
        started: serving.map(|version| version.started),
        app_status: serving.and_then(|version| version.status.clone()),
        restarts: serving.map_or(0, |version| version.restarts),
        address: addresses.first().cloned(),
        addresses,
        agent_pid: now.map(|report| report.agent.pid).or(instance.agent_pid),
        agent_version: now.map(|report| report.agent.version.clone()),
        agent_digest: now.and_then(|report| report.agent.digest),
        agent_update: now.and_then(|report| report.agent.update.clone()),
        agent_standing: agent.map(|agent| AgentStanding::of(agent, report)),
        agent_bad: report.map(|report| report.agent.bad.clone()).unwrap_or_default(),
        reported: report.map(|report| report.written),
        looked: report.and_then(|report| report.looked),
        old_view: now.and_then(Report::old_view),
        waits: now.and_then(|report| report.waits),
        unwell: serving.and_then(|version| version.unwell.clone()),
        stale: false,
        draining: now.map(|report| report.draining.clone()).unwrap_or_default(),
        crash_loop: now.and_then(|report| report.crash_loop),
        last_failure: report.and_then(|report| report.last_failure.clone()),
    }
}

impl Snapshot {
    /// The object that `--json` prints.
    pub(super) fn json(&self) -> Json<'_> {
        let release = self.release.as_ref();
        Json {
            app: &self.app,
            release: release.map(|release| release.number),
            published: release.map(|release| release.published),
            by: release.map(|release| release.by.as_str()),
            what: release.map(|release| release.kind.to_string()),
            message: release.and_then(|release| release.message.as_deref()),
            artifact: release.map(|release| release.artifact.digest),
            claim: self.claim.as_ref().map(|claim| ClaimJson {
                by: &claim.by,
                since: claim.since,
                expires: claim.expires,
            }),
            lock: self.lock.as_ref().map(|lock| LockJson {
                by: &lock.by,
                since: lock.since,
                message: &lock.message,
                until: lock.until,
            }),
            agent: self.agent.as_ref(),
            rollout: self.rollout.as_ref().map(RolloutStatus::json),
            environment_staged: self.staged,
            prune_unfinished: self.prune_unfinished,
            damage: self.damage.as_deref(),
            address: self.addresses.first().map(String::as_str),
            addresses: &self.addresses,
            instances: &self.instances,
            to_sync: &self.to_sync,
        }
    }
}
