//! What is told of each instance.

use deploy::report::{CrashLoop, Ending, Outcome};

use super::super::fixtures::{at, failure, release, report, view};
use super::*;

fn lines(tracker: &mut Tracker<'_>, view: InstanceView) -> Vec<Option<String>> {
    let told = tracker.step(&[view]).into_iter();
    told.map(|told| told.line.map(|line| line.trim().to_owned())).collect()
}

#[test]
fn a_switch_is_told_once() {
    let release = release(7);
    let mut tracker = Tracker::new("hello", &release);
    let switched = at("2026-11-22T10:00:00.210Z");
    for standing in [Standing::Behind, Standing::Underway(Phase::Starting)] {
        assert_eq!(lines(&mut tracker, view("hello-1", standing.clone())), [None]);
        assert_eq!(lines(&mut tracker, view("hello-1", standing)), []);
    }
    assert_eq!(
        lines(&mut tracker, view("hello-1", Standing::Settling { switched, note: None })),
        [Some("hello-1  switched to v7 after 0.210 s".into())]
    );
    let done = view("hello-1", Standing::Done { switched, note: None });
    assert_eq!(lines(&mut tracker, done.clone()), [None]);
    assert_eq!(done.event(&release).seconds, Some(0.21));
}

#[test]
fn a_switch_that_was_not_seen_settling_is_told_with_its_note() {
    let release = release(7);
    let mut tracker = Tracker::new("hello", &release);
    let switched = at("2026-11-22T10:00:01.5Z");
    let note = Some("stopped the old version first".into());
    assert_eq!(
        lines(&mut tracker, view("hello-1", Standing::Done { switched, note })),
        [Some("hello-1  switched to v7 after 1.5 s; stopped the old version first".into())]
    );
}

#[test]
fn a_dead_agent_is_named_and_its_switch_told_when_it_lives_again() {
    let release = release(7);
    let mut tracker = Tracker::new("hello", &release);
    let switched = at("2026-11-22T10:00:00.210Z");
    let mut dead = view("hello-1", Standing::Settling { switched, note: None });
    dead.down = true;
    assert_eq!(
        lines(&mut tracker, dead.clone()),
        [Some("hello-1  its agent does not run; `engr hello sync` starts it".into())]
    );
    dead.down = false;
    assert_eq!(lines(&mut tracker, dead), [Some("hello-1  switched to v7 after 0.210 s".into())]);
}

#[test]
fn a_failure_says_how_far_it_came_and_how_it_ended() {
    assert_eq!(failed(&failure(Stage::Ready)), "failed to become ready: it ended (exit code 3)");
    let said = Failure { message: "exited with code 3".into(), ..failure(Stage::Fetch) };
    assert_eq!(failed(&said), "failed to fetch: exited with code 3");
    let killed = Failure { exit_code: None, signal: Some(9), ..failure(Stage::Settle) };
    assert_eq!(failed(&killed), "failed soon after it was ready: it ended (signal 9, SIGKILL)");
}

#[test]
fn what_was_taken_back_is_told_where_it_had_served() {
    let release = release(7);
    let mut tracker = Tracker::new("hello", &release);
    let switched = at("2026-11-22T10:00:00.210Z");
    lines(&mut tracker, view("hello-1", Standing::Settling { switched, note: None }));
    let back = [Some("hello-1  is back at v6".to_owned())];
    assert_eq!(lines(&mut tracker, view("hello-1", Standing::Reverted)), back);
    assert_eq!(lines(&mut tracker, view("hello-2", Standing::Reverted)), [None]);
}

#[test]
fn who_is_silent_or_not_well_is_named() {
    let release = release(7);
    let mut tracker = Tracker::new("hello", &release);
    let done = view("hello-1", super::super::fixtures::done());
    let silent = InstanceView { silent: Some(Duration::from_secs(120)), ..done.clone() };
    let told = [Some("hello-1  has not reported for 2m 0s".to_owned())];
    assert_eq!(lines(&mut tracker, silent.clone()), told);
    let why = "/health answers 500".to_owned();
    let unwell = InstanceView { unwell: Some(why), ..done.clone() };
    let told = [Some("hello-1  is not well: /health answers 500".to_owned())];
    assert_eq!(lines(&mut tracker, unwell.clone()), told);
    assert_eq!(silent.missing().unwrap(), "hello-1 has not reported for 2m 0s");
    assert_eq!(unwell.missing().unwrap(), "hello-1 is not well: /health answers 500");
    assert_eq!((done.missing(), done.is_good()), (None, true));
    assert!(!silent.is_good() && !unwell.is_good());
}

#[test]
fn a_view_is_what_the_report_says_of_this_release() {
    let of = |pid, report: Option<&Report>| {
        let name = "hello-1".to_owned();
        let instance = Instance { name, agent_pid: pid, addresses: Vec::new() };
        InstanceView::new(&instance, report, 7, None)
    };
    let time = at("2026-11-22T10:00:00.210Z");
    let mut one = report("hello-1", time);
    let ended = Some(Ending::Done);
    let switched = Some(time);
    one.outcomes = vec![Outcome { release: 7, switched, ended, note: None, reverted: None }];
    one.seen = Some(7);
    let version = |release, unwell: Option<&str>| Version {
        release,
        pid: 1,
        started: time,
        restarts: 0,
        status: None,
        unwell: unwell.map(str::to_owned),
    };
    one.serving = Some(version(7, Some("/ answers 500")));
    assert_eq!(of(Some(1), Some(&one)).unwrap().unwell.as_deref(), Some("/ answers 500"));
    one.crash_loop = Some(CrashLoop { crashes: 3, next_start: None });
    let view = of(Some(1), Some(&one)).unwrap();
    assert_eq!(view.unwell.as_deref(), Some("it has crashed 3 times in a row"));
    // Another version's troubles are not this release's.
    one.serving = Some(version(6, None));
    assert_eq!(of(Some(1), Some(&one)).unwrap().unwell, None);
    let down = of(None, None).unwrap();
    assert_eq!((down.phase(), down.is_live(), down.serving), ("down", false, None));
    one.left = Some(time);
    assert_eq!(of(Some(1), Some(&one)), None, "its machine has ended");
}
