//! What is said of each end.

use std::time::Instant;

use deploy::report::{self, Phase, Stage as FailedAt};
use deploy::rollout::{Halt, Progress, Standing};

use super::super::fixtures::{at, done, failure, halt, progress, release, view};
use super::*;

type Said = (Exit, Outcome, String, Vec<String>);

fn said(end: End, views: Vec<InstanceView>) -> Said {
    said_of(end, Seen::default(), views)
}

fn said_of(end: End, seen: Seen, views: Vec<InstanceView>) -> Said {
    let release = release(7);
    let followed = Followed {
        app: "hello",
        release: &release,
        undo: Some("engr hello rollback v6".into()),
        began: Instant::now(),
        addresses: Vec::new(),
        how_to_make: "make them with `engr hello sync`".into(),
    };
    let ended = Ended { followed: &followed, end, seen, views };
    let ((exit, outcome), (message, hints)) =
        (ended.exit(), ended.message(Duration::from_secs(900)));
    (exit, outcome, message, hints)
}

fn seen(stage: Stage, halt: Option<Halt>) -> Seen {
    Seen { progress: Some(Progress { halt, ..progress(stage) }), ..Seen::default() }
}

#[test]
fn the_last_switch_counts() {
    let (release, later) = (release(7), at("2026-11-22T10:00:01.5Z"));
    let followed = Followed {
        app: "hello",
        release: &release,
        undo: None,
        began: Instant::now(),
        addresses: vec!["http://127.0.0.1:8080".into()],
        how_to_make: "make them with `engr hello sync`".into(),
    };
    let views = vec![
        view("hello-1", Standing::Done { switched: later, note: None }),
        view("hello-2", done()),
    ];
    let result = Ended {
        followed: &followed,
        end: End::Verdict(Verdict::Done),
        seen: Seen::default(),
        views,
    }
    .result();
    assert_eq!(result.publish_to_last_switch_seconds, Some(1.5));
    assert_eq!(result.address.as_deref(), Some("http://127.0.0.1:8080"));
}

#[test]
fn a_failed_release_says_what_serves_on() {
    let fail = || view("hello-1", Standing::Failed(failure(FailedAt::Ready)));
    let (exit, outcome, message, _) = said(End::Verdict(Verdict::Failed), vec![fail(), fail()]);
    assert_eq!((exit, outcome), (Exit::ReleaseFailed, Outcome::Failed));
    assert_eq!(message, "v7 failed on all 2 instances; v6 serves on");
    let first = InstanceView { serving: None, ..fail() };
    let (.., message, _) = said(End::Verdict(Verdict::Failed), vec![first]);
    assert_eq!(message, "v7 failed on 1 instance; nothing serves in its place");
    let (exit, _, message, hints) =
        said(End::Verdict(Verdict::Mixed), vec![fail(), view("hello-2", done())]);
    assert_eq!(exit, Exit::Mixed);
    assert_eq!(
        message,
        "v7 failed on 1 of 2 instances and serves on the rest; there, v6 serves on"
    );
    assert_eq!(hints, ["go back with `engr hello rollback v6`"]);
}

#[test]
fn who_is_sent_to_the_lines_finds_some() {
    let hints = |stage| {
        let failed = view("hello-1", Standing::Failed(failure(stage)));
        said(End::Verdict(Verdict::Failed), vec![failed]).3
    };
    let of_the_release = "see more of its lines with `engr hello logs --release v7`";
    assert_eq!(hints(FailedAt::Ready), [of_the_release]);
    assert_eq!(hints(FailedAt::Fetch), ["the agents' lines say more: `engr hello logs`"]);
}

#[test]
fn none_of_none_is_no_success() {
    let (exit, outcome, message, _) = said(End::Verdict(Verdict::NoInstances), Vec::new());
    assert_eq!((exit, outcome), (Exit::ReleaseFailed, Outcome::NoInstances));
    assert_eq!(message, "v7 is published, and hello has no instance to run it");
}

#[test]
fn who_leaves_early_learns_what_goes_on() {
    let mut dead = view("hello-2", Standing::Behind);
    dead.down = true;
    let views = || {
        vec![
            view("hello-1", done()),
            dead.clone(),
            view("hello-3", Standing::Underway(Phase::Fetching)),
        ]
    };
    let (exit, _, message, hints) = said(End::TimedOut(Duration::from_secs(900)), views());
    assert_eq!(exit, Exit::TimedOut);
    assert_eq!(
        message,
        "v7 has not ended after 15m 0s, and its rollout goes on: hello-2's agent does not run; \
         hello-3 is fetching"
    );
    assert_eq!(hints, ["come back with `engr hello wait v7`"]);
    let (exit, _, message, _) = said(End::Interrupted, views());
    assert_eq!(exit, Exit::Interrupted);
    assert_eq!(message, "safe to leave: the rollout of v7 goes on");
    let (exit, outcome, message, _) = said(End::Verdict(Verdict::Superseded { by: 8 }), views());
    assert_eq!((exit, outcome), (Exit::Lost, Outcome::Superseded));
    assert_eq!(message, "v8 took the place of v7 before it had ended");
}

#[test]
fn what_was_taken_back_says_where_and_why_and_what_serves() {
    let back = || view("hello-1", Standing::Reverted);
    let reverted = End::Verdict(Verdict::Reverted);
    let seen = seen(Stage::Reverted, Some(halt()));
    let (exit, outcome, message, hints) =
        said_of(reverted, seen.clone(), vec![back(), view("hello-2", Standing::Reverted)]);
    assert_eq!((exit, outcome), (Exit::ReleaseFailed, Outcome::Reverted));
    let what = "v7 was taken back after 12 s: hello-2: exited with code 3; v6 serves on";
    assert_eq!(message, what);
    let next =
        "what runs stays until the next release: `engr hello deploy`, or `engr hello rollback vN`";
    assert_eq!(hints, [next]);
    // Nobody knows whether it is back.
    let away = InstanceView { down: true, ..view("hello-2", Standing::Waiting) };
    let (exit, outcome, message, _) = said_of(reverted, seen, vec![back(), away]);
    assert_eq!((exit, outcome), (Exit::Mixed, Outcome::Reverted));
    assert_eq!(message, format!("{what}; hello-2's agent does not run"));
}

#[test]
fn the_last_lines_of_an_app_that_failed_while_it_was_watched_are_the_conductors() {
    let release = release(7);
    let followed = Followed {
        app: "hello",
        release: &release,
        undo: None,
        began: Instant::now(),
        addresses: Vec::new(),
        how_to_make: String::new(),
    };
    let failure = failure(report::Stage::Serve);
    let halt = Halt { failure: Some(failure.clone()), ..halt() };
    let lines = |views| {
        let seen = seen(Stage::Reverted, Some(halt.clone()));
        let end = End::Verdict(Verdict::Reverted);
        Ended { followed: &followed, end, seen, views }.last_lines()
    };
    let shown = ["hello-2, last lines", "  │ boot", "  │ panic: no database"];
    assert_eq!(lines(vec![view("hello-2", Standing::Reverted)]), shown);
    let failed = view("hello-2", Standing::Failed(failure));
    assert_eq!(lines(vec![failed]), shown, "once");
}

#[test]
fn what_is_halted_says_how_to_go_on() {
    let views = vec![view("hello-1", done()), view("hello-2", Standing::Waiting)];
    let (exit, outcome, message, hints) =
        said_of(End::Halted, seen(Stage::Halted, Some(halt())), views);
    assert_eq!((exit, outcome), (Exit::Mixed, Outcome::Halted));
    let what = "v7 was halted after 12 s: hello-2: exited with code 3; it serves on 1 of 2";
    assert_eq!(message, what);
    assert_eq!(
        hints,
        [
            "go on, whatever has failed until now, with `engr hello resume`",
            "take it back with `engr hello abort`, or go back with `engr hello rollback v6`",
        ]
    );
}

#[test]
fn who_was_passed_over_is_named() {
    let silent = Some(Duration::from_secs(120));
    let away = InstanceView { silent, ..view("hello-2", Standing::Waiting) };
    let mixed = End::Verdict(Verdict::Mixed);
    let (exit, outcome, message, hints) = said(mixed, vec![view("hello-1", done()), away.clone()]);
    assert_eq!((exit, outcome), (Exit::Mixed, Outcome::Mixed));
    assert_eq!(message, "v7 serves on 1 of 2 instances: hello-2 has not reported for 2m 0s");
    assert_eq!(
        hints,
        [
            "who is away comes to the newest release by itself when it is back: `engr hello status`",
            "go back with `engr hello rollback v6`",
        ]
    );
    let failed = view("hello-3", Standing::Failed(failure(FailedAt::Ready)));
    let (_, _, message, _) = said(mixed, vec![view("hello-1", done()), away, failed]);
    assert_eq!(
        message,
        "v7 failed on 1 of 3 instances, where v6 serves on; hello-2 has not reported for 2m 0s"
    );
}

#[test]
fn what_the_fleet_has_taken_on_is_said_once_it_serves() {
    let release = release(7);
    let followed = Followed {
        app: "hello",
        release: &release,
        undo: None,
        began: Instant::now(),
        addresses: Vec::new(),
        how_to_make: String::new(),
    };
    let is_watched = |seen| {
        let (end, views) = (End::Verdict(Verdict::Done), Vec::new());
        Ended { followed: &followed, end, seen, views }.is_watched()
    };
    assert!(is_watched(seen(Stage::Watching, None)) && is_watched(Seen::default()));
    assert!(!is_watched(seen(Stage::Done, None)));
    assert!(!is_watched(Seen { newer: Some(8), ..Seen::default() }));
}
