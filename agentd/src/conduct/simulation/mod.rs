//! Whole fleets in a world of made-up machines, apps and bucket: a seed decides how many there are,
//! what every release is like, how long everything takes, and what fails and dies when. The switch
//! cores and the conductors are the real ones. After each step the rules are checked; a failing seed
//! is named, and runs alone and tells what it does with
//! `SEED=n cargo test -p agentd --lib conduct::simulation -- --nocapture`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deploy::rollout::{Limit, OnFailure, Rules};
use deploy::{Share, Span};

use super::Pace;
use crate::chance::Chance;

mod bucket;
mod costs;
mod rules;
mod vm;
mod world;

use world::World;

/// How many fleets the normal run has.
const SEEDS: u64 = 5_000;

#[test]
fn the_rules_hold_for_every_seed() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    let next = AtomicU64::new(seeds.start);
    let ends: Mutex<BTreeMap<&'static str, u64>> = Mutex::default();
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let mut world = World::new(Plot::of(seed));
            world.run();
            let mut ends = ends.lock().expect("no other has failed");
            world.ends().for_each(|end| *ends.entry(end).or_default() += 1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(run);
        }
    });
    let ends = ends.into_inner().expect("none has failed");
    if seeds.end - seeds.start == SEEDS {
        // Not all of it may come to nothing.
        for end in ["done", "reverted", "halted"] {
            assert!(ends.get(end).is_some_and(|count| *count > 100), "{ends:?}");
        }
    }
}

/// What a seed decides beforehand.
#[derive(Clone, Debug)]
struct Plot {
    seed: u64,
    vms: usize,
    publishes: u64,
    rules: Rules,
    is_graceful: bool,
    /// The bucket answers wrongly, late or not at all; agents, machines and links die.
    has_faults: bool,
    /// Releases that do not do.
    may_be_bad: bool,
    /// People pause, resume and abort.
    has_orders: bool,
    /// Large, and of interest for its counts alone: what looks at each machine at each step is left
    /// out.
    is_quick: bool,
}

impl Plot {
    fn of(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let vms = match chance.below(1_000) {
            0..=4 => 100 + chance.below(401),
            5..=99 => 13 + chance.below(60),
            _ => 3 + chance.below(10),
        };
        let canary = match chance.below(4) {
            0 => Limit::Count(0),
            1 => Limit::Count(2),
            2 => Limit::Part(Share { per_mille: 100 }),
            _ => Limit::Count(1),
        };
        let max_parallel = match chance.below(4) {
            0 => Some(Limit::Count(1)),
            1 => Some(Limit::Part(Share { per_mille: 300 })),
            _ => None,
        };
        let rules = Rules {
            canary,
            bake: Span::from_secs(chance.below(20)),
            max_parallel,
            max_failures: if chance.percent(75) { 0 } else { chance.below(3) as u32 },
            watch_for: Span::from_secs(chance.below(90)),
            on_failure: if chance.percent(75) { OnFailure::Revert } else { OnFailure::Halt },
            stale_after: Span::from_secs(90),
        };
        Self {
            seed,
            vms: usize::try_from(vms).expect("it is small"),
            publishes: 1 + chance.below(4),
            rules,
            is_graceful: chance.percent(70),
            has_faults: chance.percent(60),
            may_be_bad: chance.percent(70),
            has_orders: chance.percent(20),
            is_quick: false,
        }
    }
}

/// What a release is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Good,
    ExitsAtOnce,
    NeverReady,
    /// Is ready, and crashes so long after, each time.
    CrashesAfter(Duration),
    /// Is ready, and its health path fails so long after.
    UnwellAfter(Duration),
    /// Exits at once on every third machine.
    BadSomewhere,
}

impl Temper {
    fn chosen(chance: &mut Chance, may_be_bad: bool) -> Self {
        if !may_be_bad || chance.percent(50) {
            return Self::Good;
        }
        match chance.below(5) {
            0 => Self::ExitsAtOnce,
            1 => Self::NeverReady,
            2 => Self::CrashesAfter(chance.millis(10_000)),
            3 => Self::UnwellAfter(chance.millis(30_000)),
            _ => Self::BadSomewhere,
        }
    }

    fn on(self, vm: usize) -> Self {
        match self {
            Self::BadSomewhere if vm.is_multiple_of(3) => Self::ExitsAtOnce,
            Self::BadSomewhere => Self::Good,
            other => other,
        }
    }
}
