//! The core's decisions, one situation each.

use std::sync::Arc;

use deploy::release::{Artifact, Kind, Release};
use deploy::report::{Phase, Stage};
use deploy::settings::Settings;
use deploy::{Digest, Span, Timestamp, id::Id};

use super::*;

pub(super) fn release(number: u64) -> Arc<Release> {
    release_with(number, |_| {})
}

pub(super) fn release_with(number: u64, change: impl FnOnce(&mut Settings)) -> Arc<Release> {
    let mut settings = Settings { ports: vec![80], ..Settings::default() };
    change(&mut settings);
    Arc::new(Release {
        number,
        id: Id::fixed(format!("r{number}")),
        published: Timestamp::UNIX_EPOCH,
        by: "a@b".into(),
        kind: Kind::Deploy,
        message: None,
        source: None,
        artifact: Artifact { digest: Digest::of(&number.to_le_bytes()), size: 1 },
        environment: None,
        settings,
        rollout: None,
    })
}

/// Drives a machine, and keeps what it did as short words.
struct Drive {
    machine: Machine,
    now: Time,
}

impl Drive {
    fn new() -> Self {
        Self { machine: Machine::new(Retained::default(), 0), now: Time::ZERO }
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        self.machine.step(self.now, event).iter().map(words).collect()
    }

    /// Moves on to the machine's next wake-up.
    fn wake(&mut self) -> Vec<String> {
        self.now = self.machine.wake_at().expect("it waits for a time");
        self.step(Event::Tick)
    }

    /// A first release that serves and has settled, as version 1.
    fn serving(first: Arc<Release>) -> Self {
        let mut drive = Self::new();
        drive.step(Event::Desired(first.clone()));
        drive.step(Event::Fetched(first.id.clone()));
        drive.step(Event::Prepared(VersionId(1), Way::Overlap));
        drive.step(Event::Ready(VersionId(1)));
        drive.wake();
        drive.wake();
        assert_eq!(drive.machine.snapshot().phase, Phase::Serving);
        drive
    }

    /// Brings `release` to where its process was just started, as version `id`.
    fn begin(&mut self, release: &Arc<Release>, id: u32, way: Way) -> Vec<String> {
        self.step(Event::Desired(release.clone()));
        self.step(Event::Fetched(release.id.clone()));
        self.step(Event::Prepared(VersionId(id), way))
    }

    fn serves(&self) -> Option<u64> {
        self.machine.snapshot().serving.map(|version| version.release)
    }
}

pub(super) fn words(action: &Action) -> String {
    match action {
        Action::Fetch(release) => format!("fetch {}", release.number),
        Action::Prepare { version, binds_itself: false, .. } => format!("prepare {}", version.0),
        Action::Prepare { version, .. } => format!("prepare {} that binds itself", version.0),
        Action::Start(id, _) => format!("start {}", id.0),
        Action::ShareOut(id) => format!("share with {}", id.0),
        Action::Steer(id) => format!("steer {}", id.0),
        Action::AwaitIdle(id) => format!("await {}", id.0),
        Action::Terminate(id) => format!("term {}", id.0),
        Action::Kill(id) => format!("kill {}", id.0),
        Action::Discard(id) => format!("discard {}", id.0),
        Action::Record(Record::Switched { release, .. }) => format!("switched v{release}"),
        Action::Record(Record::Done { release }) => format!("done v{release}"),
        Action::Record(Record::Failed { release, stage, message, .. }) => {
            format!("failed v{release} {stage:?}: {message}")
        }
        Action::Record(Record::Crashed { release, .. }) => format!("crashed v{release}"),
        Action::End => "end".into(),
    }
}

fn exited(id: u32, code: i32) -> Event {
    Event::Exited(VersionId(id), Exit { code: Some(code), ..Exit::default() })
}

#[test]
fn overlap_goes_from_fetch_to_the_old_ones_end() {
    let mut drive = Drive::serving(release(1));
    let two = release(2);
    assert_eq!(drive.step(Event::Desired(two.clone())), ["fetch 2"]);
    assert_eq!(drive.machine.snapshot().phase, Phase::Fetching);
    assert_eq!(drive.step(Event::Fetched(two.id.clone())), ["prepare 2"]);
    assert_eq!(drive.step(Event::Prepared(VersionId(2), Way::Overlap)), ["start 2"]);
    assert!(drive.step(Event::Ready(VersionId(2))).is_empty());
    assert_eq!(drive.serves(), Some(1));
    assert_eq!(drive.wake(), ["steer 2", "switched v2"]);
    assert_eq!(drive.serves(), Some(2));
    assert_eq!(drive.wake(), ["await 1", "done v2"]);
    assert_eq!(drive.step(Event::Idle(VersionId(1))), ["term 1"]);
    assert_eq!(drive.machine.wake_at(), None, "drain is unset: it is never killed");
    assert_eq!(drive.step(exited(1, 0)), ["discard 1"]);
}

#[test]
fn the_reserve_takes_its_place_again_when_it_is_wanted() {
    let one = release(1);
    let mut drive = Drive::serving(one.clone());
    drive.begin(&release(2), 2, Way::Overlap);
    drive.step(Event::Ready(VersionId(2)));
    assert_eq!(drive.wake(), ["steer 2", "switched v2"]);
    // It is switched to at once, without another process.
    assert_eq!(drive.step(Event::Desired(one.clone())), ["fetch 1", "steer 1", "await 2"]);
    assert_eq!(drive.serves(), Some(1));
    assert!(drive.step(Event::Fetched(one.id.clone())).is_empty());
    assert_eq!(drive.step(Event::Idle(VersionId(2))), ["term 2"]);
    assert_eq!(drive.machine.retained().good.map(|good| good.number), Some(1));
}

#[test]
fn busy_connections_are_waited_for_five_seconds_and_the_drain_deadline_kills() {
    let mut drive = Drive::serving(release_with(1, |s| s.drain = Some(Span::from_secs(7))));
    drive.begin(&release(2), 2, Way::Overlap);
    drive.step(Event::Ready(VersionId(2)));
    drive.wake();
    assert_eq!(drive.wake(), ["await 1", "done v2"]);
    let began = drive.now;
    assert_eq!(drive.wake(), ["term 1"]);
    assert_eq!(drive.now - began, Time::from_secs(5));
    assert_eq!(drive.wake(), ["kill 1"]);
    assert_eq!(drive.now - began, Time::from_secs(12));
}

#[test]
fn a_release_that_exits_before_it_is_ready_leaves_the_old_one_serving() {
    let mut drive = Drive::serving(release(1));
    drive.begin(&release(2), 2, Way::Overlap);
    assert_eq!(drive.step(exited(2, 3)), ["failed v2 Ready: it exited with code 3", "discard 2"]);
    assert_eq!(drive.serves(), Some(1));
    assert!(drive.step(Event::Desired(release(2))).is_empty(), "it is not tried again");
}

#[test]
fn a_release_that_is_never_ready_is_killed() {
    let mut drive = Drive::serving(release(1));
    drive.begin(&release_with(2, |s| s.ready_within = Span::from_secs(9)), 2, Way::Overlap);
    assert_eq!(drive.wake(), ["failed v2 Ready: it took longer than 9s", "kill 2"]);
    assert_eq!(drive.step(exited(2, 1)), ["discard 2"]);
    assert_eq!(drive.serves(), Some(1));
}

#[test]
fn a_release_that_dies_while_settling_is_switched_away_from() {
    let mut drive = Drive::serving(release(1));
    drive.begin(&release(2), 2, Way::Overlap);
    drive.step(Event::Ready(VersionId(2)));
    assert_eq!(drive.wake(), ["steer 2", "switched v2"]);
    assert_eq!(
        drive.step(exited(2, 2)),
        ["failed v2 Settle: it exited with code 2", "steer 1", "discard 2"]
    );
    assert_eq!(drive.serves(), Some(1));
    assert!(drive.machine.snapshot().healthy);
}

#[test]
fn without_overlap_the_old_one_ends_first_and_comes_back_when_the_new_one_fails() {
    let mut drive = Drive::serving(release(1));
    let two = release_with(2, |s| s.graceful_shutdown = false);
    assert_eq!(drive.begin(&two, 2, Way::Overlap), ["term 1"]);
    let began = drive.now;
    assert_eq!(drive.wake(), ["kill 1"]);
    assert_eq!(drive.now - began, Time::from_secs(5));
    assert_eq!(drive.step(exited(1, 0)), ["start 2"]);
    assert_eq!(
        drive.wake(),
        ["failed v2 Ready: it took longer than 1m", "kill 2"],
        "version 1 waits until 2 has let the port go"
    );
    assert_eq!(drive.step(exited(2, 0)), ["discard 2", "start 1"]);
    assert_eq!(drive.serves(), Some(1));
}

#[test]
fn an_app_that_finds_its_address_in_use_is_tried_again_with_the_old_one_stopped() {
    let mut drive = Drive::serving(release(1));
    drive.begin(&release(2), 2, Way::Overlap);
    let in_use = Exit { code: Some(1), address_in_use: true, ..Exit::default() };
    assert_eq!(drive.step(Event::Exited(VersionId(2), in_use)), ["prepare 2 that binds itself"]);
    let way = Way::StopFirst { note: Some("it binds".into()) };
    assert_eq!(drive.step(Event::Prepared(VersionId(2), way)), ["term 1"]);
    assert_eq!(drive.step(exited(1, 0)), ["start 2"]);
    drive.step(Event::Ready(VersionId(2)));
    assert_eq!(drive.wake(), ["steer 2", "switched v2"]);
}

#[test]
fn a_crashing_app_is_restarted_at_once_then_after_a_pause_that_doubles() {
    let mut drive = Drive::serving(release(1));
    assert_eq!(drive.step(exited(1, 1)), ["crashed v1", "start 1"]);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert_eq!(drive.step(exited(1, 1)), ["crashed v1"]);
        assert_eq!(drive.machine.snapshot().phase, Phase::BackingOff);
        let before = drive.now;
        assert_eq!(drive.wake(), ["start 1"]);
        pauses.push((drive.now - before).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    let crash_loop = drive.machine.snapshot().crash_loop.unwrap();
    assert_eq!((crash_loop.crashes, crash_loop.next_start), (9, None));
    drive.now += Time::from_secs(60);
    assert_eq!(drive.step(exited(1, 1)), ["crashed v1"], "a minute without being ready is none");
    let next_start = drive.machine.snapshot().crash_loop.unwrap().next_start;
    assert_eq!(next_start, Some(drive.now + Time::from_secs(60)));
    drive.wake();
    drive.step(Event::Ready(VersionId(1)));
    assert_eq!(drive.wake(), [""; 0], "it is woken to forget");
    assert_eq!(drive.machine.snapshot().crash_loop, None);
    let said = drive.step(exited(1, 1));
    assert_eq!(said, ["crashed v1", "start 1"], "a minute of health, and it starts at once again");
}

#[test]
fn a_first_release_that_fails_is_tried_on_and_on() {
    let mut drive = Drive::new();
    drive.begin(&release(1), 1, Way::Overlap);
    let said = drive.step(exited(1, 1));
    assert_eq!(said, ["failed v1 Ready: it exited with code 1", "start 1"]);
    drive.step(exited(1, 1));
    drive.begin(&release(2), 2, Way::Overlap);
    drive.step(Event::Ready(VersionId(2)));
    drive.wake();
    assert_eq!(drive.serves(), Some(2));
}

#[test]
fn a_newer_release_wins_at_once() {
    let mut drive = Drive::serving(release(1));
    drive.begin(&release(2), 2, Way::Overlap);
    assert_eq!(drive.step(Event::Desired(release(3))), ["fetch 3", "term 2"]);
    assert_eq!(drive.step(Event::Fetched(release(3).id.clone())), ["prepare 3"]);
    assert_eq!(drive.wake(), ["kill 2"]);
    assert_eq!(drive.serves(), Some(1));
}

#[test]
fn a_release_that_cannot_be_fetched_fails_without_touching_anything() {
    let mut drive = Drive::serving(release(1));
    drive.step(Event::Desired(release(2)));
    let failed = Event::FetchFailed(release(2).id.clone(), "it is damaged".into());
    assert_eq!(drive.step(failed), ["failed v2 Fetch: it is damaged"]);
    assert_eq!(drive.machine.snapshot().phase, Phase::Serving);
}

#[test]
fn an_agent_that_starts_anew_runs_what_was_good_before_anything_newer() {
    let retained = Retained { good: Some(release(1)), rejected: None };
    let mut machine = Machine::new(retained, 0);
    assert_eq!(machine.begin().iter().map(words).collect::<Vec<_>>(), ["prepare 1"]);
    let said = machine.step(Time::ZERO, Event::Desired(release(2)));
    assert_eq!(said.iter().map(words).collect::<Vec<_>>(), ["fetch 2"]);
    let said = machine.step(Time::ZERO, Event::Prepared(VersionId(1), Way::Overlap));
    assert_eq!(said.iter().map(words).collect::<Vec<_>>(), ["start 1"]);
}

#[test]
fn stopping_ends_everything_and_then_the_agent() {
    let mut drive = Drive::serving(release(1));
    drive.begin(&release(2), 2, Way::Overlap);
    drive.step(Event::Ready(VersionId(2)));
    drive.wake();
    assert_eq!(drive.step(Event::Stop), ["await 1", "term 1", "term 2"]);
    assert!(!drive.machine.snapshot().healthy);
    assert_eq!(drive.step(exited(1, 0)), ["discard 1"]);
    assert_eq!(drive.step(exited(2, 0)), ["discard 2", "end"]);
}

#[test]
fn a_failure_says_how_far_the_release_had_come() {
    let mut drive = Drive::serving(release(1));
    drive.begin(&release(2), 2, Way::Overlap);
    let event = Event::StartFailed(VersionId(2), "Exec format error".into());
    let actions = drive.machine.step(drive.now, event);
    assert!(matches!(
        &actions[0],
        Action::Record(Record::Failed { stage: Stage::Start, release: 2, .. })
    ));
}

#[test]
fn at_the_machines_end_the_load_balancer_comes_first() {
    let mut drive = Drive::serving(release_with(1, |settings| {
        settings.shutdown_delay = Span::from_secs(10);
        settings.shutdown_timeout = Span::from_secs(25);
    }));
    assert_eq!(drive.step(Event::ShutDown), [""; 0]);
    assert!(!drive.machine.snapshot().healthy);
    let asked = drive.now;
    assert_eq!(drive.wake(), ["term 1"]);
    assert_eq!(drive.now - asked, Time::from_secs(10));
    assert_eq!(drive.wake(), ["kill 1"]);
    assert_eq!(drive.now - asked, Time::from_secs(35));
    assert_eq!(drive.step(exited(1, 0)), ["discard 1", "end"]);
}

#[test]
fn a_share_of_the_connections_is_given_and_taken_back() {
    let mut drive = Drive::serving(release(1));
    let canary = |number| release_with(number, |it| it.canary_share = "5%".parse().unwrap());
    drive.begin(&canary(2), 2, Way::Overlap);
    assert_eq!(drive.step(Event::Ready(VersionId(2))), ["share with 2"]);
    let failed = drive.step(exited(2, 1));
    assert_eq!(failed[1..], ["steer 1", "discard 2"]);
    drive.begin(&canary(3), 3, Way::Overlap);
    drive.step(Event::Ready(VersionId(3)));
    assert_eq!(drive.step(Event::Desired(release(4))), ["fetch 4", "steer 1", "term 3"]);
}

#[test]
fn an_app_may_ask_for_more_time() {
    let mut drive = Drive::serving(release(1));
    drive.begin(&release(2), 2, Way::Overlap);
    let by = drive.machine.wake_at().unwrap();
    drive.step(Event::Extend(VersionId(2), Time::from_secs(1)));
    assert_eq!(drive.machine.wake_at(), Some(by));
    drive.step(Event::Extend(VersionId(2), Time::from_secs(90)));
    assert_eq!(drive.machine.wake_at(), Some(drive.now + Time::from_secs(90)));
}

#[test]
fn who_says_that_it_is_stopping_is_not_sent_to() {
    let mut drive = Drive::serving(release(1));
    drive.step(Event::Stopping(VersionId(1)));
    assert!(!drive.machine.snapshot().healthy);
}
