//! The core in a world of made-up processes: a seed decides what every release is like, how long
//! everything takes, and when the agent itself dies: between any two of its effects, or together
//! with the whole machine. After each step the rules are checked; a failing seed is named and runs
//! alone with `SEED=n cargo test -p agentd simulation`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deploy::Span;
use deploy::release::Release;
use deploy::report::Phase;

use super::tests::release_with;
use super::*;
use crate::chance::Chance;

const SEEDS: u64 = 10_000;

#[test]
fn the_rules_hold_for_every_seed() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        World::new(seed).run();
    }
}

/// What a release's processes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Good,
    /// Ready, and crashes much later, each time.
    Fragile,
    ExitsAtOnce,
    NeverReady,
    CrashesWhenReady,
    CannotStart,
    CannotBeFetched,
    /// Binds its port by itself: fails beside another, and is good alone.
    BindsItself,
}

enum Pending {
    /// What an agent's life has under way: void when that life ends.
    To(u32, Event),
    /// What a process does, whoever lives.
    Of(RunId, Event),
    Publish,
    /// The agent reads the bucket.
    Look,
    /// The agent dies when it has come so many effects further.
    KillAgent(u64),
    /// Another agent starts.
    NextAgent,
    /// The machine goes down and comes up again.
    Reboot,
    JumpClock,
}

/// What an agent that dies leaves in the handover.
struct Left {
    machine: Machine,
    undone: Vec<Action>,
    /// The processes that it knew.
    runs: BTreeMap<VersionId, RunId>,
}

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).expect("JSON")).expect("JSON")
}

struct World {
    seed: u64,
    chance: Chance,
    now: Time,
    machine: Machine,
    /// Counts the agent's lives: what was under way for an earlier one is void.
    life: u32,
    pending: BTreeMap<(Time, u64), Pending>,
    sequence: u64,
    releases: Vec<(Arc<Release>, Temper)>,
    on_disk: BTreeSet<u64>,
    versions: BTreeMap<VersionId, u64>,
    up: BTreeMap<VersionId, RunId>,
    /// Every run that a process was ever started for.
    tickets: BTreeMap<RunId, VersionId>,
    /// The processes that the agent knows.
    runs: BTreeMap<VersionId, RunId>,
    /// What the agent has written down.
    left: Option<Left>,
    is_dead: bool,
    /// After so many further effects the agent dies.
    dies_in: Option<u64>,
    /// Runs that have said that they are ready.
    ready: BTreeSet<RunId>,
    /// How runs ended.
    ended: BTreeMap<RunId, Exit>,
    /// What processes did while no agent lived.
    unheard: Vec<(RunId, Event)>,
    steered: Option<VersionId>,
    may_end_steered: bool,
    failed: BTreeSet<u64>,
    publishes_left: u64,
    /// By then, long after the last publish, every switch has ended.
    calm_at: Time,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let publishes_left = 1 + chance.below(6);
        let mut world = Self {
            seed,
            chance,
            now: Time::ZERO,
            machine: Machine::new(Retained::default(), 0),
            life: 0,
            pending: BTreeMap::new(),
            sequence: 0,
            releases: Vec::new(),
            on_disk: BTreeSet::new(),
            versions: BTreeMap::new(),
            up: BTreeMap::new(),
            tickets: BTreeMap::new(),
            runs: BTreeMap::new(),
            left: None,
            is_dead: false,
            dies_in: None,
            ready: BTreeSet::new(),
            ended: BTreeMap::new(),
            unheard: Vec::new(),
            steered: None,
            may_end_steered: false,
            failed: BTreeSet::new(),
            publishes_left,
            calm_at: Time::ZERO,
        };
        world.after(Time::ZERO, Pending::Publish);
        for _ in 0..world.chance.below(8) {
            let (delay, effects) = (world.chance.millis(60_000), world.chance.below(6));
            world.after(delay, Pending::KillAgent(effects));
        }
        if world.chance.below(4) == 0 {
            let delay = world.chance.millis(60_000);
            world.after(delay, Pending::Reboot);
        }
        for _ in 0..world.chance.below(2) {
            let delay = world.chance.millis(30_000);
            world.after(delay, Pending::JumpClock);
        }
        world
    }

    fn after(&mut self, delay: Time, pending: Pending) {
        self.sequence += 1;
        self.pending.insert((self.now + delay, self.sequence), pending);
    }

    fn tell(&mut self, delay: Time, event: Event) {
        self.after(delay, Pending::To(self.life, event));
    }

    /// Runs until nothing but the app's own crashes can happen any more.
    fn run(&mut self) {
        for _ in 0..5_000 {
            let wake = self.machine.wake_at().filter(|_| !self.is_dead);
            let next = self.pending.first_key_value().map(|(&(at, _), _)| at);
            match (next, wake) {
                (None, None) => return self.check_end(),
                // An app that crashes now and then does so for ever.
                _ if self.publishes_left == 0 && self.now > self.calm_at && !self.is_dead => {
                    return self.check_end();
                }
                (Some(at), Some(wake)) if wake <= at => self.tick(wake),
                (None, Some(wake)) => self.tick(wake),
                (Some(_), _) => self.happen(),
            }
        }
        self.broken("it does not end");
    }

    fn tick(&mut self, wake: Time) {
        self.now = self.now.max(wake);
        self.step(Event::Tick);
    }

    fn happen(&mut self) {
        let Some(((at, _), pending)) = self.pending.pop_first() else { return };
        self.now = self.now.max(at);
        match pending {
            Pending::To(life, event) if life == self.life && !self.is_dead => self.deliver(event),
            Pending::To(..) => {}
            Pending::Of(run, event) => self.process_does(run, event),
            Pending::Publish => self.publish(),
            Pending::Look => {
                if let Some((newest, _)) = self.releases.last().filter(|_| !self.is_dead) {
                    self.step(Event::Desired(newest.clone()));
                }
            }
            Pending::KillAgent(effects) => self.dies_in = Some(effects),
            Pending::NextAgent => self.next_agent(),
            Pending::Reboot => self.reboot(),
            Pending::JumpClock => self.now += Time::from_secs(300),
        }
    }

    fn deliver(&mut self, event: Event) {
        if let Event::Fetched(id) = &event {
            let number = self.releases.iter().find(|(r, _)| r.id == *id).map(|(r, _)| r.number);
            self.on_disk.extend(number);
        }
        self.step(event);
    }

    /// A process does something. It is heard when an agent lives that knows of it.
    fn process_does(&mut self, run: RunId, event: Event) {
        let version = self.tickets[&run];
        if self.up.get(&version) != Some(&run) {
            return;
        }
        if let Event::Exited(_, exit) = event {
            self.up.remove(&version);
            self.ended.insert(run, exit);
        }
        if let Event::Ready(_) = event {
            self.ready.insert(run);
        }
        if self.is_dead { self.unheard.push((run, event)) } else { self.hear(run, event) }
    }

    fn hear(&mut self, run: RunId, event: Event) {
        let version = self.tickets[&run];
        if self.runs.get(&version) != Some(&run) {
            return;
        }
        if let Event::Exited(..) = event {
            self.runs.remove(&version);
        }
        self.step(event);
    }

    fn publish(&mut self) {
        let number = self.releases.len() as u64 + 1;
        let temper = match self.chance.below(16) {
            0 => Temper::Fragile,
            1 => Temper::ExitsAtOnce,
            2 => Temper::NeverReady,
            3 | 4 => Temper::CrashesWhenReady,
            5 => Temper::CannotStart,
            6 => Temper::CannotBeFetched,
            7 | 8 => Temper::BindsItself,
            _ => Temper::Good,
        };
        let (graceful, drain) = (self.chance.below(4) > 0, self.chance.below(2));
        let canary = self.chance.below(3);
        let release = release_with(number, |settings| {
            settings.graceful_shutdown = graceful;
            settings.drain = (drain == 0).then_some(Span::from_secs(20));
            settings.ready_within = Span::from_secs(10);
            settings.canary_share.per_mille = if canary == 0 { 50 } else { 0 };
        });
        self.releases.push((release, temper));
        self.publishes_left -= 1;
        self.calm_at = self.now + Time::from_secs(900);
        if self.publishes_left > 0 {
            let delay = self.chance.millis(25_000);
            self.after(delay, Pending::Publish);
        }
        let delay = self.chance.millis(300);
        self.after(delay, Pending::Look);
    }

    /// One effect of the agent further; gives whether it still lives.
    fn lives_on(&mut self) -> bool {
        match &mut self.dies_in {
            Some(0) => {
                (self.dies_in, self.is_dead) = (None, true);
                self.life += 1;
                let gap = self.chance.millis(2_000);
                self.after(gap, Pending::NextAgent);
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    fn write_down(&mut self, undone: &[Action]) {
        self.left = Some(Left {
            machine: self.machine.clone(),
            undone: undone.to_vec(),
            runs: self.runs.clone(),
        });
    }

    /// Another agent takes over what the one before left.
    fn next_agent(&mut self) {
        if !self.is_dead {
            return;
        }
        self.is_dead = false;
        self.after(Time::from_millis(5), Pending::Look);
        let Some(left) = self.left.take() else {
            return self.start_anew();
        };
        self.machine = through_json(&left.machine);
        let undone: Vec<Action> = through_json(&left.undone);
        self.runs.clone_from(&left.runs);
        self.left = Some(left);
        let (actions, lost) =
            self.machine.take_over(undone, |version| self.runs.contains_key(&version));
        let unheard = std::mem::take(&mut self.unheard);
        self.act(actions);
        for version in lost {
            if self.is_dead {
                return self.unheard.extend(unheard);
            }
            self.step(Event::Exited(version, Exit::default()));
        }
        for (run, event) in unheard {
            if self.is_dead {
                self.unheard.push((run, event));
            } else {
                self.hear(run, event);
            }
        }
        // That one is ready lies on the disk before anything else comes of it.
        for (version, run) in self.runs.clone() {
            if !self.is_dead && self.ready.contains(&run) {
                self.hear(run, Event::Ready(version));
            }
        }
        // One that has ended without anybody's hearing of it is found so.
        for (version, run) in self.runs.clone() {
            if !self.is_dead && self.up.get(&version) != Some(&run) {
                // Its parent, the agent before, has taken its code along; its last lines are there.
                let address_in_use = self.ended.get(&run).is_some_and(|exit| exit.address_in_use);
                let exit = Exit { address_in_use, ..Exit::default() };
                self.hear(run, Event::Exited(version, exit));
            }
        }
        if !self.is_dead {
            self.step(Event::Tick);
        }
    }

    /// Everything dies with the machine; what was retained is all that a new agent knows.
    fn reboot(&mut self) {
        self.life += 1;
        self.up.clear();
        self.runs.clear();
        self.left = None;
        self.unheard.clear();
        self.dies_in = None;
        self.is_dead = false;
        self.steered = None;
        self.start_anew();
        self.after(Time::from_millis(5), Pending::Look);
    }

    fn start_anew(&mut self) {
        let runs_begun = self.tickets.keys().next_back().map_or(0, |run| run.0 + 1000);
        self.machine = Machine::new(self.machine.retained(), runs_begun);
        let actions = self.machine.begin();
        self.act(actions);
    }

    fn step(&mut self, event: Event) {
        if let Event::Prepared(_, Way::StopFirst { .. }) = event {
            self.may_end_steered = true;
        }
        if let Event::Prepared(id, Way::Overlap) = event
            && let Some(number) = self.versions.get(&id)
        {
            let settings = &self.releases[*number as usize - 1].0.settings;
            self.may_end_steered = !settings.graceful_shutdown;
        }
        let told = format!("{event:.60?}");
        if !self.lives_on() {
            return;
        }
        let actions = self.machine.step(self.now, event);
        if std::env::var_os("SEED").is_some() {
            eprintln!(
                "{:?} {:.50} -> {:?}",
                self.now,
                told,
                actions.iter().map(super::tests::words).collect::<Vec<_>>()
            );
        }
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        if !self.lives_on() {
            return;
        }
        self.write_down(&actions);
        for action in actions {
            if !self.lives_on() {
                return;
            }
            match action {
                Action::Fetch(release) => self.fetch(&release),
                Action::Prepare { version, release, binds_itself } => {
                    self.versions.insert(version, release.number);
                    // Who binds its port by itself shares it with nobody, before or after.
                    let holds = |id: &VersionId| self.temper(*id) == Temper::BindsItself;
                    let alone = binds_itself || self.up.keys().any(holds);
                    let way = if alone { Way::StopFirst { note: None } } else { Way::Overlap };
                    let delay = self.chance.millis(20);
                    self.tell(delay, Event::Prepared(version, way));
                }
                Action::Start(version, run) => self.start(version, run),
                Action::Steer(version) => {
                    if !self.up.contains_key(&version) && !self.has_news_of(version) {
                        self.broken("connections are steered to a version without a process");
                    }
                    self.steered = Some(version);
                }
                Action::ShareOut(version) => {
                    if !self.up.contains_key(&version) && !self.has_news_of(version) {
                        self.broken("a version without a process gets connections");
                    }
                }
                Action::AwaitIdle(version) => {
                    let delay = self.chance.millis(9_000);
                    self.tell(delay, Event::Idle(version));
                }
                Action::Terminate(version) => self.end(version, 3_000, Some(0), None),
                Action::Kill(version) => self.end(version, 5, None, Some(9)),
                Action::Discard(version) => {
                    if self.up.contains_key(&version) {
                        self.broken("a version with a process is discarded");
                    }
                }
                Action::Record(Record::Failed { release, .. }) => {
                    self.failed.insert(release);
                }
                Action::Record(_) => {}
                Action::End => self.broken("nobody asked for the end"),
            }
        }
        if self.lives_on() {
            self.write_down(&[]);
        }
    }

    fn fetch(&mut self, release: &Release) {
        let (delay, id) = (self.chance.millis(2_000), release.id.clone());
        if self.releases[release.number as usize - 1].1 == Temper::CannotBeFetched {
            self.tell(delay, Event::FetchFailed(id, "gone".into()));
        } else {
            self.tell(delay, Event::Fetched(id));
        }
    }

    fn start(&mut self, version: VersionId, run: RunId) {
        self.may_end_steered = false;
        if self.runs.get(&version) == Some(&run) {
            return;
        }
        if self.tickets.contains_key(&run) {
            // The agent before has started it, and died before it could write that down.
            self.runs.insert(version, run);
            return;
        }
        let number = self.versions[&version];
        if !self.on_disk.contains(&number) {
            self.broken("what was not fetched and verified is started");
        }
        if self.up.contains_key(&version) {
            self.broken("a version is started twice");
        }
        let temper = self.temper(version);
        if temper == Temper::CannotStart {
            return self.tell(Time::ZERO, Event::StartFailed(version, "exec format".into()));
        }
        let alone = self.up.is_empty();
        self.up.insert(version, run);
        self.runs.insert(version, run);
        self.tickets.insert(run, version);
        let serving = self.machine.snapshot().serving;
        if serving.is_none_or(|serving| serving.id == version) {
            self.steered = Some(version);
        }
        let (soon, exits) = (self.chance.millis(400), |address_in_use| {
            Event::Exited(
                version,
                Exit { code: Some(1), signal: None, address_in_use, out_of_memory: false },
            )
        });
        match temper {
            Temper::ExitsAtOnce => self.after(soon, Pending::Of(run, exits(false))),
            Temper::BindsItself if !alone => self.after(soon, Pending::Of(run, exits(true))),
            Temper::NeverReady => {}
            _ => self.after(soon, Pending::Of(run, Event::Ready(version))),
        }
        match temper {
            Temper::CrashesWhenReady => {
                let later = soon + self.chance.millis(3_000);
                self.after(later, Pending::Of(run, exits(false)));
            }
            Temper::Fragile => {
                let later = soon + Time::from_secs(10) + self.chance.millis(100_000);
                self.after(later, Pending::Of(run, exits(false)));
            }
            _ => {}
        }
    }

    fn end(&mut self, version: VersionId, within: u64, code: Option<i32>, signal: Option<i32>) {
        let serves_well = self.steered == Some(version) && self.up.contains_key(&version);
        let settled_badly = self.failed.contains(&self.versions[&version]);
        if serves_well && !self.may_end_steered && !settled_badly {
            self.broken("the version that gets the connections is ended");
        }
        let Some(run) = self.up.get(&version).copied() else { return };
        let delay = self.chance.millis(within);
        let exit = Exit { code, signal, ..Exit::default() };
        self.after(delay, Pending::Of(run, Event::Exited(version, exit)));
    }

    /// Whether the core has yet to hear that the version has no process.
    fn has_news_of(&self, version: VersionId) -> bool {
        // One that the agent knows and that is not up has ended, and the news is on its way.
        self.runs.contains_key(&version)
            || self.pending.values().any(|pending| match pending {
                Pending::To(life, Event::StartFailed(id, _)) => {
                    *life == self.life && *id == version
                }
                _ => false,
            })
    }

    fn temper(&self, version: VersionId) -> Temper {
        self.releases[self.versions[&version] as usize - 1].1
    }

    /// At the end the newest release serves if it can, and one that can, if any ever could.
    fn check_end(&self) {
        let snapshot = self.machine.snapshot();
        let serves = snapshot.serving.map(|version| version.release);
        let Some((newest, temper)) = self.releases.last() else { return };
        match temper {
            Temper::Good | Temper::BindsItself if serves != Some(newest.number) => {
                self.broken("the newest release is good and does not serve");
            }
            _ => {}
        }
        let good = self.machine.retained().good;
        if good.is_some() && serves.is_none() {
            self.broken("a good release is known and nothing serves");
        }
        // What crashes again and again, or is never ready, may be at its next start.
        let serves_badly = snapshot.serving.is_some_and(|version| {
            !matches!(self.temper(version.id), Temper::Good | Temper::BindsItself)
        });
        match snapshot.phase {
            Phase::Serving | Phase::BackingOff | Phase::Idle => {}
            Phase::Starting if serves_badly => {}
            _ => self.broken("a switch does not end"),
        }
        if snapshot.phase == Phase::Serving && !snapshot.healthy {
            self.broken("what serves is not taken for healthy");
        }
        if self.up.len() > 1 {
            self.broken("more than one version is left");
        }
    }

    fn broken(&self, rule: &str) {
        let tempers: Vec<_> = self.releases.iter().map(|(_, temper)| temper).collect();
        panic!(
            "seed {}: {rule}, {:?}, at {:?}; releases {tempers:?}; {:#?}",
            self.seed,
            self.machine.snapshot(),
            self.now,
            self.machine
        );
    }
}
