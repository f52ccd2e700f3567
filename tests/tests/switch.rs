//! From one release to the next, for every kind of app and both ways of `graceful-shutdown`, with
//! real agents.

use std::path::PathBuf;

use deploy::log_line::Stream;
use serde_json::json;
use tests::apps;
use tests::engr::{binary, needs};
use tests::fleet::{APP, Fleet, Line};

const STOPPED_FIRST: &str = "the old version was stopped first";

/// How the agent brought `release` about: whether the one before still ran when it was started.
fn overlapped(fleet: &Fleet, release: u64) -> bool {
    let logs = fleet.logs();
    let agent: Vec<&Line> = logs.iter().filter(|line| line.stream == Stream::Agent).collect();
    let mark = |release: u64| format!(" release={release} ");
    let started = agent
        .iter()
        .position(|line| line.text.contains("started") && line.text.contains(&mark(release)));
    // The last one, as an attempt may have come before.
    let ended = agent.iter().rposition(|line| {
        (line.text.contains("exited with") || line.text.contains("was ended by"))
            && line.text.contains(&mark(release - 1))
    });
    let started = started.unwrap_or_else(|| panic!("v{release} was never started: {agent:#?}"));
    ended.is_none_or(|ended| started < ended)
}

/// Deploys another artifact; gives what `engr` said of it.
#[track_caller]
fn next(fleet: &Fleet, release: u64) -> String {
    fleet.tag(&format!("v{release}"));
    let done = fleet.must(&["deploy"]);
    fleet.assert_serves(release);
    assert_eq!(fleet.app_processes_of(release).len(), 1, "{}", fleet.story());
    done.to_string()
}

/// An app of that kind, whose versions can run side by side.
#[track_caller]
fn overlaps(fleet: &mut Fleet) {
    for (release, graceful) in [(1, true), (2, true), (3, false)] {
        fleet.set("graceful-shutdown", json!(graceful));
        let said = next(fleet, release);
        assert!(!said.contains(STOPPED_FIRST), "{said}");
        if release > 1 {
            assert_eq!(overlapped(fleet, release), graceful, "v{release}:\n{}", fleet.story());
        }
    }
}

/// The same under load, where no request may fail in any of it.
#[track_caller]
fn overlaps_under_load(fleet: &mut Fleet, mut next: impl FnMut(&Fleet, u64) -> String) {
    next(fleet, 1);
    let loads = fleet.load();
    for (release, graceful) in [(2, true), (3, false), (4, true)] {
        loads.go_on();
        fleet.set("graceful-shutdown", json!(graceful));
        let said = next(fleet, release);
        assert!(!said.contains(STOPPED_FIRST), "{said}");
        assert_eq!(overlapped(fleet, release), graceful, "v{release}:\n{}", fleet.story());
    }
    loads.go_on();
    loads.assert_none_failed(fleet);
}

#[test]
fn a_rust_app_with_the_library() {
    let mut fleet = Fleet::alone(1).with_test_app("engineer");
    overlaps_under_load(&mut fleet, next);
}

#[test]
fn a_go_app_with_the_library_built_from_its_source() {
    needs("go", "version");
    let mut fleet = Fleet::alone(1);
    fleet.set("build", json!(null));
    fleet.set("package", json!("./source"));
    let source: PathBuf = fleet.place().path().join("source");
    overlaps_under_load(&mut fleet, |fleet, release| {
        let _ = std::fs::remove_dir_all(&source);
        apps::copy_go_source(&source, &format!("build-{release}")).expect("the source");
        let done = fleet.must(&["deploy"]);
        fleet.assert_serves(release);
        let answer = fleet.get("/").expect("an answer");
        assert!(answer.body.contains(&format!("build-{release}")), "{answer:?}");
        done.to_string()
    });
}

#[test]
fn an_app_that_takes_handed_sockets_by_itself() {
    let mut fleet = Fleet::new(1);
    fleet.program(&binary("plain-listen-fds"));
    fleet.set("health", json!({"path": "/health"}));
    overlaps(&mut fleet);
}

#[test]
fn an_app_that_binds_with_so_reuseport_by_itself() {
    let mut fleet = Fleet::new(1);
    fleet.program(&binary("plain-reuseport"));
    fleet.set("health", json!({"path": "/health"}));
    overlaps(&mut fleet);
}

#[test]
fn an_app_that_just_binds_its_port_is_stopped_first_and_people_are_told() {
    let mut fleet = Fleet::new(1);
    fleet.program(&binary("plain-bind"));
    fleet.set("health", json!({"path": "/health"}));
    for (release, graceful) in [(1, true), (2, true), (3, false)] {
        fleet.set("graceful-shutdown", json!(graceful));
        let said = next(&fleet, release);
        // Nobody needs to be told of what they asked for.
        let told = said.contains("it binds its port by itself, without SO_REUSEPORT");
        assert_eq!(told && said.contains(STOPPED_FIRST), release == 2, "{said}");
        assert!(release == 1 || !overlapped(&fleet, release), "{}", fleet.story());
    }
}

/// Its bytes promise that it takes sockets and says when it is ready; what it does tells better. A
/// new artifact is believed anew, and so follows on the old version's end; what is known to bind by
/// itself overlaps where it can.
#[test]
fn an_app_whose_bytes_promise_more_than_it_does_is_found_out() {
    for mode in ["bind", "reuseport"] {
        let mut fleet = Fleet::new(1).with_test_app(mode);
        fleet.set("health", json!({"path": "/health"}));
        next(&fleet, 1);
        let said = next(&fleet, 2);
        assert!(said.contains(STOPPED_FIRST), "{said}");
        assert!(!overlapped(&fleet, 2), "{}", fleet.story());
        fleet.publish(&["restart"]);
        assert_eq!(overlapped(&fleet, 3), mode == "reuseport", "{}", fleet.story());
    }
}

#[test]
fn a_worker() {
    let mut fleet = Fleet::new(1).with_test_app("worker");
    fleet.set("port", json!(null));
    fleet.set("server", json!(false));
    overlaps(&mut fleet);
}

/// It neither says that it is ready nor can be asked: it is taken for ready after five seconds.
#[test]
fn a_silent_worker() {
    let mut fleet = Fleet::new(2);
    fleet.script("#!/bin/sh\necho at work\nwhile :; do sleep 0.2; done\n");
    fleet.set("port", json!(null));
    fleet.set("server", json!(false));
    let began = std::time::Instant::now();
    fleet.deploy();
    assert!(began.elapsed().as_secs() >= 5, "{}", fleet.story());
    let lines = fleet.logs();
    let said = lines.iter().filter(|line| line.text == "at work" && line.release == Some(1));
    assert_eq!(said.count(), 2, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.instance == format!("{APP}-3")).count(), 0);
}
