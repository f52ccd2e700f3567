//! A fleet's update cores in a world of made-up launchers, binaries and buckets: a seed decides what
//! every binary is like, how long everything takes, and what dies when. After each step the rules are
//! checked; a failing seed is named and runs alone with
//! `SEED=n cargo test --workspace --lib update::simulation`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deploy::Timestamp;
use deploy::desired_agent::DesiredAgent;
use deploy::id::Id;
use deploy::report::{AgentUpdate, UpdatePhase};

use super::tests::{at, binary, home, wish};
use super::*;
use crate::chance::Chance;
use crate::report::beat;

const SEEDS: u64 = 5_000;

/// What the instances were made with.
const INSTALLED: &str = "1";

/// The launcher's rule: so many crashes end a trial.
const CRASHES_MAX: u32 = 3;

#[test]
fn the_rules_hold_for_every_seed() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    let mut done = Counts::default();
    for seed in seeds.clone() {
        World::new(seed).run(&mut done);
    }
    if seeds.end - seeds.start == SEEDS {
        // Not all of it may come to nothing.
        let Counts { good, bad, halted, went_back, stepped_back } = done;
        let all = [good, bad, halted, went_back, stepped_back];
        assert!(all.iter().all(|count| *count > 50), "{all:?}");
    }
}

/// What came of it, over all seeds.
#[derive(Default)]
struct Counts {
    good: u32,
    bad: u32,
    halted: u32,
    went_back: u32,
    /// One that had said that it was going did not go.
    stepped_back: u32,
}

/// What a binary is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Good,
    CannotBeFetched,
    /// Says no, or nothing, when it is run once.
    FailsCheck,
    CannotBeExecuted,
    CrashesAtOnce,
    /// Comes up, and crashes before it has looked at the bucket.
    CrashesSoon,
    NeverUp,
    NeverLooks,
    /// Crashes at once on every second instance.
    BadSomewhere,
}

impl Temper {
    fn on(self, vm: usize) -> Self {
        match self {
            Self::BadSomewhere if vm.is_multiple_of(2) => Self::CrashesAtOnce,
            Self::BadSomewhere => Self::Good,
            other => other,
        }
    }
}

enum Pending {
    /// For an agent's life: what was under way for an earlier one is void.
    Event(usize, u32, Event),
    /// A listing sees the bucket.
    List(usize, u32, u32),
    /// The agent reads the state.
    Look(usize, u32),
    /// A report reaches the bucket, whatever has become of its sender.
    Lands(usize, Option<AgentUpdate>, Vec<Id>),
    /// And its writer hears of that.
    Acknowledged(usize, u32, Option<AgentUpdate>),
    Beat(usize, u32),
    Crash(usize, u32),
    Start(usize),
    TrialEnds(usize, u32),
    Wish,
    Kill(usize),
    Busy(usize, bool),
    Outage(usize, Duration),
    Gone(usize),
    Joins,
}

/// A binary on trial, as the launcher knows it.
struct Trial {
    version: String,
    crashes: u32,
    number: u32,
}

/// A machine with its launcher.
struct Vm {
    name: String,
    machine: Option<Machine>,
    life: u32,
    born: Duration,
    saved: Retained,
    running: String,
    good: String,
    trial: Option<Trial>,
    trials: u32,
    fell_back: Option<FellBack>,
    is_starting: bool,
    is_gone: bool,
    is_busy: bool,
    outage_until: Duration,
    on_disk: BTreeSet<String>,
    checked: BTreeSet<String>,
    told: Option<AgentUpdate>,
    is_writing: bool,
    sent: Duration,
    /// Went back from a binary, by its version.
    refused: BTreeSet<String>,
}

struct World {
    seed: u64,
    /// One seed runs alone, and says what it does.
    is_told: bool,
    chance: Chance,
    now: Duration,
    pending: BTreeMap<(Duration, u64), Pending>,
    sequence: u64,
    vms: Vec<Vm>,
    tempers: BTreeMap<String, Temper>,
    wishes: Vec<DesiredAgent>,
    wishes_left: u64,
    bucket: BTreeMap<String, Neighbour>,
    /// By wish: who executed its binary.
    tried: BTreeMap<String, BTreeSet<usize>>,
    /// Something other than a binary goes wrong in this seed.
    has_faults: bool,
    /// How slow the bucket is in this seed, in times of what it usually is.
    slowness: u64,
    /// By then, long after the last wish and fault, all has ended.
    calm_at: Duration,
    stepped_back: u32,
    went_back: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let has_faults = chance.percent(65);
        let slowness = if chance.percent(40) { 1 + chance.below(25) } else { 1 };
        let wishes_left = 1 + chance.below(4);
        let mut world = Self {
            seed,
            is_told: std::env::var_os("SEED").is_some(),
            chance,
            now: Duration::ZERO,
            pending: BTreeMap::new(),
            sequence: 0,
            vms: Vec::new(),
            tempers: BTreeMap::from([(INSTALLED.to_owned(), Temper::Good)]),
            wishes: Vec::new(),
            wishes_left,
            bucket: BTreeMap::new(),
            tried: BTreeMap::new(),
            has_faults,
            slowness,
            calm_at: Duration::ZERO,
            stepped_back: 0,
            went_back: 0,
        };
        for _ in 0..1 + world.chance.below(5) {
            world.join();
        }
        let delay = world.chance.millis(5_000);
        world.after(delay, Pending::Wish);
        for vm in 0..world.vms.len() {
            for _ in 0..world.chance.below(3) {
                let delay = world.chance.millis(120_000);
                world.after(delay, Pending::Busy(vm, true));
            }
        }
        if has_faults {
            world.plan_faults();
        }
        world
    }

    fn plan_faults(&mut self) {
        for vm in 0..self.vms.len() {
            for _ in 0..self.chance.below(3) {
                let delay = self.chance.millis(200_000);
                self.after(delay, Pending::Kill(vm));
            }
            if self.chance.percent(20) {
                let (delay, length) = (self.chance.millis(150_000), self.chance.millis(200_000));
                self.after(delay, Pending::Outage(vm, length));
            }
        }
        if self.vms.len() > 1 && self.chance.percent(15) {
            let (delay, vm) = (self.chance.millis(100_000), self.chance.below(2) as usize);
            self.after(delay, Pending::Gone(vm));
        }
        if self.chance.percent(20) {
            let delay = self.chance.millis(100_000);
            self.after(delay, Pending::Joins);
        }
    }

    fn after(&mut self, delay: Duration, pending: Pending) {
        self.sequence += 1;
        self.pending.insert((self.now + delay, self.sequence), pending);
    }

    fn tell(&mut self, vm: usize, delay: Duration, event: Event) {
        let life = self.vms[vm].life;
        self.after(delay, Pending::Event(vm, life, event));
    }

    fn run(mut self, counts: &mut Counts) {
        for _ in 0..40_000 {
            self.check_agents();
            let wake = (0..self.vms.len()).filter_map(|vm| Some((self.wake_of(vm)?, vm))).min();
            let next = self.pending.first_key_value().map(|(&(at, _), _)| at);
            if self.wishes_left == 0 && self.now > self.calm_at {
                return self.check_end(counts);
            }
            match (next, wake) {
                (Some(next), Some((wake, vm))) if wake <= next => self.tick(vm, wake),
                (None, Some((wake, vm))) => self.tick(vm, wake),
                (Some(_), _) => self.happen(),
                (None, None) => self.broken("nobody looks at the bucket any more"),
            }
        }
        self.broken("it does not end");
    }

    fn wake_of(&self, vm: usize) -> Option<Duration> {
        let vm = &self.vms[vm];
        Some(vm.born + vm.machine.as_ref()?.wake_at()?)
    }

    fn tick(&mut self, vm: usize, wake: Duration) {
        self.now = self.now.max(wake);
        self.step(vm, Event::Tick);
    }

    fn happen(&mut self) {
        let Some(((at, _), pending)) = self.pending.pop_first() else { return };
        self.now = self.now.max(at);
        let lives = |world: &Self, vm: usize, life| {
            world.vms[vm].life == life && world.vms[vm].machine.is_some()
        };
        match pending {
            Pending::Event(vm, life, event) if lives(self, vm, life) => self.deliver(vm, event),
            Pending::List(vm, life, number) if lives(self, vm, life) => self.list(vm, number),
            Pending::Look(vm, life) if lives(self, vm, life) => self.look(vm),
            Pending::Acknowledged(vm, life, told) if lives(self, vm, life) => {
                self.vms[vm].is_writing = false;
                self.step(vm, Event::Written(told));
            }
            Pending::Beat(vm, life) if lives(self, vm, life) => self.beat(vm),
            Pending::Crash(vm, life) if self.vms[vm].life == life => self.die(vm),
            Pending::Lands(vm, told, bad) => self.lands(vm, told, bad),
            Pending::Start(vm) => self.start(vm),
            Pending::TrialEnds(vm, number) => {
                if self.vms[vm].trial.as_ref().is_some_and(|trial| trial.number == number) {
                    self.go_back(vm, "it was not good within 60 s");
                }
            }
            Pending::Wish => self.wish(),
            Pending::Kill(vm) => self.die(vm),
            Pending::Busy(vm, is_busy) => self.busy(vm, is_busy),
            Pending::Outage(vm, length) => {
                self.vms[vm].outage_until = self.now + length;
                self.calm_later(length);
            }
            Pending::Gone(vm) => {
                let vm = &mut self.vms[vm];
                (vm.is_gone, vm.machine, vm.trial) = (true, None, None);
                vm.life += 1;
                self.calm_later(Duration::ZERO);
            }
            Pending::Joins => {
                self.join();
                self.calm_later(Duration::ZERO);
            }
            Pending::Event(..)
            | Pending::List(..)
            | Pending::Look(..)
            | Pending::Acknowledged(..)
            | Pending::Beat(..)
            | Pending::Crash(..) => {}
        }
    }

    fn calm_later(&mut self, length: Duration) {
        self.calm_at = self.calm_at.max(self.now + length + Duration::from_secs(900));
    }

    fn join(&mut self) {
        let number = self.vms.len() + 1;
        self.vms.push(Vm {
            name: format!("app-{number}"),
            machine: None,
            life: 0,
            born: self.now,
            saved: Retained::default(),
            running: INSTALLED.to_owned(),
            good: INSTALLED.to_owned(),
            trial: None,
            trials: 0,
            fell_back: None,
            is_starting: false,
            is_gone: false,
            is_busy: false,
            outage_until: Duration::ZERO,
            on_disk: BTreeSet::from([INSTALLED.to_owned()]),
            checked: BTreeSet::new(),
            told: None,
            is_writing: false,
            sent: Duration::ZERO,
            refused: BTreeSet::new(),
        });
        self.start_soon(number - 1, Duration::ZERO);
    }

    fn start_soon(&mut self, vm: usize, delay: Duration) {
        self.vms[vm].is_starting = true;
        self.after(delay, Pending::Start(vm));
    }

    /// The launcher starts what is on trial, or else what is good.
    fn start(&mut self, index: usize) {
        let vm = &mut self.vms[index];
        if vm.is_gone {
            return;
        }
        (vm.is_starting, vm.is_writing) = (false, false);
        vm.life += 1;
        vm.born = self.now;
        vm.running = vm.trial.as_ref().map_or(&vm.good, |trial| &trial.version).clone();
        let (life, temper) = (vm.life, self.tempers[&vm.running].on(index));
        if temper == Temper::CrashesAtOnce {
            vm.is_starting = true;
            return self.after(Duration::from_millis(5), Pending::Crash(index, life));
        }
        let home = home(&vm.name, &vm.running);
        let kept = serde_json::to_string(&vm.saved).unwrap();
        let kept = serde_json::from_str(&kept).unwrap();
        let zero = at(Duration::ZERO);
        let (machine, actions) = Machine::resume(zero, home, kept, vm.fell_back.as_ref());
        vm.machine = Some(machine);
        let is_quiet = !vm.is_busy;
        self.act(index, actions);
        let up = self.chance.millis(800);
        if temper != Temper::NeverUp {
            self.tell(index, up, Event::Up);
        }
        self.tell(index, up, Event::Quiet(is_quiet));
        if !matches!(temper, Temper::NeverLooks | Temper::CrashesSoon) {
            let delay = self.chance.millis(6_000);
            self.after(delay, Pending::Look(index, life));
        }
        if temper == Temper::CrashesSoon {
            let delay = self.chance.millis(4_000);
            self.after(delay, Pending::Crash(index, life));
        }
        self.beat(index);
    }

    fn die(&mut self, index: usize) {
        let vm = &mut self.vms[index];
        if vm.is_gone || (vm.machine.is_none() && !vm.is_starting) {
            return;
        }
        vm.machine = None;
        vm.life += 1;
        if let Some(trial) = &mut vm.trial {
            trial.crashes += 1;
            if trial.crashes >= CRASHES_MAX {
                return self.go_back(index, "it crashed 3 times");
            }
        }
        let delay = self.chance.millis(1_000);
        self.start_soon(index, delay);
    }

    fn go_back(&mut self, index: usize, reason: &str) {
        let vm = &mut self.vms[index];
        let Some(trial) = vm.trial.take() else { return };
        let digest = binary(&trial.version).digest;
        vm.fell_back = Some(FellBack { digest, reason: reason.to_owned() });
        vm.refused.insert(trial.version);
        vm.machine = None;
        vm.life += 1;
        self.went_back += 1;
        self.start_soon(index, Duration::from_millis(5));
    }

    fn wish(&mut self) {
        let id = format!("w{}", self.wishes.len() + 1);
        let version = (2 + self.chance.below(4)).to_string();
        let temper = match self.chance.below(16) {
            0 => Temper::CannotBeFetched,
            1 => Temper::FailsCheck,
            2 => Temper::CannotBeExecuted,
            3 => Temper::CrashesAtOnce,
            4 => Temper::CrashesSoon,
            5 => Temper::NeverUp,
            6 => Temper::NeverLooks,
            7 | 8 => Temper::BadSomewhere,
            _ => Temper::Good,
        };
        self.tempers.entry(version.clone()).or_insert(temper);
        let version = Some(&*version).filter(|_| self.chance.percent(90));
        let retry = self.chance.percent(15);
        self.wishes.push(wish(&id, version, retry));
        self.wishes_left -= 1;
        self.calm_later(Duration::ZERO);
        if self.wishes_left > 0 {
            // Some are sorry at once, so that instances go by different wishes for a while.
            let delay = if self.chance.percent(40) { 12_000 } else { 150_000 };
            let delay = self.chance.millis(delay);
            self.after(delay, Pending::Wish);
        }
        for vm in 0..self.vms.len() {
            let (delay, life) = (self.chance.millis(5_500 * self.slowness), self.vms[vm].life);
            self.after(delay, Pending::Look(vm, life));
        }
    }

    fn is_out(&self, vm: usize) -> bool {
        self.now < self.vms[vm].outage_until
    }

    /// How long a call's way to the bucket takes, or its answer's way back. Some hang.
    fn bucket_takes(&mut self) -> Duration {
        match self.has_faults && self.chance.percent(2) {
            true => self.chance.millis(40_000),
            false => self.chance.millis(300 * self.slowness),
        }
    }

    fn look(&mut self, vm: usize) {
        if self.is_out(vm) {
            let (delay, life) = (self.chance.millis(5_000), self.vms[vm].life);
            return self.after(delay, Pending::Look(vm, life));
        }
        let temper = self.tempers[&self.vms[vm].running].on(vm);
        if !matches!(temper, Temper::NeverLooks | Temper::CrashesSoon) {
            self.step(vm, Event::Seen(self.wishes.last().cloned()));
        }
    }

    fn list(&mut self, vm: usize, number: u32) {
        let delay = self.bucket_takes();
        let event = match self.is_out(vm) || self.chance.percent(3) {
            true => Event::ListFailed(number),
            false => Event::Listed(number, self.bucket.values().cloned().collect()),
        };
        self.tell(vm, delay, event);
    }

    fn busy(&mut self, vm: usize, is_busy: bool) {
        self.vms[vm].is_busy = is_busy;
        if is_busy {
            let delay = self.chance.millis(20_000);
            self.after(delay, Pending::Busy(vm, false));
        }
        if self.vms[vm].machine.is_some() {
            self.step(vm, Event::Quiet(!is_busy));
        }
    }

    fn deliver(&mut self, vm: usize, event: Event) {
        match &event {
            Event::Fetched(digest) => {
                let version = self.version_of(digest);
                self.vms[vm].on_disk.insert(version);
            }
            Event::Checked(digest) => {
                let version = self.version_of(digest);
                self.vms[vm].checked.insert(version);
            }
            // Whatever it was when that was begun to be told.
            Event::Quiet(_) => {
                let is_quiet = !self.vms[vm].is_busy;
                return self.step(vm, Event::Quiet(is_quiet));
            }
            _ => {}
        }
        self.step(vm, event);
    }

    fn version_of(&self, digest: &deploy::Digest) -> String {
        let mut known = self.tempers.keys();
        known.find(|version| binary(version).digest == *digest).expect("it is known").clone()
    }

    fn step(&mut self, index: usize, event: Event) {
        let vm = &mut self.vms[index];
        let Some(machine) = &mut vm.machine else { return };
        let before = machine.view().map(|view| view.phase);
        let told = self.is_told.then(|| format!("{event:.70?}"));
        let actions = machine.step(at(self.now.saturating_sub(vm.born)), event);
        // What is decided is on the disk before it is done.
        vm.saved = machine.retained().clone();
        let after = machine.view().map(|view| view.phase);
        if (before, after) == (Some(UpdatePhase::Going), Some(UpdatePhase::Waiting)) {
            self.stepped_back += 1;
        }
        if let Some(told) = told {
            let name = &vm.name;
            eprintln!("{:?} {name} {told} {before:?} -> {after:?} {actions:.200?}", self.now);
        }
        if self.has_faults && !actions.is_empty() && self.chance.percent(2) {
            return self.die(index);
        }
        self.act(index, actions);
        self.write(index);
    }

    fn act(&mut self, vm: usize, actions: Vec<Action>) {
        let life = self.vms[vm].life;
        for action in actions {
            match action {
                Action::Fetch(binary) => {
                    let delay = self.chance.millis(4_000);
                    let is_away = self.tempers[&binary.version] == Temper::CannotBeFetched;
                    self.tell(
                        vm,
                        delay,
                        match is_away {
                            true => Event::FetchFailed(binary.digest, "gone".to_owned()),
                            false => Event::Fetched(binary.digest),
                        },
                    );
                }
                Action::Check(binary) => {
                    let delay = Duration::from_millis(500) + self.chance.millis(1_000);
                    let fails = self.tempers[&binary.version] == Temper::FailsCheck;
                    self.tell(
                        vm,
                        delay,
                        match fails {
                            true => Event::CheckFailed(binary.digest, "no".to_owned()),
                            false => Event::Checked(binary.digest),
                        },
                    );
                }
                Action::List(number) => {
                    let delay = self.bucket_takes();
                    self.after(delay, Pending::List(vm, life, number));
                }
                Action::Exec(binary) => return self.exec(vm, &binary.version),
                Action::SayGood(digest) => self.say_good(vm, &digest),
                Action::Prune(_) => {}
            }
        }
    }

    fn exec(&mut self, index: usize, version: &str) {
        let vm = &self.vms[index];
        if vm.is_busy {
            self.broken("a switch is under way, and the agent is replaced");
        }
        if !vm.on_disk.contains(version) || !vm.checked.contains(version) {
            self.broken("what was not verified and checked is executed");
        }
        let wish = vm.saved_wish();
        let may_again = wish.as_ref().is_some_and(|wish| wish.retry);
        if vm.refused.contains(version) && !may_again {
            self.broken("a binary that was bad here is tried again");
        }
        if self.vms.iter().any(|other| other.trial.is_some()) {
            self.broken("two are on trial at once");
        }
        let id = wish.map(|wish| wish.id.to_string()).unwrap_or_default();
        self.tried.entry(id).or_default().insert(index);
        if self.tempers[version] == Temper::CannotBeExecuted {
            return self.step(index, Event::ExecFailed("no memory".to_owned()));
        }
        let vm = &mut self.vms[index];
        vm.trials += 1;
        let number = vm.trials;
        vm.trial = Some(Trial { version: version.to_owned(), crashes: 0, number });
        vm.machine = None;
        vm.life += 1;
        self.after(TRIAL_MAX, Pending::TrialEnds(index, number));
        self.start(index);
    }

    fn say_good(&mut self, index: usize, digest: &deploy::Digest) {
        let vm = &mut self.vms[index];
        if binary(&vm.running).digest != *digest {
            self.broken("another binary than the one that runs is said to be good");
        }
        let vm = &mut self.vms[index];
        vm.good = vm.running.clone();
        vm.trial = None;
        if self.tempers[&self.vms[index].good].on(index) != Temper::Good {
            self.broken("a bad binary is taken for good");
        }
    }

    /// Hands the newest word on to the bucket, if nothing is on its way there.
    fn write(&mut self, index: usize) {
        let vm = &self.vms[index];
        let Some(machine) = &vm.machine else { return };
        if machine.view() != vm.told && !vm.is_writing {
            self.send(index);
        }
    }

    fn send(&mut self, index: usize) {
        let is_out = self.is_out(index);
        let vm = &mut self.vms[index];
        let Some(machine) = &vm.machine else { return };
        if is_out {
            return;
        }
        let (told, life) = (machine.view(), vm.life);
        let bad = machine.bad().iter().map(|bad| bad.update.clone()).collect();
        (vm.told, vm.is_writing, vm.sent) = (told.clone(), true, self.now);
        let (there, back) = (self.bucket_takes(), self.bucket_takes());
        self.after(there, Pending::Lands(index, told.clone(), bad));
        self.after(there + back, Pending::Acknowledged(index, life, told));
    }

    fn lands(&mut self, index: usize, update: Option<AgentUpdate>, bad: Vec<Id>) {
        let vm = &self.vms[index];
        // Every clock is another.
        let written = self.now + Duration::from_secs(1_000 * index as u64);
        self.bucket.insert(
            vm.name.clone(),
            Neighbour {
                name: vm.name.clone(),
                written: Timestamp::UNIX_EPOCH + written,
                is_able: true,
                update,
                bad,
            },
        );
    }

    fn beat(&mut self, index: usize) {
        let vm = &self.vms[index];
        let Some(machine) = &vm.machine else { return };
        let life = vm.life;
        if !vm.is_writing
            && self.now >= vm.sent + beat(machine.view().as_ref(), None, self.now - vm.born)
        {
            self.send(index);
        }
        // As soon as it would be time if it were about to go.
        let next = (self.vms[index].sent + beat_of_going()).saturating_sub(self.now);
        let next = if next.is_zero() { beat_of_going() } else { next };
        self.after(next, Pending::Beat(index, life));
    }

    fn check_agents(&self) {
        for vm in &self.vms {
            if !vm.is_gone && vm.machine.is_none() && !vm.is_starting {
                self.broken("an instance has no agent, and none is coming");
            }
        }
    }

    fn check_end(&self, counts: &mut Counts) {
        let Some(wish) = self.wishes.last() else { return };
        for (index, vm) in self.vms.iter().enumerate().filter(|(_, vm)| !vm.is_gone) {
            let Some(machine) = &vm.machine else { self.broken("an agent is down at the end") };
            let Some(AgentUpdate { id, phase, .. }) = machine.view() else {
                self.broken("an agent has not seen the wish")
            };
            if id != wish.id || !phase.has_ended() {
                self.broken("an update does not end");
            }
            let wanted = wish.binaries.get("amd64").map_or(INSTALLED, |binary| &*binary.version);
            let is_good = self.tempers[wanted].on(index) == Temper::Good;
            match phase {
                UpdatePhase::Good if vm.running != wanted => self.broken("good, and another runs"),
                UpdatePhase::Good => counts.good += 1,
                UpdatePhase::Bad if is_good && !self.has_faults => {
                    self.broken("a good binary is bad though nothing went wrong")
                }
                UpdatePhase::Bad => counts.bad += 1,
                _ => counts.halted += 1,
            }
            if self.tempers[wanted] == Temper::Good && !self.has_faults && vm.running != wanted {
                self.broken("a good binary does not run everywhere");
            }
        }
        for (id, tried) in &self.tried {
            let wish = self.wishes.iter().find(|wish| wish.id.to_string() == *id);
            let version = wish.and_then(|wish| wish.binaries.get("amd64"));
            let temper = version.map(|version| self.tempers[&version.version]);
            let is_bad = !matches!(temper, None | Some(Temper::Good | Temper::BadSomewhere));
            if is_bad && !self.has_faults && tried.len() > 1 {
                self.broken("a bad canary does not stop the others");
            }
        }
        counts.went_back += self.went_back;
        counts.stepped_back += self.stepped_back;
    }

    fn broken(&self, rule: &str) -> ! {
        let vms: Vec<_> = self.vms.iter().map(|vm| (&vm.name, &vm.running, &vm.machine)).collect();
        panic!(
            "seed {}: {rule}, at {:?}; {:?}; {:?}; {vms:#?}",
            self.seed, self.now, self.tempers, self.wishes
        );
    }
}

fn beat_of_going() -> Duration {
    let id = Id::fixed("any");
    beat(Some(&AgentUpdate { id, phase: UpdatePhase::Going, word: 1 }), None, Duration::ZERO)
}

impl Vm {
    /// The wish that its core goes by.
    fn saved_wish(&self) -> Option<DesiredAgent> {
        self.saved.wish().cloned()
    }
}
