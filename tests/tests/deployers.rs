//! Two deployers at once, on a fleet that serves.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::engr::binary;
use tests::fleet::{Fleet, Process, Status, until};

/// A fleet on its first release. From then on a build waits while there is a file `gate`, which it
/// makes itself.
fn serving() -> Fleet {
    let mut fleet = Fleet::alone(2);
    fleet.program(&binary("plain-listen-fds"));
    fleet.set("health", json!({"path": "/health"}));
    fleet.deploy();
    let waits = "touch gate; while [ -e gate ]; do sleep 0.01; done";
    fleet.set("build", json!({"command": waits, "output": "app"}));
    fleet
}

fn open_gate(fleet: &Fleet) {
    let gate = fleet.place().path().join("gate");
    until("a build", || fs::remove_file(&gate).ok());
}

/// How many deployers watch the bucket: who holds the claim, and who waits for its end.
fn watching(fleet: &Fleet) -> usize {
    let watches = |process: &Process| {
        let files = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten();
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        process.command.contains("/engr ") && links.any(|link| link.ends_with("anon_inode:inotify"))
    };
    fleet.processes().iter().filter(|process| watches(process)).count()
}

#[test]
fn one_publishes_and_the_other_is_told_at_once_who_does() {
    let fleet = serving();
    for release in 2..=6 {
        fleet.tag(&format!("v{release}"));
        let mut began = Vec::new();
        let mut both = Vec::new();
        for _ in 0..2 {
            began.push(Instant::now());
            both.push(fleet.start(&["deploy"]));
        }
        let (loser, took) = until("one of them ends", || {
            let ended = both.iter_mut().position(|one| one.has_ended())?;
            Some((ended, began[ended].elapsed()))
        });
        open_gate(&fleet);
        let lost = both.remove(loser).wait(fleet.place());
        let won = both.remove(0).wait(fleet.place());
        assert_eq!((lost.code, won.code), (Some(11), Some(0)), "{lost}\n{won}");
        assert!(took < Duration::from_secs(1), "told after {took:?}");
        assert!(lost.stderr.contains("tester@") && lost.stderr.contains("since"), "{lost}");
        assert!(lost.stderr.contains("--wait-lock"), "{lost}");
        fleet.assert_serves(release);
    }
}

#[test]
fn with_wait_lock_both_publish_in_turn() {
    let fleet = serving();
    let deploy = || fleet.start(&["deploy", "--wait-lock", "--detach", "--json"]);
    let both = [deploy(), deploy()];
    until("one holds the claim and one waits", || (watching(&fleet) == 2).then_some(()));
    open_gate(&fleet);
    // The next one's build.
    open_gate(&fleet);
    let both = both.map(|deploy| deploy.wait(fleet.place()));
    let mut published: Vec<Value> = Vec::new();
    for done in &both {
        assert_eq!(done.code, Some(0), "{done}");
        published.push(done.result()["release"].clone());
    }
    published.sort_by_key(Value::as_u64);
    assert_eq!(published, [json!(2), json!(3)]);
    let waited = both.iter().filter(|done| done.stdout.contains("\"type\":\"waiting\"")).count();
    assert_eq!(waited, 1, "{}\n{}", both[0], both[1]);
    let serves = |status: &Status| {
        status.instances.iter().all(|one| one.release == Some(3) && one.phase == "serving")
    };
    until("v3 serves", || serves(&fleet.status()).then_some(()));
    fleet.assert_serves(3);
}
