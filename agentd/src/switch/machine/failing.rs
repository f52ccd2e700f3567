//! What happens when a process ends: what stood before stands again.

use deploy::report::Stage;

use super::super::types::{Action, Exit, Record, Time, VersionId};
use super::phases::{Before, Leaving, Process, Retiring, Switch, Version};
use super::{Machine, prepare};

impl Machine {
    /// A process has ended, or could not be started.
    pub(super) fn ended(
        &mut self,
        now: Time,
        id: VersionId,
        exit: Exit,
        not_started: Option<String>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(index) = self.retiring.iter().position(|retiring| retiring.version.id == id) {
            self.retiring.remove(index);
            actions.push(Action::Discard(id));
            self.release_waiting(now);
            self.start_when_alone(now, actions);
            return;
        }
        match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::StoppingOld { next, mut old, kill_at, note } if old.id == id => {
                old.process = Process::None;
                self.switch = Switch::StoppingOld { next, old, kill_at, note };
                self.start_when_alone(now, actions);
            }
            Switch::Starting { mut next, before, .. } if next.id == id => {
                next.process = Process::None;
                if exit.address_in_use && !next.binds_itself {
                    return self.prepare_again(next, before, actions);
                }
                let what = match not_started {
                    Some(message) => Ended { stage: Stage::Start, message, exit },
                    None => Ended::by_itself(Stage::Ready, exit),
                };
                self.fail(now, next, before, what, actions);
            }
            Switch::Proving { mut next, before, .. } if next.id == id => {
                next.process = Process::None;
                let what = Ended::by_itself(Stage::Settle, exit);
                self.fail(now, next, before, what, actions);
            }
            Switch::Settling { before: Before::Beside(Some(mut old)), until } if old.id == id => {
                old.process = Process::None;
                self.switch = Switch::Settling { before: Before::Beside(Some(old)), until };
            }
            Switch::Settling { before, .. }
                if self.serving.as_ref().is_some_and(|version| version.id == id) =>
            {
                let Some(mut next) = self.serving.take() else { return };
                next.process = Process::None;
                let what = Ended::by_itself(Stage::Settle, exit);
                self.fail(now, next, before, what, actions);
            }
            other => {
                self.switch = other;
                self.serving_ended(now, id, exit, actions);
            }
        }
    }

    pub(super) fn serving_ended(
        &mut self,
        now: Time,
        id: VersionId,
        exit: Exit,
        actions: &mut Vec<Action>,
    ) {
        let Some(version) = self.serving.as_mut().filter(|version| version.id == id) else {
            return;
        };
        if self.stopping.is_some() {
            actions.push(Action::Discard(id));
            self.serving = None;
            return;
        }
        version.back_off(now);
        self.is_restoring = false;
        let release = version.release.number;
        actions.push(Action::Record(Record::Crashed { release, version: id, exit }));
    }

    /// It binds its port by itself, and cannot while another version or this agent has it: that
    /// must end first, which the second preparation will say.
    pub(super) fn prepare_again(
        &mut self,
        mut next: Version,
        before: Before,
        actions: &mut Vec<Action>,
    ) {
        next.binds_itself = true;
        actions.push(prepare(&next));
        if let Before::Ended(old) = before {
            self.serving = Some(old);
        }
        self.switch = Switch::Preparing { next };
    }

    /// The next version does not make it. What stood before stands again.
    pub(super) fn fail(
        &mut self,
        now: Time,
        mut next: Version,
        before: Before,
        what: Ended,
        actions: &mut Vec<Action>,
    ) {
        let release = next.release.number;
        let runs = matches!(next.process, Process::Up { .. });
        let Ended { stage, message, exit } = what;
        let version = Some(next.id);
        actions.push(Action::Record(Record::Failed { release, version, stage, message, exit }));
        // What is no longer desired will not be asked for again.
        if self.desired.as_ref().is_some_and(|desired| desired.release.id == next.release.id) {
            self.rejected = Some(next.release.id.clone());
        }
        match before {
            // There is nothing better to run: it is tried again, and again.
            Before::Nothing => {
                if !runs {
                    next.back_off(now);
                }
                self.serving = Some(next);
            }
            Before::Beside(reserve) => {
                match reserve {
                    Some(old) => self.return_to(old, actions),
                    None => self.take_share_back(&next, actions),
                }
                self.remove(next, actions);
            }
            Before::Ended(old) => {
                self.is_restoring = true;
                self.return_to(old, actions);
                self.remove(next, actions);
            }
        }
        self.release_waiting(now);
    }

    /// The version before serves again; where it has no process, one is started as soon as the
    /// failed one's is gone: it may hold the port.
    pub(super) fn return_to(&mut self, old: Version, actions: &mut Vec<Action>) {
        if let Process::Up { .. } = old.process {
            actions.push(Action::Steer(old.id));
        }
        self.serving = Some(old);
    }

    /// Starts a serving version that waited for a failed one to be gone.
    pub(super) fn release_waiting(&mut self, now: Time) {
        let is_clear = self.retiring.iter().all(|retiring| retiring.stage != Leaving::Killed);
        if let Some(version) = self.serving.as_mut().filter(|_| is_clear)
            && version.process == Process::None
        {
            version.process = Process::RestartAt(now);
        }
    }

    /// A failed version goes at once: it answers nobody.
    pub(super) fn remove(&mut self, version: Version, actions: &mut Vec<Action>) {
        if let Process::Up { .. } = version.process {
            actions.push(Action::Kill(version.id));
            self.retiring.push(Retiring { version, stage: Leaving::Killed });
        } else {
            actions.push(Action::Discard(version.id));
        }
    }
}

/// How a version came to its end.
pub(super) struct Ended {
    pub(super) stage: Stage,
    pub(super) message: String,
    pub(super) exit: Exit,
}

impl Ended {
    pub(super) fn by_itself(stage: Stage, exit: Exit) -> Self {
        Self { stage, message: format!("it {exit}"), exit }
    }
}
