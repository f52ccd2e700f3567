//! The state machine itself. See the module above for the way of a release through it.
//!
//! - [`phases`]: what it can be in the middle of, and what it knows then.
//! - [`coming`]: from a desired release to one that serves and has settled.
//! - [`failing`]: what happens when a process ends.
//! - [`leaving`]: old versions, and the agent's own end.

#![deny(clippy::disallowed_methods)]

use std::sync::Arc;

use deploy::id::Id;
use deploy::release::Release;
use deploy::report::{Phase, Stage};
use serde::{Deserialize, Serialize};

use super::types::{Action, Event, Exit, Retained, RunId, Snapshot, Time, VersionId};

mod coming;
mod failing;
mod leaving;
mod phases;

use failing::Ended;
use phases::{Before, Desired, Fetch, Leaving, Process, Retiring, Stopping, Switch, Version};

/// The switch core of one instance. It is written down with every step, so that an agent that takes
/// over from one that died goes on where that one was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    desired: Option<Desired>,
    good: Option<Arc<Release>>,
    rejected: Option<Id>,
    serving: Option<Version>,
    switch: Switch,
    retiring: Vec<Retiring>,
    stopping: Option<Stopping>,
    /// The serving version was ended for one that failed, and is not ready again yet.
    is_restoring: bool,
    versions_begun: u32,
    runs_begun: u64,
}

impl Machine {
    /// A core that knows what an earlier life of this agent left. The good release, if there is
    /// one, is started at the first step: it lies on the disk, and served before. Runs are numbered
    /// from behind `runs_begun`, which no earlier core has reached.
    pub fn new(retained: Retained, runs_begun: u64) -> Self {
        let mut machine = Self {
            desired: None,
            good: retained.good.clone(),
            rejected: retained.rejected,
            serving: None,
            switch: Switch::Rest,
            retiring: Vec::new(),
            stopping: None,
            is_restoring: false,
            versions_begun: 0,
            runs_begun,
        };
        if let Some(release) = retained.good {
            let next = machine.new_version(release);
            machine.switch = Switch::Preparing { next };
        }
        machine
    }

    /// The actions with which a new core begins.
    pub fn begin(&self) -> Vec<Action> {
        match &self.switch {
            Switch::Preparing { next } => vec![prepare(next)],
            _ => Vec::new(),
        }
    }

    /// What an agent begins with that takes over this core from one that died: `undone`, the actions
    /// that the one before may not have carried out, and whatever it had under way besides the app's
    /// processes. `has_process` says of which versions there is a process to adopt, though it may have
    /// ended. The versions that are given back had one coming that will not come: tell the core of
    /// their end when the actions are carried out.
    pub fn take_over(
        &self,
        undone: Vec<Action>,
        has_process: impl Fn(VersionId) -> bool,
    ) -> (Vec<Action>, Vec<VersionId>) {
        let starts = |action: &Action, id| matches!(action, Action::Start(it, _) if *it == id);
        let is_lost = |version: &&Version| {
            matches!(version.process, Process::Up { .. })
                && !has_process(version.id)
                && !undone.iter().any(|action| starts(action, version.id))
        };
        let lost = self.versions().filter(is_lost).map(|version| version.id).collect();
        let is_said_anew = |action: &Action| {
            matches!(action, Action::Fetch(_) | Action::Prepare { .. } | Action::AwaitIdle(_))
        };
        let mut actions = undone;
        actions.retain(|action| !is_said_anew(action));
        if let Some(desired) = self.desired.as_ref().filter(|it| it.fetch == Fetch::Underway) {
            actions.push(Action::Fetch(desired.release.clone()));
        }
        if let Switch::Preparing { next } = &self.switch {
            actions.push(prepare(next));
        }
        for Retiring { version, stage } in &self.retiring {
            if let Leaving::Draining { .. } = stage {
                actions.push(Action::AwaitIdle(version.id));
            }
        }
        (actions, lost)
    }

    fn versions(&self) -> impl Iterator<Item = &Version> {
        let (next, before) = match &self.switch {
            Switch::Rest => (None, None),
            Switch::Preparing { next } => (Some(next), None),
            Switch::StoppingOld { next, old, .. } => (Some(next), Some(old)),
            Switch::Starting { next, before, .. } | Switch::Proving { next, before, .. } => {
                (Some(next), before.version())
            }
            Switch::Settling { before, .. } => (None, before.version()),
        };
        let retiring = self.retiring.iter().map(|retiring| &retiring.version);
        self.serving.iter().chain(next).chain(before).chain(retiring)
    }

    /// Takes one event at `now` and decides.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Desired(release) => self.desire(now, release, &mut actions),
            Event::Fetched(id) => {
                if let Some(desired) = self.desired.as_mut().filter(|d| d.release.id == id) {
                    desired.fetch = Fetch::Done;
                }
            }
            Event::FetchFailed(id, message) => self.fetch_failed(&id, message, &mut actions),
            Event::Prepared(id, way) => self.prepared(now, id, way, &mut actions),
            Event::PrepareFailed(id, message) => {
                self.prepare_failed(now, id, message, &mut actions)
            }
            Event::StartFailed(id, message) => {
                self.ended(now, id, Exit::default(), Some(message), &mut actions);
            }
            Event::Exited(id, exit) => self.ended(now, id, exit, None, &mut actions),
            Event::Ready(id) => self.ready(now, id, &mut actions),
            Event::Idle(id) => self.idle(now, id, &mut actions),
            Event::Stopping(id) => self.stops_by_itself(id),
            Event::Extend(id, by) => self.extend(now + by, id),
            Event::Stop => self.stop(now, Stopping::Asked, &mut actions),
            Event::ShutDown => self.stop(now, Stopping::Machine, &mut actions),
            Event::Tick => {}
        }
        self.pass_time(now, &mut actions);
        self.begin_switch(now, &mut actions);
        if self.stopping.is_some() && self.is_empty() {
            actions.push(Action::End);
        }
        actions
    }

    /// The app is ending of its own accord: nobody is to be sent to it any more.
    fn stops_by_itself(&mut self, id: VersionId) {
        if let Some(version) = self.serving.as_mut().filter(|version| version.id == id)
            && let Process::Up { ready, .. } = &mut version.process
        {
            *ready = false;
        }
    }

    /// The deadline that this version is under, if it is under one, is not before `at`.
    fn extend(&mut self, at: Time, id: VersionId) {
        match &mut self.switch {
            Switch::Starting { next, ready_by, .. } if next.id == id => {
                *ready_by = at.max(*ready_by);
            }
            Switch::StoppingOld { old, kill_at: Some(kill_at), .. } if old.id == id => {
                *kill_at = at.max(*kill_at);
            }
            _ => {}
        }
        for retiring in self.retiring.iter_mut().filter(|retiring| retiring.version.id == id) {
            if let Leaving::Terminated { kill_at: Some(kill_at) } = &mut retiring.stage {
                *kill_at = at.max(*kill_at);
            }
        }
    }

    /// When to call [`Self::step`] with a tick at the latest.
    pub fn wake_at(&self) -> Option<Time> {
        let switch = match &self.switch {
            Switch::Rest | Switch::Preparing { .. } => None,
            Switch::StoppingOld { kill_at, .. } => *kill_at,
            Switch::Starting { ready_by, .. } => Some(*ready_by),
            Switch::Proving { until, .. } | Switch::Settling { until, .. } => Some(*until),
        };
        let restart = self.serving.as_ref().and_then(|version| match version.process {
            Process::RestartAt(at) => Some(at),
            Process::None | Process::Up { .. } => None,
        });
        let leaving = self.retiring.iter().filter_map(|retiring| match retiring.stage {
            Leaving::Draining { terminate_at } => Some(terminate_at),
            Leaving::Terminated { kill_at } => kill_at,
            Leaving::Killed => None,
        });
        let recovery = self.serving.as_ref().and_then(Version::recovers_at);
        switch.into_iter().chain(restart).chain(recovery).chain(leaving).min()
    }

    /// What others may know.
    pub fn snapshot(&self) -> Snapshot {
        let reserve = match &self.switch {
            Switch::Settling { before: Before::Beside(Some(old)), .. } => Some(old),
            Switch::StoppingOld { old, .. } => Some(old),
            _ => None,
        };
        let retiring = self.retiring.iter().map(|retiring| &retiring.version);
        let ready = |v: &Version| matches!(v.process, Process::Up { ready: true, .. });
        Snapshot {
            phase: self.phase(),
            seen: self.desired.as_ref().map(|desired| desired.release.number),
            serving: self.serving.as_ref().map(Version::view),
            draining: reserve.into_iter().chain(retiring).map(Version::view).collect(),
            is_restoring: self.is_restoring,
            crash_loop: self.serving.as_ref().and_then(Version::crash_loop),
            healthy: self.stopping.is_none() && self.serving.as_ref().is_some_and(ready),
        }
    }

    /// Whether no switch is under way, nor one about to begin. Old versions may still finish their
    /// requests.
    pub fn is_quiet(&self) -> bool {
        let is_coming =
            |desired: &Desired| desired.fetch == Fetch::Underway && self.wants(&desired.release);
        matches!(self.switch, Switch::Rest)
            && self.stopping.is_none()
            && !self.desired.as_ref().is_some_and(is_coming)
    }

    /// Whether it ends because its machine does.
    pub fn ends_with_its_machine(&self) -> bool {
        self.stopping == Some(Stopping::Machine)
    }

    /// The release that it was told to run last.
    pub fn aimed(&self) -> Option<&Release> {
        self.desired.as_ref().map(|desired| &*desired.release)
    }

    /// The release that serves, or will whatever is desired: there is nothing else to go on with.
    pub fn bound(&self) -> Option<&Arc<Release>> {
        let coming = match &self.switch {
            Switch::Preparing { next }
            | Switch::StoppingOld { next, .. }
            | Switch::Starting { next, .. }
            | Switch::Proving { next, .. } => Some(next),
            Switch::Rest | Switch::Settling { .. } => None,
        };
        self.serving.as_ref().or(coming).map(|version| &version.release)
    }

    /// What must outlive this agent.
    pub fn retained(&self) -> Retained {
        Retained { good: self.good.clone(), rejected: self.rejected.clone() }
    }

    fn phase(&self) -> Phase {
        if self.stopping.is_some() {
            return Phase::Stopping;
        }
        let waits =
            |desired: &Desired| desired.fetch == Fetch::Underway && self.wants(&desired.release);
        match &self.switch {
            Switch::Preparing { .. } | Switch::StoppingOld { .. } | Switch::Starting { .. } => {
                Phase::Starting
            }
            Switch::Proving { .. } => Phase::Proving,
            Switch::Settling { .. } => Phase::Settling,
            Switch::Rest if self.desired.as_ref().is_some_and(waits) => Phase::Fetching,
            Switch::Rest => match self.serving.as_ref().map(|version| version.process) {
                None | Some(Process::None) => Phase::Idle,
                Some(Process::RestartAt(_)) => Phase::BackingOff,
                Some(Process::Up { ready: false, .. }) => Phase::Starting,
                Some(Process::Up { ready: true, .. }) => Phase::Serving,
            },
        }
    }

    /// Carries out whatever was to happen by `now`.
    fn pass_time(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.restart_serving(now, actions);
        self.press_retiring(now, actions);
        match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::StoppingOld { next, old, kill_at: Some(at), note } if at <= now => {
                actions.push(Action::Kill(old.id));
                self.switch = Switch::StoppingOld { next, old, kill_at: None, note };
            }
            Switch::Starting { next, before, ready_by, .. } if ready_by <= now => {
                let within = next.release.settings.ready_within;
                let what = Ended {
                    stage: Stage::Ready,
                    message: format!("it took longer than {within}"),
                    exit: Exit::default(),
                };
                self.fail(now, next, before, what, actions);
            }
            Switch::Proving { next, before, until, note } if until <= now => {
                self.switch_to(now, next, before, note, actions);
            }
            Switch::Settling { before, until } if until <= now => {
                self.settled(now, before, actions);
            }
            other => self.switch = other,
        }
    }

    fn restart_serving(&mut self, now: Time, actions: &mut Vec<Action>) {
        let Some(version) = &mut self.serving else { return };
        version.recover(now);
        if let Process::RestartAt(at) = version.process
            && at <= now
            && self.stopping.is_none()
        {
            version.process = Process::Up { since: now, ready: false };
            version.restarts += 1;
            self.runs_begun += 1;
            actions.push(Action::Start(version.id, RunId(self.runs_begun)));
        }
    }

    fn is_empty(&self) -> bool {
        self.serving.is_none() && self.retiring.is_empty() && matches!(self.switch, Switch::Rest)
    }
}

fn prepare(next: &Version) -> Action {
    let release = next.release.clone();
    Action::Prepare { version: next.id, release, binds_itself: next.binds_itself }
}
