//! The core in a world of made-up processes: a seed decides what every release is like, how long
//! everything takes, and when the agent itself dies. After each step the rules are checked; a
//! failing seed is named and runs alone with `SEED=n cargo test -p agentd simulation`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deploy::Span;
use deploy::release::Release;
use deploy::report::Phase;

use super::tests::release_with;
use super::*;

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

/// The splitmix64 generator: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn millis(&mut self, bound: u64) -> Time {
        Time::from_millis(self.below(bound))
    }
}

enum Pending {
    To(u32, Event),
    Publish,
    /// The agent reads the bucket.
    Look,
    KillAgent,
    JumpClock,
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
    up: BTreeSet<VersionId>,
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
            machine: Machine::new(Retained::default()),
            life: 0,
            pending: BTreeMap::new(),
            sequence: 0,
            releases: Vec::new(),
            on_disk: BTreeSet::new(),
            versions: BTreeMap::new(),
            up: BTreeSet::new(),
            steered: None,
            may_end_steered: false,
            failed: BTreeSet::new(),
            publishes_left,
            calm_at: Time::ZERO,
        };
        world.after(Time::ZERO, Pending::Publish);
        for _ in 0..world.chance.below(3) {
            let delay = world.chance.millis(60_000);
            world.after(delay, Pending::KillAgent);
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
            let wake = self.machine.wake_at();
            let next = self.pending.first_key_value().map(|(&(at, _), _)| at);
            match (next, wake) {
                (None, None) => return self.check_end(),
                // An app that crashes now and then does so for ever.
                _ if self.publishes_left == 0 && self.now > self.calm_at => {
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
            Pending::To(life, event) if life == self.life => self.deliver(event),
            Pending::To(..) => {}
            Pending::Publish => self.publish(),
            Pending::Look => {
                if let Some((newest, _)) = self.releases.last() {
                    self.step(Event::Desired(newest.clone()));
                }
            }
            Pending::KillAgent => self.kill_agent(),
            Pending::JumpClock => self.now += Time::from_secs(300),
        }
    }

    fn deliver(&mut self, event: Event) {
        match &event {
            Event::Exited(id, _) if !self.up.remove(id) => return,
            Event::Ready(id) if !self.up.contains(id) => return,
            Event::Fetched(id) => {
                let number = self.releases.iter().find(|(r, _)| r.id == *id).map(|(r, _)| r.number);
                self.on_disk.extend(number);
            }
            _ => {}
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
        let release = release_with(number, |settings| {
            settings.graceful_shutdown = graceful;
            settings.drain = (drain == 0).then_some(Span::from_secs(20));
            settings.ready_within = Span::from_secs(10);
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

    /// The app's processes die with the agent; a new one starts with what was retained.
    fn kill_agent(&mut self) {
        self.life += 1;
        self.up.clear();
        self.versions.clear();
        self.steered = None;
        self.machine = Machine::new(self.machine.retained());
        let actions = self.machine.begin();
        self.act(actions);
        self.after(Time::from_millis(5), Pending::Look);
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
        for action in actions {
            match action {
                Action::Fetch(release) => self.fetch(&release),
                Action::Prepare { version, release, binds_itself } => {
                    self.versions.insert(version, release.number);
                    // Who binds its port by itself shares it with nobody, before or after.
                    let holds = |id: &VersionId| self.temper(*id) == Temper::BindsItself;
                    let alone = binds_itself || self.up.iter().any(holds);
                    let way = if alone { Way::StopFirst { note: None } } else { Way::Overlap };
                    let delay = self.chance.millis(20);
                    self.tell(delay, Event::Prepared(version, way));
                }
                Action::Start(version) => self.start(version),
                Action::Steer(version) => {
                    if !self.up.contains(&version) && !self.has_news_of(version) {
                        self.broken("connections are steered to a version without a process");
                    }
                    self.steered = Some(version);
                }
                Action::AwaitIdle(version) => {
                    let delay = self.chance.millis(9_000);
                    self.tell(delay, Event::Idle(version));
                }
                Action::Terminate(version) => self.end(version, 3_000, Some(0), None),
                Action::Kill(version) => self.end(version, 5, None, Some(9)),
                Action::Discard(version) => {
                    if self.up.contains(&version) {
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
    }

    fn fetch(&mut self, release: &Release) {
        let (delay, id) = (self.chance.millis(2_000), release.id.clone());
        if self.releases[release.number as usize - 1].1 == Temper::CannotBeFetched {
            self.tell(delay, Event::FetchFailed(id, "gone".into()));
        } else {
            self.tell(delay, Event::Fetched(id));
        }
    }

    fn start(&mut self, version: VersionId) {
        self.may_end_steered = false;
        let number = self.versions[&version];
        if !self.on_disk.contains(&number) {
            self.broken("what was not fetched and verified is started");
        }
        if self.up.contains(&version) {
            self.broken("a version is started twice");
        }
        let temper = self.temper(version);
        if temper == Temper::CannotStart {
            return self.tell(Time::ZERO, Event::StartFailed(version, "exec format".into()));
        }
        let alone = self.up.is_empty();
        self.up.insert(version);
        let serving = self.machine.snapshot().serving;
        if serving.is_none_or(|serving| serving.id == version) {
            self.steered = Some(version);
        }
        let (soon, exits) = (self.chance.millis(400), |address_in_use| {
            Event::Exited(version, Exit { code: Some(1), signal: None, address_in_use })
        });
        match temper {
            Temper::ExitsAtOnce => self.tell(soon, exits(false)),
            Temper::BindsItself if !alone => self.tell(soon, exits(true)),
            Temper::NeverReady => {}
            _ => self.tell(soon, Event::Ready(version)),
        }
        match temper {
            Temper::CrashesWhenReady => {
                let later = soon + self.chance.millis(3_000);
                self.tell(later, exits(false));
            }
            Temper::Fragile => {
                let later = soon + Time::from_secs(10) + self.chance.millis(100_000);
                self.tell(later, exits(false));
            }
            _ => {}
        }
    }

    fn end(&mut self, version: VersionId, within: u64, code: Option<i32>, signal: Option<i32>) {
        let serves_well = self.steered == Some(version) && self.up.contains(&version);
        let settled_badly = self.failed.contains(&self.versions[&version]);
        if serves_well && !self.may_end_steered && !settled_badly {
            self.broken("the version that gets the connections is ended");
        }
        let delay = self.chance.millis(within);
        self.tell(delay, Event::Exited(version, Exit { code, signal, address_in_use: false }));
    }

    /// Whether the core has yet to hear that the version has no process.
    fn has_news_of(&self, version: VersionId) -> bool {
        self.pending.values().any(|pending| match pending {
            Pending::To(life, Event::StartFailed(id, _) | Event::Exited(id, _)) => {
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
