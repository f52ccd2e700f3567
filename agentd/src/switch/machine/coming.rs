//! From a desired release to one that serves and has settled.

use std::sync::Arc;

use deploy::id::Id;
use deploy::release::Release;
use deploy::report::Stage;

use super::super::types::{Action, Exit, Record, RunId, Time, VersionId, Way};
use super::phases::{Before, Desired, Fetch, Leaving, Process, Retiring, Switch, Version};
use super::{Ended, Machine, prepare};

impl Machine {
    /// Whether this release is neither running, nor on its way, nor known to fail here.
    pub(super) fn wants(&self, release: &Release) -> bool {
        let runs = |version: &Version| version.release.id == release.id;
        let is_next = match &self.switch {
            Switch::Preparing { next, .. }
            | Switch::StoppingOld { next, .. }
            | Switch::Starting { next, .. }
            | Switch::Proving { next, .. } => runs(next),
            Switch::Rest | Switch::Settling { .. } => false,
        };
        let is_rejected = self.rejected.as_ref() == Some(&release.id)
            && (self.serving.is_some() || self.good.is_some());
        !is_next && !self.serving.as_ref().is_some_and(runs) && !is_rejected
    }

    pub(super) fn desire(&mut self, now: Time, release: Arc<Release>, actions: &mut Vec<Action>) {
        if self.desired.as_ref().is_some_and(|desired| desired.release.id == release.id) {
            return;
        }
        if self.wants(&release) {
            actions.push(Action::Fetch(release.clone()));
        }
        self.desired = Some(Desired { release: release.clone(), fetch: Fetch::Underway });
        self.give_up_next_for(now, &release, actions);
    }

    /// A next version that runs beside the serving one is not worth going on with when something
    /// else is wanted. One that the old version was ended for is: it will be the one to serve. Where
    /// the version in reserve is wanted, it takes its place again.
    pub(super) fn give_up_next_for(
        &mut self,
        now: Time,
        newer: &Release,
        actions: &mut Vec<Action>,
    ) {
        match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::Preparing { next, .. }
                if next.release.id != newer.id
                    && self.serving.as_ref().is_some_and(|old| old.process != Process::None) =>
            {
                actions.push(Action::Discard(next.id));
            }
            Switch::Starting { next, before: Before::Beside(_), .. }
            | Switch::Proving { next, before: Before::Beside(_), .. }
                if next.release.id != newer.id =>
            {
                self.take_share_back(&next, actions);
                self.terminate(now, next, actions);
            }
            Switch::Settling { before: Before::Beside(Some(old)), .. }
                if old.release.id == newer.id
                    && matches!(old.process, Process::Up { ready: true, .. }) =>
            {
                actions.push(Action::Steer(old.id));
                let left = self.serving.replace(old);
                self.leave(now, Before::Beside(left), actions);
            }
            other => self.switch = other,
        }
    }

    pub(super) fn fetch_failed(&mut self, id: &Id, message: String, actions: &mut Vec<Action>) {
        let Some(desired) = self.desired.as_mut().filter(|d| d.release.id == *id) else { return };
        desired.fetch = Fetch::Failed;
        let release = desired.release.number;
        self.rejected = Some(id.clone());
        let (stage, exit) = (Stage::Fetch, Exit::default());
        let failed = Record::Failed { release, version: None, stage, message, exit };
        actions.push(Action::Record(failed));
    }

    /// Begins the switch to what is desired, when it lies on the disk and nothing is in its way.
    pub(super) fn begin_switch(&mut self, now: Time, actions: &mut Vec<Action>) {
        let Some(desired) = &self.desired else { return };
        if self.stopping.is_some() || desired.fetch != Fetch::Done || !self.wants(&desired.release)
        {
            return;
        }
        let release = desired.release.clone();
        match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::Rest => {}
            // The reserve is not kept for a release that is itself about to be replaced.
            Switch::Settling { before, .. } => self.settled(now, before, actions),
            other => {
                self.switch = other;
                return;
            }
        }
        self.is_restoring = false;
        let next = self.new_version(release);
        actions.push(prepare(&next));
        self.switch = Switch::Preparing { next };
    }

    pub(super) fn prepared(
        &mut self,
        now: Time,
        id: VersionId,
        way: Way,
        actions: &mut Vec<Action>,
    ) {
        let Switch::Preparing { next, .. } = &self.switch else { return };
        if next.id != id {
            return;
        }
        let Switch::Preparing { next, .. } = std::mem::replace(&mut self.switch, Switch::Rest)
        else {
            return;
        };
        let graceful = next.release.settings.graceful_shutdown;
        match (self.serving.take(), way) {
            (None, _) => self.start(now, next, Before::Nothing, None, actions),
            (Some(old), Way::Overlap) if graceful => {
                self.serving = Some(old);
                self.start(now, next, Before::Beside(None), None, actions);
            }
            (Some(old), way) => {
                // Nobody needs to be told of what they asked for.
                let note = match way {
                    Way::StopFirst { note } if graceful => note,
                    Way::StopFirst { .. } | Way::Overlap => None,
                };
                self.stop_old(now, next, old, note, actions);
            }
        }
    }

    /// The serving version must end before the next one can start, and so must those that finish
    /// their requests: they may hold the port. While they end nobody serves, so they are waited
    /// for, but not for ever.
    pub(super) fn stop_old(
        &mut self,
        now: Time,
        next: Version,
        old: Version,
        note: Option<String>,
        actions: &mut Vec<Action>,
    ) {
        let settings = &next.release.settings;
        let drain = settings.drain.filter(|_| settings.graceful_shutdown);
        let kill_at = now + drain.unwrap_or(settings.stop_timeout).0;
        if let Process::Up { .. } = old.process {
            actions.push(Action::Terminate(old.id));
        }
        for Retiring { version, stage } in &mut self.retiring {
            match *stage {
                Leaving::Draining { .. } => {
                    actions.push(Action::Terminate(version.id));
                    *stage = Leaving::Terminated { kill_at: Some(kill_at) };
                }
                Leaving::Terminated { kill_at: earlier } => {
                    let kill_at = earlier.map_or(kill_at, |earlier| earlier.min(kill_at));
                    *stage = Leaving::Terminated { kill_at: Some(kill_at) };
                }
                Leaving::Killed => {}
            }
        }
        self.switch = Switch::StoppingOld { next, old, kill_at: Some(kill_at), note };
        self.start_when_alone(now, actions);
    }

    /// Starts the next version when all that had to end before it has ended.
    pub(super) fn start_when_alone(&mut self, now: Time, actions: &mut Vec<Action>) {
        match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::StoppingOld { next, mut old, note, .. }
                if self.retiring.is_empty() && !matches!(old.process, Process::Up { .. }) =>
            {
                old.process = Process::None;
                self.start(now, next, Before::Ended(old), note, actions);
            }
            other => self.switch = other,
        }
    }

    pub(super) fn prepare_failed(
        &mut self,
        now: Time,
        id: VersionId,
        message: String,
        actions: &mut Vec<Action>,
    ) {
        match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::Preparing { next, .. } if next.id == id => {
                let before =
                    if self.serving.is_some() { Before::Beside(None) } else { Before::Nothing };
                let what = Ended { stage: Stage::Start, message, exit: Exit::default() };
                self.fail(now, next, before, what, actions);
            }
            other => self.switch = other,
        }
    }

    pub(super) fn start(
        &mut self,
        now: Time,
        mut next: Version,
        before: Before,
        note: Option<String>,
        actions: &mut Vec<Action>,
    ) {
        next.process = Process::Up { since: now, ready: false };
        actions.push(Action::Start(next.id, self.new_run()));
        let ready_by = now + next.release.settings.ready_within.0;
        self.switch = Switch::Starting { next, before, ready_by, note };
    }

    pub(super) fn ready(&mut self, now: Time, id: VersionId, actions: &mut Vec<Action>) {
        match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::Starting { mut next, before, note, .. } if next.id == id => {
                next.become_ready(now);
                let until = now + next.release.settings.health_window.0;
                let is_beside = matches!(before, Before::Beside(_));
                if is_beside && next.release.settings.canary_share.per_mille > 0 {
                    actions.push(Action::ShareOut(next.id));
                }
                self.switch = Switch::Proving { next, before, until, note };
            }
            // It was started again just before it was switched away from.
            Switch::Settling { before: Before::Beside(Some(mut old)), until } if old.id == id => {
                old.become_ready(now);
                self.switch = Switch::Settling { before: Before::Beside(Some(old)), until };
            }
            other => {
                self.switch = other;
                if let Some(version) = self.serving.as_mut().filter(|version| version.id == id) {
                    version.become_ready(now);
                    self.is_restoring = false;
                }
            }
        }
    }

    /// The next version is proven: it gets the new connections.
    pub(super) fn switch_to(
        &mut self,
        now: Time,
        next: Version,
        before: Before,
        note: Option<String>,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Steer(next.id));
        actions.push(Action::Record(Record::Switched { release: next.release.number, note }));
        let until = now + next.release.settings.settle.0;
        let old = self.serving.replace(next);
        let before = match before {
            Before::Beside(_) => Before::Beside(old),
            before => before,
        };
        self.switch = Switch::Settling { before, until };
    }

    /// The serving version is good. The old one is seen to first: to remember this takes the disk's
    /// time, for which the old one would live longer.
    pub(super) fn settled(&mut self, now: Time, before: Before, actions: &mut Vec<Action>) {
        self.leave(now, before, actions);
        if let Some(version) = &self.serving {
            self.good = Some(version.release.clone());
            // A first release that failed and was tried on until it held.
            if self.rejected.as_ref() == Some(&version.release.id) {
                self.rejected = None;
            }
            let release = version.release.number;
            actions.push(Action::Record(Record::Done { release }));
        }
    }

    /// The serving version gets all new connections again, if this one had a share of them.
    pub(super) fn take_share_back(&self, next: &Version, actions: &mut Vec<Action>) {
        if let Some(serving) = &self.serving
            && matches!(serving.process, Process::Up { .. })
            && next.release.settings.canary_share.per_mille > 0
        {
            actions.push(Action::Steer(serving.id));
        }
    }

    pub(super) fn new_run(&mut self) -> RunId {
        self.runs_begun += 1;
        RunId(self.runs_begun)
    }

    pub(super) fn new_version(&mut self, release: Arc<Release>) -> Version {
        self.versions_begun += 1;
        Version {
            id: VersionId(self.versions_begun),
            release,
            process: Process::None,
            restarts: 0,
            crashes_in_a_row: 0,
            binds_itself: false,
        }
    }
}
