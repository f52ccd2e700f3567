//! Broken releases, under load: the old one serves on, and whoever deployed learns why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::engr::{Transcript, binary};
use tests::fleet::{CLIENTS, Fleet, Loads};

/// Fails the test unless `done` tells of a failed release on every instance and v1 serves on, as
/// the load has seen.
#[track_caller]
fn assert_failed(fleet: &Fleet, loads: &Loads, done: &Transcript, says: &[&str]) {
    assert_eq!(done.code, Some(20), "{done}\n{}", fleet.story());
    for instance in ["shop-1", "shop-2"] {
        let told = done.stdout.lines().any(|line| line.trim_start().starts_with(instance));
        assert!(told, "no word of {instance} in:\n{done}");
    }
    for said in says {
        assert!(done.to_string().contains(said), "no {said:?} in:\n{done}");
    }
    assert!(done.stderr.contains("failed on all 2 instances; v1 serves on"), "{done}");
    loads.go_on();
    for instance in fleet.status().instances {
        assert_eq!(instance.release, Some(1), "{}", fleet.story());
    }
    for _ in 0..4 {
        assert_eq!(fleet.get("/").expect("an answer").release(), Some(1), "{}", fleet.story());
    }
}

/// Two instances that serve v1, and load on them.
fn serving() -> (Fleet, Loads) {
    let fleet = Fleet::alone(2).with_test_app("engineer");
    fleet.deploy();
    let loads = fleet.load();
    loads.go_on();
    (fleet, loads)
}

#[test]
fn what_ends_or_hangs_before_it_is_proven_reaches_no_client() {
    let (mut fleet, loads) = serving();
    let cases: [(&str, &[&str]); 3] = [
        (
            "exit:7",
            &[
                "failed to become ready: it exited with code 7",
                "shop-1, last lines",
                "│ line 3 of 3 about why this release cannot start",
            ],
        ),
        ("never-ready", &["failed to become ready: it took longer than 1s", "never-ready"]),
        (
            "crash-after:100",
            &[
                "failed soon after it was ready: it exited with code 3",
                "│ crashing 100 ms after it was ready",
            ],
        ),
    ];
    fleet.set("ready-within", json!("1s"));
    fleet.set("health-window", json!("400ms"));
    for (mode, says) in cases {
        fleet.set("args", json!([mode]));
        let done = fleet.engr(&["deploy"]);
        assert_failed(&fleet, &loads, &done, says);
    }
    fleet.set("args", json!([]));
    // With the name in it, it counts as one that takes its socket.
    fleet.script("#!/bin/sh\necho \"about to fall with $LISTEN_FDS socket\"\nkill -SEGV $$\n");
    let done = fleet.engr(&["deploy"]);
    let says = [
        "failed to become ready: it was ended by SIGSEGV (signal 11)",
        "│ about to fall with 1 socket",
    ];
    assert_failed(&fleet, &loads, &done, &says);
    loads.assert_none_failed(&fleet);
}

/// What cannot be started at all. `engr` refuses to build most of it, and what reaches the bucket
/// in another way does no harm.
#[test]
fn what_cannot_be_executed_reaches_no_client() {
    let (mut fleet, loads) = serving();
    let write = |name: &str, content: &[u8], mode| -> PathBuf {
        let path = fleet.place().path().join(name);
        fs::write(&path, content).expect("the file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        path
    };
    // A program of ARM64: the machine stands at byte 18 of an ELF header.
    let mut elf = fs::read(binary("plain-bind")).expect("a program");
    elf[18] = 183;
    let foreign = write("foreign", &elf, 0o755);
    let text = write("text", b"this is no program\n", 0o755);
    let script = write("script", b"#!/bin/sh\nexit 0\n", 0o644);

    for (path, says) in [
        (&foreign, "is built for arm64, and the app's `arch` is amd64"),
        (&text, "is no Linux executable (ELF)"),
        (&script, "is not marked as executable"),
    ] {
        fleet.program(path);
        let done = fleet.engr(&["deploy"]);
        assert_eq!(done.code, Some(10), "{done}");
        assert!(done.stderr.contains(says), "{done}");
    }
    assert_eq!(fleet.status().release, Some(1));

    for (path, says) in [
        (&text, "it was built for amd64; is it an executable of this machine?"),
        (&script, "it is not marked as executable"),
    ] {
        let digest = fleet.upload(path).to_string();
        let done = fleet.engr(&["deploy", "--artifact", &digest]);
        assert_failed(&fleet, &loads, &done, &["failed to start: cannot execute shop:", says]);
    }
    // An app for other machines, on a fleet that is none of them.
    fleet.program(&foreign);
    fleet.set("arch", json!("arm64"));
    let done = fleet.engr(&["deploy"]);
    assert_failed(&fleet, &loads, &done, &["it was built for arm64"]);
    fleet.set("arch", Value::Null);
    fleet.script("#!/no/such/interpreter\n");
    let done = fleet.engr(&["deploy"]);
    assert_failed(&fleet, &loads, &done, &["it, or the interpreter that it names, is missing"]);
    loads.assert_none_failed(&fleet);
}

/// It is switched away from again. What its process held is lost with it, and nothing else.
#[test]
fn what_crashes_while_it_settles_is_switched_away_from() {
    let (mut fleet, loads) = serving();
    fleet.set("settle", json!("5s"));
    fleet.set("args", json!(["crash-after:1500"]));
    let done = fleet.engr(&["deploy"]);
    let says = [
        "failed soon after it was ready: it exited with code 3",
        "│ crashing 1500 ms after it was ready",
    ];
    let failed = loads.failed();
    assert_failed(&fleet, &loads, &done, &says);
    // Kept connections stay with the version in reserve.
    assert!(loads.answered_by(2) > 0, "v2 never served:\n{loads}");
    let later = loads.stop();
    assert_eq!(later, failed, "requests failed after the switch back\n{}", fleet.story());
    // A client's request may be cut, and its next one reach the queue that nobody serves any more.
    let held = 2 * CLIENTS as u64;
    assert!(failed <= held, "{failed} failed, and the processes held at most {held}");
}

/// The old version is gone when the new one fails, and is started again. The agent holds the
/// socket all the while, so clients only wait.
#[test]
fn without_overlap_the_old_version_comes_back() {
    let (mut fleet, loads) = serving();
    fleet.set("graceful-shutdown", json!(false));
    fleet.set("args", json!(["exit:9"]));
    let done = fleet.engr(&["deploy"]);
    let says = ["failed to become ready: it exited with code 9"];
    assert_failed(&fleet, &loads, &done, &says);
    loads.assert_none_failed(&fleet);
}

#[test]
fn a_release_that_fails_on_one_instance_leaves_the_fleet_mixed() {
    let mut fleet = Fleet::new(3);
    fs::copy(binary("test-app"), fleet.place().path().join("test-app")).expect("the app");
    fleet.set("include", json!(["test-app", "tag"]));
    let fails = r#"
        if [ "$ENGR_INSTANCE:$ENGR_VERSION" = shop-2:2 ]; then echo 'no luck here' >&2; exit 9; fi
        exec ./test-app engineer"#;
    fleet.script(&format!("#!/bin/sh{fails}\n"));
    fleet.deploy();
    let done = fleet.engr(&["deploy"]);
    assert_eq!(done.code, Some(21), "{done}");
    for said in [
        "shop-2  failed to become ready: it exited with code 9",
        "shop-2, last lines\n  │ no luck here",
        "v2 failed on 1 of 3 instances and serves on the rest; there, v1 serves on",
        "go back with `engr shop rollback v1`",
    ] {
        assert!(done.to_string().contains(said), "no {said:?} in:\n{done}");
    }
    let serving: Vec<_> = fleet.status().instances.iter().map(|one| one.release).collect();
    assert_eq!(serving, [Some(2), Some(1), Some(2)]);
    fleet.publish(&["rollback", "v1"]);
}
