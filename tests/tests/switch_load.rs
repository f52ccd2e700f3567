//! Fifty switches under load: real Rust and Go apps on two instances behind the balancer, with a
//! new connection for each request and with connections that are kept. No request fails, in any
//! way.

use serde_json::{Value, json};
use tests::apps;
use tests::engr::needs;
use tests::fleet::Fleet;

const SWITCHES: u64 = 50;

/// Releases one after the other, by restarts and by two artifacts in turn. The next one comes while
/// the last version before is still finishing.
#[track_caller]
fn fifty_switches(fleet: &mut Fleet) {
    fleet.set("settle", json!("50ms"));
    fleet.set("health-window", json!("50ms"));
    let artifact = |fleet: &Fleet| -> String {
        let done = fleet.must(&["deploy", "--json"]).result();
        done["artifact"].as_str().expect("an artifact").to_owned()
    };
    let first = artifact(fleet);
    fleet.tag("two");
    let second = artifact(fleet);
    assert_ne!(first, second);
    let loads = fleet.load();
    loads.go_on();
    for switch in 1..=SWITCHES {
        let done = match switch % 5 {
            0 => fleet.must(&["deploy", "--json", "--artifact", &first]),
            1 => fleet.must(&["deploy", "--json", "--artifact", &second]),
            _ => fleet.must(&["restart", "--json"]),
        };
        assert_eq!(done.result()["release"], json!(2 + switch), "{done}");
        assert_eq!(loads.failed(), 0, "switch {switch}:\n{loads}\n{}", fleet.story());
    }
    loads.go_on();
    fleet.assert_serves(2 + SWITCHES);
    // Each switch led new connections on.
    let unseen = (2..=2 + SWITCHES).find(|release| loads.answered_by(*release) == 0);
    assert_eq!(unseen, None, "{loads}");
    loads.assert_none_failed(fleet);
}

#[test]
fn a_rust_app() {
    fifty_switches(&mut Fleet::alone(2).with_test_app("engineer"));
}

#[test]
fn a_go_app() {
    needs("go", "version");
    let mut fleet = Fleet::alone(2);
    let built = tempfile::tempdir().expect("a folder");
    let app = apps::build_go(built.path(), "load").expect("the Go app");
    fleet.program(&app);
    fleet.set("args", Value::Null);
    fifty_switches(&mut fleet);
}
