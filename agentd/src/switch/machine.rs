//! The state machine itself. See the module's doc for the way of a release through it.

#![deny(clippy::disallowed_methods)]

use std::sync::Arc;

use deploy::id::Id;
use deploy::release::Release;
use deploy::report::{Phase, Stage};

use super::types::{
    Action, Event, Exit, Record, Retained, Snapshot, Time, VersionId, VersionView, Way,
};

/// How long the old version's connections may take to end before it is told to end: idle
/// keep-alive connections end only when the app, once told, closes them.
const CONNECTIONS_MAX: Time = Time::from_secs(5);

/// How long the app may take to end when the agent does, unless its `drain` says less. Google
/// Compute Engine gives a stopping VM 90 s.
const STOP_MAX: Time = Time::from_secs(60);

/// Restarts of a crashing app: at once, then after 1 s, doubling to this.
const BACK_OFF_MAX: Time = Time::from_secs(60);

/// A process that has lived this long starts anew at once when it ends.
const HEALTHY_AFTER: Time = Time::from_secs(60);

/// The switch core of one instance.
#[derive(Debug)]
pub struct Machine {
    desired: Option<Desired>,
    good: Option<Arc<Release>>,
    rejected: Option<Id>,
    serving: Option<Version>,
    switch: Switch,
    retiring: Vec<Retiring>,
    stopping: bool,
    versions_begun: u32,
}

#[derive(Debug)]
struct Desired {
    release: Arc<Release>,
    fetch: Fetch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    Underway,
    Done,
    Failed,
}

/// A version, and the process that it has or waits for.
#[derive(Clone, Debug)]
struct Version {
    id: VersionId,
    release: Arc<Release>,
    process: Process,
    restarts: u32,
    crashes_in_a_row: u32,
    /// Seen to bind its port by itself, instead of taking the sockets that it is handed.
    binds_itself: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// None, and none is to come.
    None,
    /// It ended, and the next is started then.
    RestartAt(Time),
    /// It runs since then.
    Up { since: Time, ready: bool },
}

/// The way from what serves to what is desired.
#[derive(Debug)]
enum Switch {
    /// Nothing is under way.
    Rest,
    /// It is being found out how the next version can follow.
    Preparing { next: Version },
    /// The old version is ending, so that the next one can start.
    StoppingOld { next: Version, old: Version, kill_at: Option<Time>, note: Option<String> },
    /// The next version's process is not ready yet.
    Starting { next: Version, before: Before, ready_by: Time, note: Option<String> },
    /// It is ready, and must stay so.
    Proving { next: Version, before: Before, until: Time, note: Option<String> },
    /// It serves; until then the version before can take its place again.
    Settling { before: Before, until: Time },
}

/// What stood before the version that is being started.
#[derive(Debug)]
enum Before {
    /// Nothing: it is the first.
    Nothing,
    /// A version that runs beside it. While the next one is not proven, that is the serving one,
    /// and this only says so; then it is kept here, in reserve.
    Beside(Option<Version>),
    /// A version that was ended for it, and is started again if it fails.
    Ended(Version),
}

/// A version on its way out.
#[derive(Debug)]
struct Retiring {
    version: Version,
    stage: Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// Its queue and connections are waited for.
    Draining { terminate_at: Time },
    /// It was told to end.
    Terminated { kill_at: Option<Time> },
    /// It was killed.
    Killed,
}

impl Machine {
    /// A core that knows what an earlier life of this agent left. The good release, if there is
    /// one, is started at the first step: it lies on the disk, and served before.
    pub fn new(retained: Retained) -> Self {
        let mut machine = Self {
            desired: None,
            good: retained.good.clone(),
            rejected: retained.rejected,
            serving: None,
            switch: Switch::Rest,
            retiring: Vec::new(),
            stopping: false,
            versions_begun: 0,
        };
        if let Some(release) = retained.good {
            let next = machine.new_version(release);
            machine.switch = Switch::Preparing { next };
        }
        machine
    }

    /// The actions with which a new core begins.
    pub fn begin(&mut self) -> Vec<Action> {
        match &self.switch {
            Switch::Preparing { next } => vec![prepare(next)],
            _ => Vec::new(),
        }
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
            Event::Ready(id) => self.ready(now, id),
            Event::Idle(id) => self.idle(now, id, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
            Event::Tick => {}
        }
        self.pass_time(now, &mut actions);
        self.begin_switch(now, &mut actions);
        if self.stopping && self.is_empty() {
            actions.push(Action::End);
        }
        actions
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
        switch.into_iter().chain(restart).chain(leaving).min()
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
            healthy: !self.stopping && self.serving.as_ref().is_some_and(ready),
        }
    }

    /// What must outlive this agent.
    pub fn retained(&self) -> Retained {
        Retained { good: self.good.clone(), rejected: self.rejected.clone() }
    }

    fn phase(&self) -> Phase {
        if self.stopping {
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
                Some(Process::Up { .. }) => Phase::Serving,
            },
        }
    }

    /// Whether this release is neither running, nor on its way, nor known to fail here.
    fn wants(&self, release: &Release) -> bool {
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

    fn desire(&mut self, now: Time, release: Arc<Release>, actions: &mut Vec<Action>) {
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
    /// newer is wanted. One that the old version was ended for is: it will be the one to serve.
    fn give_up_next_for(&mut self, now: Time, newer: &Release, actions: &mut Vec<Action>) {
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
                self.terminate(now, next, actions);
            }
            other => self.switch = other,
        }
    }

    fn fetch_failed(&mut self, id: &Id, message: String, actions: &mut Vec<Action>) {
        let Some(desired) = self.desired.as_mut().filter(|d| d.release.id == *id) else { return };
        desired.fetch = Fetch::Failed;
        let release = desired.release.number;
        self.rejected = Some(id.clone());
        let (stage, exit) = (Stage::Fetch, Exit::default());
        let failed = Record::Failed { release, version: None, stage, message, exit };
        actions.push(Action::Record(failed));
    }

    /// Begins the switch to what is desired, when it lies on the disk and nothing is in its way.
    fn begin_switch(&mut self, now: Time, actions: &mut Vec<Action>) {
        let Some(desired) = &self.desired else { return };
        if self.stopping || desired.fetch != Fetch::Done || !self.wants(&desired.release) {
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
        let next = self.new_version(release);
        actions.push(prepare(&next));
        self.switch = Switch::Preparing { next };
    }

    fn prepared(&mut self, now: Time, id: VersionId, way: Way, actions: &mut Vec<Action>) {
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
                let note = match way {
                    Way::Overlap => None,
                    Way::StopFirst { note } => note,
                };
                self.stop_old(now, next, old, note, actions);
            }
        }
    }

    /// The serving version must end before the next one can start, and so must those that finish
    /// their requests: they may hold the port. While they end nobody serves, so they are waited
    /// for, but not for ever.
    fn stop_old(
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
    fn start_when_alone(&mut self, now: Time, actions: &mut Vec<Action>) {
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

    fn prepare_failed(
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

    fn start(
        &mut self,
        now: Time,
        mut next: Version,
        before: Before,
        note: Option<String>,
        actions: &mut Vec<Action>,
    ) {
        next.process = Process::Up { since: now, ready: false };
        actions.push(Action::Start(next.id));
        let ready_by = now + next.release.settings.ready_within.0;
        self.switch = Switch::Starting { next, before, ready_by, note };
    }

    fn ready(&mut self, now: Time, id: VersionId) {
        match std::mem::replace(&mut self.switch, Switch::Rest) {
            Switch::Starting { mut next, before, note, .. } if next.id == id => {
                next.become_ready();
                let until = now + next.release.settings.health_window.0;
                self.switch = Switch::Proving { next, before, until, note };
            }
            other => {
                self.switch = other;
                if let Some(version) = self.serving.as_mut().filter(|version| version.id == id) {
                    version.become_ready();
                }
            }
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
                    message: format!("it was not ready within {within}"),
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

    /// The next version is proven: it gets the new connections.
    fn switch_to(
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

    /// The serving version is good.
    fn settled(&mut self, now: Time, before: Before, actions: &mut Vec<Action>) {
        if let Some(version) = &self.serving {
            self.good = Some(version.release.clone());
            // A first release that failed and was tried on until it held.
            if self.rejected.as_ref() == Some(&version.release.id) {
                self.rejected = None;
            }
            let release = version.release.number;
            actions.push(Action::Record(Record::Done { release }));
        }
        self.leave(now, before, actions);
    }

    /// The version before is no longer needed.
    fn leave(&mut self, now: Time, before: Before, actions: &mut Vec<Action>) {
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

    fn idle(&mut self, now: Time, id: VersionId, actions: &mut Vec<Action>) {
        for retiring in self.retiring.iter_mut().filter(|retiring| retiring.version.id == id) {
            if let Leaving::Draining { .. } = retiring.stage {
                retiring.stage = Leaving::Draining { terminate_at: now };
            }
        }
        self.press_retiring(now, actions);
    }

    /// Tells versions on their way out to end, and kills those that had their time.
    fn press_retiring(&mut self, now: Time, actions: &mut Vec<Action>) {
        for Retiring { version, stage } in &mut self.retiring {
            match *stage {
                Leaving::Draining { terminate_at } if terminate_at <= now => {
                    actions.push(Action::Terminate(version.id));
                    let kill_at = version.release.settings.drain.map(|drain| now + drain.0);
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

    fn restart_serving(&mut self, now: Time, actions: &mut Vec<Action>) {
        let Some(version) = &mut self.serving else { return };
        if let Process::RestartAt(at) = version.process
            && at <= now
            && !self.stopping
        {
            version.process = Process::Up { since: now, ready: false };
            version.restarts += 1;
            actions.push(Action::Start(version.id));
        }
    }

    /// A process has ended, or could not be started.
    fn ended(
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
                    None => Ended::by_itself(Stage::Ready, exit, "before it was ready"),
                };
                self.fail(now, next, before, what, actions);
            }
            Switch::Proving { mut next, before, .. } if next.id == id => {
                next.process = Process::None;
                let what = Ended::by_itself(Stage::Settle, exit, "right after it was ready");
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
                let what = Ended::by_itself(Stage::Settle, exit, "soon after it was switched to");
                self.fail(now, next, before, what, actions);
            }
            other => {
                self.switch = other;
                self.serving_ended(now, id, exit, actions);
            }
        }
    }

    fn serving_ended(&mut self, now: Time, id: VersionId, exit: Exit, actions: &mut Vec<Action>) {
        let Some(version) = self.serving.as_mut().filter(|version| version.id == id) else {
            return;
        };
        if self.stopping {
            actions.push(Action::Discard(id));
            self.serving = None;
            return;
        }
        version.back_off(now);
        let release = version.release.number;
        actions.push(Action::Record(Record::Crashed { release, version: id, exit }));
    }

    /// It binds its port by itself, and cannot while another version or this agent has it: that
    /// must end first, which the second preparation will say.
    fn prepare_again(&mut self, mut next: Version, before: Before, actions: &mut Vec<Action>) {
        next.binds_itself = true;
        actions.push(prepare(&next));
        if let Before::Ended(old) = before {
            self.serving = Some(old);
        }
        self.switch = Switch::Preparing { next };
    }

    /// The next version does not make it. What stood before stands again.
    fn fail(
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
                if let Some(old) = reserve {
                    self.return_to(old, actions);
                }
                self.remove(next, actions);
            }
            Before::Ended(old) => {
                self.return_to(old, actions);
                self.remove(next, actions);
            }
        }
        self.release_waiting(now);
    }

    /// The version before serves again; where it has no process, one is started as soon as the
    /// failed one's is gone: it may hold the port.
    fn return_to(&mut self, old: Version, actions: &mut Vec<Action>) {
        if let Process::Up { .. } = old.process {
            actions.push(Action::Steer(old.id));
        }
        self.serving = Some(old);
    }

    /// Starts a serving version that waited for a failed one to be gone.
    fn release_waiting(&mut self, now: Time) {
        let is_clear = self.retiring.iter().all(|retiring| retiring.stage != Leaving::Killed);
        if let Some(version) = self.serving.as_mut().filter(|_| is_clear)
            && version.process == Process::None
        {
            version.process = Process::RestartAt(now);
        }
    }

    /// A failed version goes at once: it answers nobody.
    fn remove(&mut self, version: Version, actions: &mut Vec<Action>) {
        if let Process::Up { .. } = version.process {
            actions.push(Action::Kill(version.id));
            self.retiring.push(Retiring { version, stage: Leaving::Killed });
        } else {
            actions.push(Action::Discard(version.id));
        }
    }

    /// A version that may have work is told to end.
    fn terminate(&mut self, now: Time, version: Version, actions: &mut Vec<Action>) {
        actions.push(Action::Terminate(version.id));
        let kill_at = Some(now + version.release.settings.stop_timeout.0);
        self.retiring.push(Retiring { version, stage: Leaving::Terminated { kill_at } });
    }

    /// Everything ends, each within its time.
    fn stop(&mut self, now: Time, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
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
                let stage = Leaving::Draining { terminate_at: now };
                self.retiring.push(Retiring { version, stage });
            } else {
                actions.push(Action::Discard(version.id));
            }
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

    fn is_empty(&self) -> bool {
        self.serving.is_none() && self.retiring.is_empty() && matches!(self.switch, Switch::Rest)
    }

    fn new_version(&mut self, release: Arc<Release>) -> Version {
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

/// How a version came to its end.
struct Ended {
    stage: Stage,
    message: String,
    exit: Exit,
}

impl Ended {
    fn by_itself(stage: Stage, exit: Exit, when: &str) -> Self {
        Self { stage, message: format!("{exit} {when}"), exit }
    }
}

fn prepare(next: &Version) -> Action {
    let release = next.release.clone();
    Action::Prepare { version: next.id, release, binds_itself: next.binds_itself }
}

impl Version {
    fn view(&self) -> VersionView {
        VersionView { id: self.id, release: self.release.number, restarts: self.restarts }
    }

    fn become_ready(&mut self) {
        if let Process::Up { ready, .. } = &mut self.process {
            *ready = true;
        }
    }

    /// Its process has ended by itself: the next is started at once, or after a pause that grows.
    fn back_off(&mut self, now: Time) {
        if let Process::Up { since, .. } = self.process
            && now.saturating_sub(since) >= HEALTHY_AFTER
        {
            self.crashes_in_a_row = 0;
        }
        let pause = match self.crashes_in_a_row {
            0 => Time::ZERO,
            crashes => Time::from_secs(1 << (crashes - 1).min(6)).min(BACK_OFF_MAX),
        };
        self.crashes_in_a_row += 1;
        self.process = Process::RestartAt(now + pause);
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (_, Some(signal)) => write!(f, "ended by signal {signal}"),
            (Some(code), None) => write!(f, "exited with code {code}"),
            (None, None) => f.write_str("ended"),
        }
    }
}
