//! Old versions on their way out, and the agent's own end.

use super::super::types::{Action, Time, VersionId};
use super::Machine;
use super::phases::{Before, Leaving, Process, Retiring, Stopping, Switch, Version};

/// How long the old version's connections may take to end before it is told to end: idle
/// keep-alive connections end only when the app, once told, closes them.
const CONNECTIONS_MAX: Time = Time::from_secs(5);

/// How long the app may take to end when the agent is asked to, unless its `drain` says less.
const STOP_MAX: Time = Time::from_secs(60);

impl Machine {
    /// The version before is no longer needed.
    pub(super) fn leave(&mut self, now: Time, before: Before, actions: &mut Vec<Action>) {
        match before {
            Before::Nothing | Before::Beside(None) => {}
            Before::Ended(old) => actions.push(Action::Discard(old.id)),
            Before::Beside(Some(old)) if matches!(old.process, Process::Up { .. }) => {
                actions.push(Action::AwaitIdle(old.id));
                let stage = Leaving::Draining { terminate_at: now + CONNECTIONS_MAX };
                self.retiring.push(Retiring { version: old, stage });
            }
            Before::Beside(Some(old)) => actions.push(Action::Discard(old.id)),
        }
    }

    pub(super) fn idle(&mut self, now: Time, id: VersionId, actions: &mut Vec<Action>) {
        for retiring in self.retiring.iter_mut().filter(|retiring| retiring.version.id == id) {
            if let Leaving::Draining { .. } = retiring.stage {
                retiring.stage = Leaving::Draining { terminate_at: now };
            }
        }
        self.press_retiring(now, actions);
    }

    /// Tells versions on their way out to end, and kills those that had their time.
    pub(super) fn press_retiring(&mut self, now: Time, actions: &mut Vec<Action>) {
        for Retiring { version, stage } in &mut self.retiring {
            match *stage {
                Leaving::Draining { terminate_at } if terminate_at <= now => {
                    actions.push(Action::Terminate(version.id));
                    let settings = &version.release.settings;
                    let patience = match self.stopping {
                        Some(Stopping::Machine) => Some(settings.shutdown_timeout),
                        Some(Stopping::Asked) | None => settings.drain,
                    };
                    let kill_at = patience.map(|patience| now + patience.0);
                    *stage = Leaving::Terminated { kill_at };
                }
                Leaving::Terminated { kill_at: Some(at) } if at <= now => {
                    actions.push(Action::Kill(version.id));
                    *stage = Leaving::Killed;
                }
                Leaving::Draining { .. } | Leaving::Terminated { .. } | Leaving::Killed => {}
            }
        }
    }

    /// A version that may have work is told to end.
    pub(super) fn terminate(&mut self, now: Time, version: Version, actions: &mut Vec<Action>) {
        actions.push(Action::Terminate(version.id));
        let kill_at = Some(now + version.release.settings.stop_timeout.0);
        self.retiring.push(Retiring { version, stage: Leaving::Terminated { kill_at } });
    }

    /// Everything ends, each within its time. When the machine ends, the load balancer is given the
    /// time to see it first: the app serves on, and the agent says that it is not healthy.
    pub(super) fn stop(&mut self, now: Time, why: Stopping, actions: &mut Vec<Action>) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(why);
        self.is_restoring = false;
        let next = match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::Rest => None,
            Switch::Preparing { next, .. } => Some(next),
            Switch::Starting { next, before, .. } | Switch::Proving { next, before, .. } => {
                self.leave(now, before, actions);
                Some(next)
            }
            Switch::StoppingOld { next, old, kill_at, .. } => {
                actions.push(Action::Discard(next.id));
                self.retiring
                    .push(Retiring { version: old, stage: Leaving::Terminated { kill_at } });
                None
            }
            Switch::Settling { before, .. } => {
                self.leave(now, before, actions);
                None
            }
        };
        for version in self.serving.take().into_iter().chain(next) {
            if let Process::Up { .. } = version.process {
                let delay = match why {
                    Stopping::Machine => version.release.settings.shutdown_delay.0,
                    Stopping::Asked => Time::ZERO,
                };
                let stage = Leaving::Draining { terminate_at: now + delay };
                self.retiring.push(Retiring { version, stage });
            } else {
                actions.push(Action::Discard(version.id));
            }
        }
        if why == Stopping::Machine {
            return;
        }
        for Retiring { version, stage } in &mut self.retiring {
            if let Leaving::Draining { .. } = stage {
                actions.push(Action::Terminate(version.id));
            }
            if *stage != Leaving::Killed {
                let patience = version.release.settings.drain.map_or(STOP_MAX, |drain| drain.0);
                *stage = Leaving::Terminated { kill_at: Some(now + patience.min(STOP_MAX)) };
            }
        }
    }
}
