//! Many deployers on one bucket, in virtual time, with everything that goes wrong: each run follows
//! from its seed alone.
//!
//! The deployers run the code that `engr` runs, [`crate::publish::swap`] with the rules of
//! [`crate::state`], on a bucket whose calls take their time, fail, lose their answers, come through
//! late or rot. Deployers die at any moment, and their clocks are minutes off and jump. The
//! [`Ledger`] holds what they were told against what lies in the bucket.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use self::deployer::Deployer;
use self::ledger::Ledger;
use crate::fixtures::Random;
use crate::history::History;
use crate::layout;
use crate::store::Generation;
use crate::store::memory::{Fate, Memory, Weather};

mod deployer;
mod ledger;

const SEEDS: u64 = 2_000;

/// By then, in virtual time, every deployer must have come to an end.
const END: Duration = Duration::from_secs(3 * 60 * 60);

/// The longest that a write lies about before it comes through after all.
const LATE_MAX_SECS: usize = 120;

/// What the deployers share.
struct World {
    store: Memory,
    random: Mutex<Random>,
    ledger: Mutex<Ledger>,
    start: Instant,
    /// The longest pause between two things that one deployer does. In some runs all act at once.
    pause_secs_max: usize,
    /// In some runs the app is locked now and then, and less is published.
    with_locks: bool,
}

impl World {
    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// A time of up to so many seconds.
    fn span(&self, secs: usize) -> Duration {
        Duration::from_millis(self.random().below(secs * 1_000) as u64)
    }
}

/// Some runs have a quiet bucket, some a bad one, and some one whose bytes rot.
fn weather(seed: u64) -> Weather {
    let mut random = Random::new(seed ^ 0xbad);
    let (bad, rotten) = ([0, 3, 10][random.below(3)], [0, 0, 2][random.below(3)]);
    Box::new(move |operation, _| {
        let delay = Duration::from_millis(1 + random.below(150) as u64);
        let is_write = operation == "write";
        let fate = match random.below(4) {
            _ if is_write && random.percent(rotten) => Fate::Rots,
            _ if !random.percent(bad) => Fate::Done,
            0 if is_write => Fate::AnswerLost,
            1 if is_write => Fate::AnswerWrong,
            2 if is_write => Fate::Late(Duration::from_secs(random.below(LATE_MAX_SECS) as u64)),
            _ => Fate::Fails,
        };
        (delay, fate)
    })
}

/// Lets the live generation rot now and then, in some runs.
async fn rot(world: Arc<World>) {
    let times = [0, 0, 0, 3][world.random().below(4)];
    for _ in 0..times {
        sleep(world.span(world.pause_secs_max * 3)).await;
        let live = world.store.slots(layout::STATE).len() as u64;
        if live > 0 {
            world.store.rot(layout::STATE, Generation(live));
        }
    }
}

/// One run. Gives the releases that the bucket then knows, and how many generations there are.
async fn simulate(seed: u64) -> (Vec<(u64, String)>, usize) {
    let mut random = Random::new(seed);
    let world = Arc::new(World {
        store: Memory::in_weather(weather(seed)),
        pause_secs_max: [1, 60][random.below(2)],
        with_locks: random.percent(40),
        random: Mutex::new(random),
        ledger: Mutex::default(),
        start: Instant::now(),
    });
    let mut tasks = JoinSet::new();
    let deployers = 2 + world.random().below(3);
    for number in 0..deployers {
        tasks.spawn_local(Deployer::new(Arc::clone(&world), number).run());
    }
    tasks.spawn_local(rot(Arc::clone(&world)));
    timeout(END, tasks.join_all()).await.expect("the deployers come to an end");
    // What is late comes through, and then all is quiet.
    sleep(Duration::from_secs(LATE_MAX_SECS as u64)).await;
    world.store.turn(Box::new(|_, _| (Duration::ZERO, Fate::Done)));

    let slots = world.store.slots(layout::STATE);
    world.ledger().check(&slots);
    let history = History::read(&world.store).await.unwrap();
    let releases = history.releases.iter().map(|release| (release.number, release.by.clone()));
    (releases.collect(), slots.len())
}

fn run(seed: u64) -> (Vec<(u64, String)>, usize) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, simulate(seed))
}

/// Runs all seeds, and gives how many releases and generations came of them.
fn run_all(seeds: Range<u64>) -> (usize, usize) {
    seeds.fold((0, 0), |(releases, generations), seed| {
        // The seed of a run that fails is all that is needed to see it again.
        let (released, written) = std::panic::catch_unwind(|| run(seed))
            .unwrap_or_else(|_| panic!("the run with seed {seed} failed, see above"));
        (releases + released.len(), generations + written)
    })
}

#[test]
fn the_rules_hold_whatever_happens() {
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| run_all(0..SEEDS / 2));
        let second = run_all(SEEDS / 2..SEEDS);
        (first.join().expect("the other half holds too"), second)
    });
    let (releases, generations) = (first.0 + second.0, first.1 + second.1);
    // Not all of it may come to nothing.
    assert!(releases as u64 > SEEDS * 2, "{releases} releases");
    assert!(generations > releases * 2, "{generations} generations, {releases} releases");
}

#[test]
fn a_run_follows_from_its_seed() {
    for seed in [1, 7, 42] {
        assert_eq!(run(seed), run(seed));
    }
}
