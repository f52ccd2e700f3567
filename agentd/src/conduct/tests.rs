//! The core's decisions, one situation each.

use std::sync::Arc;
use std::time::Duration;

use deploy::desired_agent::order_key;
use deploy::id::Id;
use deploy::release::{Artifact, Draft, Kind};
use deploy::report::{Agent, Phase, Report};
use deploy::rollout::progress::LEASE;
use deploy::rollout::{Mark, Plan, Progress, Stage};
use deploy::settings::Settings;
use deploy::state::State;
use deploy::store::{Expect, Generation};
use deploy::{Digest, Timestamp};

use super::*;

fn published(number: u64) -> State {
    let mut state = State::new("app");
    for number in 1..=number {
        let draft = Draft {
            id: Id::fixed(format!("r{number}")),
            by: "a@b".to_owned(),
            kind: Kind::Deploy,
            message: None,
            source: None,
            artifact: Artifact { digest: Digest::of(b""), size: 0 },
            environment: None,
            settings: Settings::default(),
            rollout: Plan { instances: 3, ..Plan::default() },
        };
        state = state.published(draft, None, None, Timestamp::UNIX_EPOCH).unwrap();
    }
    state
}

/// A core, and the bucket that it writes to.
struct Drive {
    core: Core,
    now: Time,
    generation: u64,
}

impl Drive {
    fn new(name: &str) -> Self {
        let core = Core::new(name, Id::fixed(format!("life of {name}")), Pace::PAID);
        Self { core, now: Duration::from_secs(1), generation: 0 }
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.core.step(self.now, Timestamp::UNIX_EPOCH, event)
    }

    /// Moves on to the core's next wake-up.
    fn wake(&mut self) -> Vec<Action> {
        self.now = self.core.wake_at().expect("it waits for a time").max(self.now);
        self.step(Event::Tick)
    }

    fn seen(&mut self, progress: &Progress) -> Vec<Action> {
        self.generation += 1;
        self.step(Event::Seen(Generation(self.generation), Box::new(progress.clone())))
    }

    /// Its write comes through, and it hears of it.
    fn written(&mut self, progress: &Progress) -> Vec<Action> {
        self.generation += 1;
        let done = Written::Done(Generation(self.generation));
        self.step(Event::Written(Box::new(progress.clone()), done))
    }
}

#[track_caller]
fn the_write(actions: &[Action]) -> (Progress, Expect) {
    let writes: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Write(progress, expect) => Some((Progress::clone(progress), *expect)),
            Action::List | Action::Look => None,
        })
        .collect();
    let [write] = &writes[..] else { panic!("{actions:?}") };
    write.clone()
}

/// One that conducts release 1, with nothing decided yet.
fn conductor() -> (Drive, Progress) {
    let mut drive = Drive::new("app-1");
    drive.step(Event::State(Arc::new(published(1))));
    assert!(matches!(drive.wake()[..], [Action::Look]));
    let (begun, expect) = the_write(&drive.step(Event::Absent));
    assert_eq!((begun.stage, begun.mark, expect), (Stage::Canary, Mark::None, Expect::Absent));
    assert!(matches!(drive.written(&begun)[..], [Action::List]));
    (drive, begun)
}

fn report(name: &str) -> Report {
    Report {
        instance: name.to_owned(),
        written: Timestamp::UNIX_EPOCH,
        agent: Agent {
            pid: 1,
            launcher: None,
            version: "1".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            digest: None,
            update: None,
            bad: Vec::new(),
        },
        looked: None,
        addresses: Vec::new(),
        seen: Some(1),
        waits: Some(1),
        phase: Phase::Idle,
        serving: None,
        draining: Vec::new(),
        outcomes: Vec::new(),
        left: None,
        crash_loop: None,
        last_failure: None,
    }
}

#[test]
fn whoever_finds_nobody_conducts() {
    let (mut drive, begun) = conductor();
    // It lets the first on, not before an object bears another write.
    let listed = Event::Listed(vec![report("app-1"), report("app-2")]);
    assert!(drive.step(listed).is_empty());
    let (next, expect) = the_write(&drive.wake());
    let first = ["app-1", "app-2"].map(|name| order_key(&Id::fixed("r1"), name)).into_iter().min();
    assert_eq!(next.mark, Mark::UpTo(first.unwrap()));
    assert_eq!(expect, Expect::Generation(Generation(1)));
    assert_eq!(next.conductor.beat, begun.conductor.beat + 1);
}

#[test]
fn whoever_finds_somebody_waits_for_a_lease_and_no_longer() {
    let (_, begun) = conductor();
    let mut other = Drive::new("app-2");
    other.step(Event::State(Arc::new(published(1))));
    assert!(matches!(other.wake()[..], [Action::Look]));
    assert!(other.seen(&begun).is_empty());
    let heard = other.now;
    assert!(matches!(other.wake()[..], [Action::Look]));
    assert!(other.now >= heard + LEASE);
    // It is as it was: its conductor is gone.
    let generation = Generation(other.generation);
    let (taken, expect) = the_write(&other.step(Event::Seen(generation, Box::new(begun.clone()))));
    assert_eq!(expect, Expect::Generation(generation));
    assert_eq!(taken.conductor.by, "app-2");
    assert!(taken.says_the_same(&begun));
}

#[test]
fn an_answer_that_was_lost_loses_no_lease() {
    let (mut drive, _) = conductor();
    drive.step(Event::Listed(vec![report("app-1")]));
    let (next, _) = the_write(&drive.wake());
    // Perhaps it came through, perhaps not: the same is written again, and found to be there.
    drive.step(Event::Written(Box::new(next.clone()), Written::Unknown));
    let (again, _) = the_write(&drive.wake());
    assert!(again.says_the_same(&next));
    let looks = drive.step(Event::Written(Box::new(again), Written::Lost));
    assert!(looks.iter().any(|action| matches!(action, Action::Look)), "{looks:?}");
    drive.seen(&next);
    // It goes on, and gives nobody the time of a lease.
    assert!(drive.core.wake_at().unwrap() < drive.now + LEASE);
}

#[test]
fn what_was_taken_away_is_written_anew() {
    let (mut drive, _) = conductor();
    drive.step(Event::Listed(vec![report("app-1")]));
    let (next, _) = the_write(&drive.wake());
    drive.step(Event::Written(Box::new(next), Written::Lost));
    assert!(matches!(drive.step(Event::Absent)[..], [Action::Look]));
    let (anew, expect) = the_write(&drive.step(Event::Absent));
    assert_eq!((anew.stage, expect), (Stage::Canary, Expect::Absent));
}

#[test]
fn another_conductor_is_given_way_to() {
    let (mut drive, begun) = conductor();
    let mut other = begun;
    (other.conductor.by, other.conductor.life) = ("app-2".to_owned(), Id::fixed("another life"));
    assert!(drive.seen(&other).is_empty());
    assert!(drive.core.wake_at().unwrap() >= drive.now + LEASE);
}

#[test]
fn whose_view_is_old_leaves_a_newer_rollout_alone() {
    let mut newer = Drive::new("app-2");
    newer.step(Event::State(Arc::new(published(2))));
    newer.wake();
    let (second, _) = the_write(&newer.step(Event::Absent));
    let (mut drive, _) = conductor();
    assert!(drive.seen(&second).is_empty());
    assert!(!drive.core.is_active());
    assert_eq!((drive.core.wake_at(), drive.core.rolling()), (None, None));
    // When it has seen the release too, it follows.
    drive.step(Event::State(Arc::new(published(2))));
    assert!(drive.core.is_active());
}

#[test]
fn what_has_ended_is_left_alone() {
    let (mut drive, begun) = conductor();
    let done = Progress { stage: Stage::Done, mark: Mark::All, ..begun };
    assert!(drive.seen(&done).is_empty());
    assert_eq!((drive.core.wake_at(), drive.core.rolling()), (None, None));
}

#[test]
fn whoever_is_soon_taken_for_silent_reports_more_often() {
    let report = |stale_after| {
        let mut drive = Drive::new("app-1");
        let mut state = published(1);
        let plan = state.release.as_mut().unwrap().rollout.as_mut().unwrap();
        plan.rules.stale_after = deploy::Span::from_secs(stale_after);
        drive.step(Event::State(Arc::new(state)));
        drive.core.rolling().unwrap().report.as_secs()
    };
    assert_eq!((report(6), report(90), report(900)), (2, 30, 30));
}

#[test]
fn a_large_fleet_asks_less_often() {
    let pace = |instances| Pace::PAID.of(instances);
    assert_eq!((pace(3).list.as_secs(), pace(3).look.as_secs()), (1, 1));
    assert_eq!((pace(1_000).list.as_secs(), pace(1_000).look.as_secs()), (5, 1));
    assert_eq!((pace(10_000).list.as_secs(), pace(10_000).look.as_secs()), (10, 10));
}
