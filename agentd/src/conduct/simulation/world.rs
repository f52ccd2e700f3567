//! The world: what happens when, and what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deploy::Digest;
use deploy::id::Id;
use deploy::release::{Artifact, Draft, Kind, Release};
use deploy::report::Report;
use deploy::rollout::{Plan, Progress, Stage, Verb};
use deploy::settings::Settings;
use deploy::state::State;
use deploy::store::Expect;
use deploy::{Span, Timestamp};

use super::bucket::{Bucket, NotWritten, Operations};
use super::vm::Vm;
use super::{Chance, Pace, Plot, Temper};
use crate::conduct::{Action, Event, Written};
use crate::switch::{self, Exit, RunId, VersionId, Way};

/// What is to happen.
enum Pending {
    /// For the switch core, whoever lives.
    Switch(usize, u32, switch::Event),
    /// What a process does.
    Process(usize, u32, VersionId, RunId, switch::Event),
    Unwell(usize, u32, VersionId, RunId),
    /// For the rollout's core, in this life of its agent.
    Conduct(usize, u32, Event),
    /// A listing is made, and its answer arrives, with what was there then.
    List(usize, u32),
    Listed(usize, u32, Duration, Vec<Report>),
    /// Whoever would conduct looks whether somebody does.
    Check(usize, u32),
    /// A write reaches the bucket.
    Write(usize, u32, Write),
    SeeState(usize),
    Look(usize, u32),
    Report(usize, u32),
    /// The release of this number, that waits for its turn, lies on the disk.
    Brought(usize, u64),
    Wake(usize),
    Publish,
    Join,
    Gone(usize),
    Kill(usize),
    Revive(usize, u32),
    Reboot(usize),
    CutOff(usize, Duration),
    Order(Verb),
}

/// A write on its way.
struct Write {
    progress: Box<Progress>,
    expect: Expect,
    /// When the reports were read that it was decided by.
    listed: Option<Duration>,
}

pub(super) struct World {
    pub(super) plot: Plot,
    pub(super) chance: Chance,
    pub(super) now: Duration,
    pub(super) vms: Vec<Vm>,
    pub(super) bucket: Bucket,
    pub(super) tempers: BTreeMap<u64, Temper>,
    pub(super) published: BTreeMap<u64, Duration>,
    /// How each release's rollout stood when it was written of last.
    pub(super) stages: BTreeMap<u64, Stage>,
    /// When the reports were read that each conductor goes by.
    heard: BTreeMap<usize, Duration>,
    /// The most instances that there were.
    pub(super) vms_max: usize,
    /// By then, long after whatever disturbed it, the rollout has ended.
    pub(super) calm_at: Duration,
    /// How long agents were active in all, in agent-seconds; and when each became so.
    pub(super) active: Duration,
    pub(super) active_since: BTreeMap<usize, Duration>,
    publishes_left: u64,
    pending: BTreeMap<(Duration, u64), Pending>,
    wakes: BTreeMap<usize, Duration>,
    beats: BTreeMap<usize, Duration>,
    looked: BTreeMap<usize, u64>,
    sequence: u64,
    is_told: bool,
}

impl World {
    pub(super) fn new(plot: Plot) -> Self {
        let chance = Chance(plot.seed ^ 0x5eed);
        let publishes_left = plot.publishes;
        let mut world = Self {
            chance,
            now: Duration::ZERO,
            vms: Vec::new(),
            bucket: Bucket::new(),
            tempers: BTreeMap::new(),
            published: BTreeMap::new(),
            stages: BTreeMap::new(),
            heard: BTreeMap::new(),
            vms_max: 0,
            calm_at: Duration::ZERO,
            active: Duration::ZERO,
            active_since: BTreeMap::new(),
            publishes_left,
            pending: BTreeMap::new(),
            wakes: BTreeMap::new(),
            beats: BTreeMap::new(),
            looked: BTreeMap::new(),
            sequence: 0,
            is_told: std::env::var_os("SEED").is_some(),
            plot,
        };
        for _ in 0..world.plot.vms {
            world.join();
        }
        world.after(Duration::from_secs(10), Pending::Publish);
        world.plan_faults();
        world
    }

    fn plan_faults(&mut self) {
        // The first release is there by then.
        let from = Duration::from_secs(60);
        let span = 1_000 * 150 * self.plot.publishes;
        if self.plot.has_orders {
            for _ in 0..1 + self.chance.below(3) {
                let verb = match self.chance.below(3) {
                    0 => Verb::Pause,
                    1 => Verb::Abort,
                    _ => Verb::Resume,
                };
                let delay = from + self.chance.millis(span);
                self.after(delay, Pending::Order(verb));
            }
        }
        if !self.plot.has_faults {
            return;
        }
        for _ in 0..self.chance.below(6) {
            let vm = self.chance.below(self.vms.len() as u64) as usize;
            let delay = from + self.chance.millis(span);
            let fault = match self.chance.below(10) {
                0 => Pending::Gone(vm),
                1 => Pending::Join,
                2 | 3 => Pending::Reboot(vm),
                4 | 5 => Pending::CutOff(vm, self.chance.millis(200_000)),
                _ => Pending::Kill(vm),
            };
            self.after(delay, fault);
        }
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:9.3} {}", self.now.as_secs_f64(), what());
        }
    }

    fn after(&mut self, delay: Duration, pending: Pending) {
        self.sequence += 1;
        self.pending.insert((self.now + delay, self.sequence), pending);
    }

    fn soon(&mut self, most_ms: u64, pending: Pending) {
        let delay = self.chance.millis(most_ms) + Duration::from_millis(1);
        self.after(delay, pending);
    }

    /// Runs until all has had its time.
    pub(super) fn run(&mut self) {
        while let Some(((at, _), pending)) = self.pending.pop_first() {
            if self.publishes_left == 0 && at > self.calm_at + self.patience() {
                break;
            }
            self.now = self.now.max(at);
            self.happen(pending);
        }
        self.check_end();
    }

    /// Runs until that is so.
    pub(super) fn run_until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let mut steps = 0_u64;
        while let Some(((at, _), pending)) = self.pending.pop_first() {
            self.now = self.now.max(at);
            self.happen(pending);
            steps += 1;
            // It may look at every machine.
            if steps.is_multiple_of(1 + self.vms.len() as u64 / 10) && is_so(self) {
                return;
            }
        }
        self.broken("it does not come to it");
    }

    /// What was asked of the bucket until now, the looks of those who still follow among it.
    pub(super) fn asked(&self) -> Operations {
        let now = self.now;
        let still: Duration = self.active_since.values().map(|since| now - *since).sum();
        let look = Pace::PAID.of(self.vms.len()).look;
        let looks = (self.active + still).as_secs_f64() / look.as_secs_f64();
        Operations { looks: looks as u64, ..self.bucket.asked }
    }

    /// Whether somebody follows a rollout.
    pub(super) fn is_active(&self) -> bool {
        !self.active_since.is_empty()
    }

    /// Whether the newest release serves on every machine.
    pub(super) fn all_serve(&self) -> bool {
        let newest = self.newest().map(|release| &release.id);
        self.vms.iter().all(|vm| vm.serving().map(|release| &release.id) == newest)
    }

    /// What disturbs the rollout puts its end off.
    fn disturbed(&mut self) {
        self.calm_at = self.calm_at.max(self.now);
    }

    fn happen(&mut self, pending: Pending) {
        match pending {
            Pending::Switch(vm, boot, event) => {
                if self.vms[vm].boot != boot || self.vms[vm].is_gone {
                } else if self.vms[vm].is_up {
                    self.switch(vm, event);
                    self.settle(vm);
                } else {
                    self.soon(500, Pending::Switch(vm, boot, event));
                }
            }
            Pending::Process(vm, boot, version, run, event) => {
                self.process(vm, boot, version, run, event);
            }
            Pending::Unwell(vm, boot, version, run) => {
                let it = &mut self.vms[vm];
                if it.boot == boot && it.up.get(&version) == Some(&run) {
                    it.unwell = Some(version);
                    self.settle(vm);
                }
            }
            Pending::Conduct(vm, life, event) => {
                if self.vms[vm].life == life && self.vms[vm].is_up {
                    self.conduct(vm, event);
                    self.settle(vm);
                }
            }
            Pending::List(vm, life) => self.list(vm, life),
            Pending::Listed(vm, life, at, reports) => {
                self.heard.insert(vm, at);
                self.happen(Pending::Conduct(vm, life, Event::Listed(reports)));
            }
            Pending::Check(vm, life) => self.check(vm, life),
            Pending::Write(vm, life, write) => self.write(vm, life, write),
            Pending::SeeState(vm) => self.see_state(vm),
            Pending::Look(vm, life) => self.look(vm, life),
            Pending::Report(vm, life) => self.report(vm, life),
            Pending::Brought(vm, number) => {
                if let Some((waits, is_there)) = &mut self.vms[vm].waits
                    && *waits == number
                {
                    *is_there = true;
                    self.settle(vm);
                }
            }
            Pending::Wake(vm) => self.wake(vm),
            Pending::Publish => self.publish(),
            Pending::Order(verb) => self.order(verb),
            Pending::Join => {
                self.disturbed();
                self.join();
            }
            Pending::Gone(vm) => {
                self.say(|| format!("app-{vm} is gone"));
                self.disturbed();
                self.vms[vm].die(self.now);
                self.vms[vm].is_gone = true;
            }
            Pending::Kill(vm) => {
                if self.vms[vm].is_up {
                    self.say(|| format!("the agent of app-{vm} dies"));
                    self.disturbed();
                    self.vms[vm].die(self.now);
                    let life = self.vms[vm].life;
                    self.soon(20_000, Pending::Revive(vm, life));
                }
            }
            Pending::Revive(vm, life) => {
                if self.vms[vm].life == life && !self.vms[vm].is_gone {
                    self.vms[vm].revive(self.now);
                    self.looked.remove(&vm);
                    self.soon(500, Pending::SeeState(vm));
                }
            }
            Pending::Reboot(vm) => {
                if !self.vms[vm].is_gone {
                    self.say(|| format!("app-{vm} starts anew"));
                    self.disturbed();
                    self.looked.remove(&vm);
                    let actions = self.vms[vm].reboot(self.now);
                    self.act(vm, actions);
                    self.soon(3_000, Pending::SeeState(vm));
                    self.settle(vm);
                }
            }
            Pending::CutOff(vm, long) => {
                self.say(|| format!("app-{vm} does not reach the bucket for {long:?}"));
                self.vms[vm].cut_off_until = self.now + long;
                self.vms[vm].troubled = Some(self.now + long);
                self.calm_at = self.calm_at.max(self.now + long);
            }
        }
    }

    fn join(&mut self) {
        let index = self.vms.len();
        let skew = if self.chance.percent(30) { self.chance.below(600) as i64 - 300 } else { 0 };
        self.vms.push(Vm::new(index, self.now, skew));
        self.vms_max = self.vms_max.max(self.vms.len());
        self.soon(3_000, Pending::SeeState(index));
        self.settle(index);
    }

    fn publish(&mut self) {
        let number = self.published.len() as u64 + 1;
        // What the fleet stands on is good.
        let temper = match number {
            1 => Temper::Good,
            _ => Temper::chosen(&mut self.chance, self.plot.may_be_bad),
        };
        self.tempers.insert(number, temper);
        self.published.insert(number, self.now);
        let progress = self.bucket.rollout.as_ref().map(|(_, progress)| progress.clone());
        let state = State::clone(&self.bucket.state).based(progress.as_ref());
        let settings = Settings {
            ports: vec![80],
            graceful_shutdown: self.plot.is_graceful,
            ready_within: Span::from_secs(10),
            ..Settings::default()
        };
        let now = state.base.is_none() || self.chance.percent(10);
        let rollout =
            Plan { now, instances: self.vms.len() as u32, rules: self.plot.rules.clone() };
        let draft = Draft {
            id: Id::fixed(format!("r{number} of {}", self.plot.seed)),
            by: "a@b".to_owned(),
            kind: Kind::Deploy,
            message: None,
            source: None,
            artifact: Artifact { digest: Digest::of(&number.to_le_bytes()), size: 1 },
            environment: None,
            settings,
            rollout,
        };
        let state = state.published(draft, None, None, Timestamp::UNIX_EPOCH);
        self.bucket.state = Arc::new(state.expect("nothing forbids it"));
        let base = self.bucket.state.base.as_ref().map(|base| base.release.number);
        self.say(|| format!("v{number} is published, {temper:?}, base {base:?}, now {now}"));
        self.publishes_left -= 1;
        self.disturbed();
        self.tell_state();
        if self.publishes_left > 0 {
            // The first has its time; the others may be in the middle of one another.
            let least = if number == 1 { 150_000 } else { 1_000 };
            let delay = self.chance.millis(200_000) + Duration::from_millis(least);
            self.after(delay, Pending::Publish);
        }
    }

    fn order(&mut self, verb: Verb) {
        let Some(number) = self.bucket.state.current().filter(|number| *number > 1) else { return };
        let state = State::clone(&self.bucket.state);
        let state = state.ordered(verb, number, "a@b", Timestamp::UNIX_EPOCH);
        self.bucket.state = Arc::new(state.expect("it is the current one"));
        self.say(|| format!("somebody orders {verb:?} of v{number}"));
        self.disturbed();
        self.tell_state();
    }

    fn tell_state(&mut self) {
        for vm in 0..self.vms.len() {
            self.soon(5_500, Pending::SeeState(vm));
        }
    }

    fn see_state(&mut self, vm: usize) {
        let it = &mut self.vms[vm];
        if !it.is_up {
            return;
        }
        if it.cut_off_until > self.now {
            let delay = it.cut_off_until - self.now + self.chance.millis(5_500);
            return self.after(delay, Pending::SeeState(vm));
        }
        let state = self.bucket.state.clone();
        let Some(release) = &state.release else { return };
        if it.seen_release.as_ref().is_none_or(|seen| seen.id != release.id) {
            it.seen_release = Some(Arc::new(release.clone()));
        }
        self.conduct(vm, Event::State(state));
        self.settle(vm);
    }

    fn conduct(&mut self, vm: usize, event: Event) {
        let is_news = !matches!(event, Event::Tick | Event::ListFailed | Event::Listed(_));
        let it = &mut self.vms[vm];
        let (life, wall) = (it.life, it.wall(self.now));
        for action in it.core.step(self.now, wall, event) {
            match action {
                Action::List => self.soon(100, Pending::List(vm, life)),
                Action::Look => self.soon(100, Pending::Check(vm, life)),
                Action::Write(progress, expect) => {
                    let listed = self.heard.get(&vm).copied();
                    self.soon(150, Pending::Write(vm, life, Write { progress, expect, listed }));
                }
            }
        }
        if is_news {
            self.follow(vm);
        }
    }

    /// The same as the agent does.
    fn follow(&mut self, vm: usize) {
        let now = self.now;
        let it = &mut self.vms[vm];
        let Some(direction) = it.direction() else { return };
        let newest = it.seen_release.clone().expect("there is a course");
        let was = it.waits;
        it.waits = direction.waits.then_some((newest.number, false));
        if was.map(|(number, _)| number) == it.waits.map(|(number, _)| number) {
            it.waits = was;
        } else if direction.waits {
            self.soon(5_000, Pending::Brought(vm, newest.number));
        }
        let it = &mut self.vms[vm];
        if direction.is_back {
            let wall = it.wall(now);
            it.outcome(newest.number).reverted.get_or_insert(wall);
        }
        if let Some(run) = direction.run {
            let begins = run.id == newest.id
                && it.machine.aimed().is_none_or(|aimed| aimed.id != newest.id)
                && it.machine.bound().is_none_or(|bound| bound.id != newest.id);
            self.switch(vm, switch::Event::Desired(run));
            if begins {
                *self.vms[vm].begun.entry(newest.number).or_default() += 1;
                self.say(|| format!("app-{vm} begins v{}", newest.number));
                self.check_beginning(vm, &newest);
            }
        }
    }

    fn switch(&mut self, vm: usize, event: switch::Event) {
        let actions = self.vms[vm].machine.step(self.now, event);
        self.act(vm, actions);
    }

    fn act(&mut self, vm: usize, actions: Vec<switch::Action>) {
        use switch::Action;
        let (now, boot) = (self.now, self.vms[vm].boot);
        for action in actions {
            match action {
                Action::Fetch(release) => {
                    let fetched = switch::Event::Fetched(release.id.clone());
                    self.soon(4_000, Pending::Switch(vm, boot, fetched));
                }
                Action::Prepare { version, release, .. } => {
                    let graceful = release.settings.graceful_shutdown;
                    let way = if graceful { Way::Overlap } else { Way::StopFirst { note: None } };
                    self.vms[vm].releases.insert(version, release);
                    let prepared = switch::Event::Prepared(version, way);
                    self.soon(20, Pending::Switch(vm, boot, prepared));
                }
                Action::Start(version, run) => self.start(vm, version, run),
                Action::ShareOut(_) | Action::End => {}
                Action::Steer(version) => self.vms[vm].steered = Some(version),
                Action::AwaitIdle(version) => {
                    let idle = switch::Event::Idle(version);
                    self.soon(3_000, Pending::Switch(vm, boot, idle));
                }
                Action::Terminate(version) => self.exits(vm, version, 2_000, Some(0), None),
                Action::Kill(version) => self.exits(vm, version, 20, None, Some(9)),
                Action::Discard(version) => _ = self.vms[vm].releases.remove(&version),
                Action::Record(record) => {
                    self.say(|| format!("app-{vm}: {record:?}"));
                    let wall = self.vms[vm].wall(now);
                    self.vms[vm].record(wall, record);
                }
            }
        }
    }

    fn exits(
        &mut self,
        vm: usize,
        version: VersionId,
        within_ms: u64,
        code: Option<i32>,
        signal: Option<i32>,
    ) {
        let boot = self.vms[vm].boot;
        if let Some(run) = self.vms[vm].up.get(&version).copied() {
            let exit = Exit { code, signal, ..Exit::default() };
            let exited = switch::Event::Exited(version, exit);
            self.soon(within_ms, Pending::Process(vm, boot, version, run, exited));
        }
    }

    fn start(&mut self, vm: usize, version: VersionId, run: RunId) {
        let it = &mut self.vms[vm];
        let boot = it.boot;
        it.runs_begun = it.runs_begun.max(run.0);
        it.up.insert(version, run);
        let number = it.releases[&version].number;
        let exited = switch::Event::Exited(version, Exit { code: Some(3), ..Exit::default() });
        let ready = switch::Event::Ready(version);
        let delay = self.chance.millis(1_500) + Duration::from_millis(10);
        match self.tempers[&number].on(vm) {
            Temper::ExitsAtOnce => {
                self.after(delay, Pending::Process(vm, boot, version, run, exited));
            }
            Temper::NeverReady => {}
            Temper::Good | Temper::BadSomewhere => {
                self.after(delay, Pending::Process(vm, boot, version, run, ready));
            }
            Temper::CrashesAfter(later) => {
                self.after(delay, Pending::Process(vm, boot, version, run, ready));
                self.after(delay + later, Pending::Process(vm, boot, version, run, exited));
            }
            Temper::UnwellAfter(later) => {
                self.after(delay, Pending::Process(vm, boot, version, run, ready));
                self.after(delay + later, Pending::Unwell(vm, boot, version, run));
            }
        }
    }

    fn process(
        &mut self,
        vm: usize,
        boot: u32,
        version: VersionId,
        run: RunId,
        event: switch::Event,
    ) {
        let it = &mut self.vms[vm];
        if it.boot != boot || it.is_gone || it.up.get(&version) != Some(&run) {
            return;
        }
        if !it.is_up {
            return self.soon(500, Pending::Process(vm, boot, version, run, event));
        }
        if let switch::Event::Exited(..) = event {
            it.up.remove(&version);
            it.unwell = it.unwell.filter(|unwell| *unwell != version);
        }
        self.switch(vm, event);
        self.settle(vm);
    }

    fn list(&mut self, vm: usize, life: u32) {
        let (is_cut_off, name) = (self.vms[vm].cut_off_until > self.now, self.vms[vm].name.clone());
        let event = if is_cut_off || self.plot.has_faults && self.chance.percent(3) {
            Event::ListFailed
        } else {
            let reports = self.bucket.list(&name);
            return self.soon(300, Pending::Listed(vm, life, self.now, reports));
        };
        self.soon(300, Pending::Conduct(vm, life, event));
    }

    fn check(&mut self, vm: usize, life: u32) {
        let is_cut_off = self.vms[vm].cut_off_until > self.now;
        if is_cut_off || self.plot.has_faults && self.chance.percent(5) {
            return;
        }
        self.bucket.asked.checks += 1;
        let event = match self.bucket.rollout.clone() {
            Some((generation, progress)) => Event::Seen(generation, Box::new(progress)),
            None => Event::Absent,
        };
        self.soon(100, Pending::Conduct(vm, life, event));
    }

    fn write(&mut self, vm: usize, life: u32, write: Write) {
        let Write { progress, expect, listed } = write;
        let progress = *progress;
        let is_cut_off = self.vms[vm].cut_off_until > self.now;
        let fault = if self.plot.has_faults { self.chance.below(100) } else { 100 };
        if is_cut_off || fault < 5 {
            let unknown = Event::Written(Box::new(progress), Written::Unknown);
            let delay = Duration::from_secs(if is_cut_off { 15 } else { 1 });
            return self.after(delay, Pending::Conduct(vm, life, unknown));
        }
        let before = self.bucket.rollout.clone().map(|(_, progress)| progress);
        let is_strict = self.plot.has_faults;
        let written = match self.bucket.write(self.now, &progress, expect, is_strict) {
            Ok(generation) => {
                self.check_write(before.as_ref(), &progress, listed);
                // The answer may be lost, and a second attempt that nobody sees may be refused.
                match fault {
                    5..=9 => Written::Unknown,
                    10..=12 => Written::Lost,
                    _ => Written::Done(generation),
                }
            }
            Err(NotWritten::Lost) => Written::Lost,
            Err(NotWritten::TooOften) => Written::Unknown,
        };
        self.soon(150, Pending::Conduct(vm, life, Event::Written(Box::new(progress), written)));
        for vm in 0..self.vms.len() {
            self.want_look(vm);
        }
    }

    /// Whoever follows the rollout sees what is new at its next look.
    fn want_look(&mut self, vm: usize) {
        let newest = self.bucket.rollout.as_ref().map_or(0, |(generation, _)| generation.0);
        let it = &mut self.vms[vm];
        let Some(every) = it.core.rolling().filter(|_| it.is_up && !it.is_looking) else {
            return;
        };
        if self.looked.get(&vm).copied().unwrap_or(0) < newest {
            it.is_looking = true;
            let life = it.life;
            let most = u64::try_from(every.look.as_millis()).expect("it is short") + 200;
            self.soon(most, Pending::Look(vm, life));
        }
    }

    fn look(&mut self, vm: usize, life: u32) {
        let it = &mut self.vms[vm];
        if it.life != life {
            return;
        }
        if it.cut_off_until > self.now {
            let delay = it.cut_off_until - self.now + self.chance.millis(2_000);
            return self.after(delay, Pending::Look(vm, life));
        }
        it.is_looking = false;
        if it.core.rolling().is_none() {
            return;
        }
        if let Some((generation, progress)) = self.bucket.rollout.clone() {
            self.looked.insert(vm, generation.0);
            self.conduct(vm, Event::Seen(generation, Box::new(progress)));
            self.settle(vm);
        }
    }

    fn report(&mut self, vm: usize, life: u32) {
        let it = &mut self.vms[vm];
        if it.life != life || !it.is_up {
            return;
        }
        if it.cut_off_until > self.now {
            return self.after(Duration::from_secs(2), Pending::Report(vm, life));
        }
        it.is_writing = false;
        let report = it.report(self.now);
        it.told = Some(report.clone());
        self.note_outcomes(vm, &report);
        self.bucket.report(report);
        let rolls = self.vms[vm].core.rolling().map(|rolling| rolling.report);
        let every = crate::report::beat(None, rolls, Duration::from_secs(3_600));
        self.beats.insert(vm, self.now + every);
        self.settle(vm);
    }

    fn wake(&mut self, vm: usize) {
        self.wakes.remove(&vm);
        let it = &self.vms[vm];
        if !it.is_up {
            return;
        }
        if it.machine.wake_at().is_some_and(|at| at <= self.now) {
            self.switch(vm, switch::Event::Tick);
        }
        if self.vms[vm].core.wake_at().is_some_and(|at| at <= self.now) {
            self.conduct(vm, Event::Tick);
        }
        self.settle(vm);
    }

    /// After each step of a machine: what it says, and when it goes on.
    fn settle(&mut self, vm: usize) {
        let now = self.now;
        let it = &mut self.vms[vm];
        if !it.is_up || it.is_gone {
            return self.count_active(vm, false);
        }
        let is_active = it.core.is_active();
        if is_active {
            let beat = self.beats.entry(vm).or_insert(now);
            *beat = (*beat).min(now + Duration::from_secs(30));
        }
        let said = it.report(now);
        let is_news =
            it.told.as_ref().is_none_or(|told| Report { written: told.written, ..said } != *told);
        let is_due = self.beats.get(&vm).is_none_or(|at| *at <= now);
        if (is_news || is_due) && !it.is_writing {
            it.is_writing = true;
            let life = it.life;
            self.soon(1_300, Pending::Report(vm, life));
        }
        let it = &self.vms[vm];
        let beat = self.beats.get(&vm).copied().filter(|_| !it.is_writing);
        let wake = it.machine.wake_at().into_iter().chain(it.core.wake_at()).chain(beat).min();
        if let Some(at) = wake
            && self.wakes.get(&vm).is_none_or(|planned| *planned > at.max(now))
        {
            let at = at.max(now + Duration::from_millis(1));
            self.wakes.insert(vm, at);
            self.after(at - now, Pending::Wake(vm));
        }
        self.count_active(vm, is_active);
        self.want_look(vm);
        self.check_capacity();
    }

    /// Adds up how long machines ask for how far it is.
    fn count_active(&mut self, vm: usize, is_active: bool) {
        if is_active {
            self.active_since.entry(vm).or_insert(self.now);
        } else if let Some(since) = self.active_since.remove(&vm) {
            self.active += self.now - since;
        }
    }

    pub(super) fn newest(&self) -> Option<&Release> {
        self.bucket.state.release.as_ref()
    }
}
