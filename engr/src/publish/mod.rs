//! Makes a release: the claim, the uploads, the publish, and the way through the fleet.
//!
//! ```text
//!   claim ──▶ build, archive, upload ──▶ publish ──▶ follow
//!     │            │ (renewed meanwhile)    │
//!     │            ├── lost ──▶ exit 11     └── compare-and-set under the claim
//!     │            └── Ctrl-C, failure ──▶ given up
//!     └── another's lives, or a lock ──▶ exit 11, or --wait-lock
//! ```
//!
//! A lock stops all of it before it begins. One that is set while a deploy is under way ends that at
//! once: what was to be kept back may be just its release.
//!
//! Commands with no build publish without a claim of their own; another's live claim stops them
//! just the same. Whatever ends a command before its publish leaves the bucket as it was, but for
//! uploads that nothing names.

mod changes;
mod claim;
mod refusal;
mod republish;
mod upload;
mod wait;

use std::sync::Arc;
use std::time::Instant;

use deploy::publish::{Damage, SwapError, Swapped, load, swap};
use deploy::release::{Draft, Kind, Release};
use deploy::rollout::{self, Base, Limit, Plan, Progress};
use deploy::state::{Refused, State};
use deploy::store::Store;
use deploy::{Timestamp, layout};

use crate::cli::PublishArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::fleet::{Change, Instance, Provider};
use crate::follow;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::output::events::{Event, Outcome, ResultEvent};
use crate::rollout::{read_progress, what_became};
use deploy::reports::Reports;

pub use changes::{Content, changes, environment_changes, tell};
pub use claim::HeldClaim;
pub use refusal::{NoStep, holder, load_failure, locker, no_release, swap_failure};
pub use republish::{may_reconfigure, reconfigure, restart};
pub use upload::{
    ensure_kept, ensure_whole, read_environment, upload_agent, upload_artifact, upload_environment,
};

/// One command on its way to a release.
pub struct Publisher<'a> {
    /// Whose release.
    pub app: &'a AppContext,
    /// How it is published and followed.
    pub args: &'a PublishArgs,
    /// Who is told.
    pub output: &'a Output,
    /// The app's bucket.
    pub store: Arc<dyn Store>,
    /// The app's instances.
    pub fleet: Box<dyn Provider>,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// When the command began.
    pub began: Instant,
}

/// A release that is current now.
#[derive(Clone, Debug)]
pub struct Published {
    /// It.
    pub release: Release,
    /// The one that served before it: where undoing it leads. None: it is the first.
    pub previous: Option<u64>,
}

/// What the instances serve, by their own word.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// The release that all of those serve of which that is known, if it is the same one. After a
    /// failed release it is not the current one.
    pub everywhere: Option<u64>,
    /// The same, if each instance says so, and that it is well.
    pub good: Option<u64>,
    /// How many instances there are.
    pub instances: usize,
}

impl<'a> Publisher<'a> {
    /// Opens the app's bucket and fleet.
    pub fn open(
        app: &'a AppContext,
        args: &'a PublishArgs,
        output: &'a Output,
    ) -> CommandResult<Self> {
        let store = app.store()?;
        Ok(Self {
            app,
            args,
            output,
            fleet: app.fleet_of(store.clone())?,
            store,
            interrupt: Interrupt::new()?,
            began: Instant::now(),
        })
    }

    /// The newest state.
    pub async fn state(&self) -> CommandResult<State> {
        let loaded = deploy::publish::load(&*self.store, &self.app.name).await;
        let loaded = loaded.map_err(load_failure)?;
        if let Some(damage) = loaded.damage {
            self.output.warn(format_args!("{}", damage_text(damage)));
        }
        Ok(loaded.state)
    }

    /// Claims the app, and keeps the claim alive from then on.
    pub async fn claim(&self) -> CommandResult<HeldClaim> {
        let phase = self.output.phase("claim");
        let if_current = self.args.if_current;
        let (store, name, by) = (self.store.clone(), &self.app.name, self.app.actor());
        let taken = self.when_free(async || {
            HeldClaim::take(&store, name, &by, |state| {
                let current = state.current();
                match if_current.filter(|expected| Some(*expected) != current) {
                    Some(expected) => Err(Refused::NotCurrent { expected, current }.into()),
                    None => Ok(()),
                }
            })
            .await
        });
        let (held, damage) = taken.await?.ok_or_else(|| self.moved())?;
        phase.done(format_args!("held by {by}"));
        self.told_of(damage);
        Ok(held)
    }

    /// Makes the next release current: the one that `step` drafts from the newest state.
    ///
    /// `step` may change the state too, and is asked again when somebody else wrote in between.
    pub async fn publish(
        &self,
        under: Option<&HeldClaim>,
        step: impl Fn(State) -> Result<(State, Draft), NoStep>,
    ) -> CommandResult<Published> {
        self.publish_unless_moved(under, step).await?.ok_or_else(|| self.moved())
    }

    /// [`Self::publish`]; none where `step` finds that its base has changed ([`NoStep::Moved`]).
    pub async fn publish_unless_moved(
        &self,
        under: Option<&HeldClaim>,
        step: impl Fn(State) -> Result<(State, Draft), NoStep>,
    ) -> CommandResult<Option<Published>> {
        let (store, name) = (self.store.clone(), &self.app.name);
        let progress = read_progress(&*self.store).await?;
        self.tell_of_before(progress.as_ref()).await?;
        let phase = self.output.phase("publish");
        let (id, if_current) = (under.map(HeldClaim::id), self.args.if_current);
        let Served { everywhere: served, good, instances } = self.served().await?;
        let mut current = None;
        let mut attempt = async || {
            swap(&*store, name, |state| {
                current = state.current();
                let (state, mut draft) = step(state.based_on(progress.as_ref(), good))?;
                let is_graceful = draft.settings.graceful_shutdown;
                draft.rollout = self.plan(&state, &draft.kind, is_graceful, instances);
                Ok(state.published(draft, id, if_current, Timestamp::now())?)
            })
            .await
        };
        let published = match under {
            // A lock that was set meanwhile is for this release too: it is not waited for.
            Some(_) => Some(attempt().await.map_err(|error| swap_failure(name, error))?),
            None => self.when_free(attempt).await?,
        };
        let Some(Swapped { state, damage, .. }) = published else { return Ok(None) };
        // Where it was just taken back, instances may not have said so yet.
        let is_back = |base: &Base| current.is_some_and(|it| base.reverted.contains(&it));
        let base = state.base.filter(is_back).map(|base| base.release.number);
        let release = state.release.expect("a published state has a release");
        phase.done(format_args!("v{}", release.number));
        self.told_of(damage);
        self.output.event(&Event::Published {
            release: release.number,
            published: release.published,
            artifact: release.artifact.digest,
        });
        let previous = base.or(served).filter(|served| *served < release.number).or(current);
        Ok(Some(Published { release, previous }))
    }

    /// Says what had become of the release before, where it did not stay.
    async fn tell_of_before(&self, progress: Option<&Progress>) -> CommandResult<()> {
        let Some(progress) = progress.filter(|progress| progress.halt.is_some()) else {
            return Ok(());
        };
        let name = &self.app.name;
        let state = load(&*self.store, name).await.map_err(load_failure)?.state;
        let base = state.base.as_ref().map(|base| base.release.number);
        let release = state.release.as_ref();
        let message = release.and_then(|release| what_became(name, release, progress, base));
        if let Some(message) = message {
            self.output.line(format_args!("{:<9} {message}", "before"));
            self.output.event(&Event::Before {
                release: progress.number,
                stage: progress.stage.word(),
                message,
                halt: progress.halt.as_ref(),
            });
        }
        Ok(())
    }

    /// What the instances serve.
    pub async fn served(&self) -> CommandResult<Served> {
        let mut reports = Reports::default();
        reports.refresh(&*self.store).await?;
        let instances = self.fleet.instances().await?;
        let serving = |one: &Instance| Some(reports.get(&one.name)?.serving.as_ref()?.release);
        let mut serving = instances.iter().filter_map(serving);
        let first = serving.next();
        let everywhere = first.filter(|_| serving.all(|other| Some(other) == first));
        let is_good = |number: &u64| {
            let report = |one: &Instance| reports.get(&one.name);
            instances.iter().all(|one| report(one).is_some_and(|it| rollout::is_good(it, *number)))
        };
        let good = everywhere.filter(is_good);
        Ok(Served { everywhere, good, instances: instances.len() })
    }

    /// How the release goes through the fleet. Where nothing was good for all of it before, or there
    /// is one instance alone, an order would protect nobody; and what a rollback brings is known.
    pub fn plan(&self, state: &State, kind: &Kind, is_graceful: bool, instances: usize) -> Plan {
        let args = &self.args.rollout;
        let mut rules = args.over(self.app.config.rollout());
        if matches!(kind, Kind::Rollback(_)) && args.canary.is_none() {
            rules.canary = Limit::Count(0);
        }
        let parallel = rules.parallel(instances, is_graceful);
        let has_order = rules.canary.of(instances) > 0 || parallel < instances;
        let now = args.now || state.base.is_none() || instances <= 1 || !has_order;
        Plan { now, instances: u32::try_from(instances).unwrap_or(u32::MAX), rules }
    }

    /// Follows a release to its end, and tells of it; `undo` is the command that goes back.
    pub async fn follow(self, published: &Published) -> CommandResult {
        let followed = follow::Followed {
            app: &self.app.name,
            release: &published.release,
            undo: published.previous.map(|v| format!("engr {} rollback v{v}", self.app.name)),
            began: self.began,
            addresses: self.fleet.addresses(),
            how_to_make: self.fleet.how_to_make(),
        };
        if self.args.follow.detach {
            return Ok(follow::detached(self.output, &followed));
        }
        let timeout = self.args.follow.wait_timeout.map_or(follow::WAIT_TIMEOUT, |span| span.0);
        let fleet = follow::Fleet { store: &*self.store, provider: &*self.fleet };
        follow::follow(self.output, &followed, &fleet, timeout, &self.interrupt).await
    }

    /// Starts what does not run, so that the fleet is as the app's settings have it.
    pub async fn bring_up(&self) -> CommandResult<()> {
        if self.fleet.plan().await?.is_empty() {
            return Ok(());
        }
        let phase = self.output.phase("fleet");
        let changes = std::sync::Mutex::new(Vec::new());
        let note = |change: &Change| {
            changes.lock().unwrap_or_else(|e| e.into_inner()).push(change_text(change));
        };
        self.fleet.apply(&note).await?;
        let changes = changes.into_inner().unwrap_or_else(|e| e.into_inner());
        phase.done(changes.join(", "));
        Ok(())
    }

    /// [`Self::bring_up`] where something does not run: the release would wait for an agent, and
    /// nobody would reach the app without the balancer.
    pub async fn revive(&self) -> CommandResult<()> {
        let is_down = |change: &Change| matches!(change, Change::Start(_) | Change::Balancer(_));
        let (instances, plan) = (self.fleet.instances().await?, self.fleet.plan().await?);
        match instances.is_empty() || plan.iter().any(is_down) {
            true => self.bring_up().await,
            false => Ok(()),
        }
    }

    /// Ends the command with nothing published.
    pub fn end(&self, exit: Exit, outcome: Outcome, release: Option<u64>) -> Exit {
        self.output.event(&Event::Result(&ResultEvent {
            outcome,
            exit_code: exit as u8,
            release,
            seconds: Some(crate::output::round(self.began.elapsed().as_secs_f64())),
            ..ResultEvent::default()
        }));
        exit
    }

    /// Somebody else has changed what this was worked out from.
    pub fn moved(&self) -> Failure {
        swap_failure(&self.app.name, SwapError::Refused(NoStep::Moved))
    }

    /// Tells of damage that a write has healed.
    pub fn told_of(&self, damage: Option<Damage>) {
        if let Some(damage) = damage {
            let healed = "; the bucket is whole again";
            self.output.warn(format_args!("{}{healed}", damage_text(damage)));
        }
    }
}

/// What a change of the fleet is called once it is done.
pub fn change_text(change: &Change) -> String {
    match change {
        Change::Create(name) => format!("{name} created"),
        Change::Start(name) => format!("{name} started"),
        Change::Reconfigure(name) => format!("{name} reconfigured"),
        Change::Remove(name) => format!("{name} removed"),
        Change::Balancer(what) => format!("balancer: {what}"),
    }
}

/// What is wrong with `state.json`, and what was taken in its place.
pub fn damage_text(damage: Damage) -> String {
    let (live, object) = (damage.live, layout::STATE);
    match damage.taken {
        Some(taken) => {
            format!("generation {live} of {object} is damaged; generation {taken} is in its place")
        }
        None => format!("generation {live} of {object} is damaged, and no older one is whole"),
    }
}
