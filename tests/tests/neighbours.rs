//! This release and the one before share a bucket: an update reaches the laptops and the machines of
//! a team one by one, so each `engr` must get on with the other's agents, and agents with each other.

use serde_json::{Value, json};
use tests::fleet::{Fleet, Status};
use tests::programs::Programs;

/// A fleet whose agents, and balancer, are those programs', and serve v1.
#[track_caller]
fn fleet_of(programs: &Programs, instances: u32) -> Fleet {
    let mut fleet = Fleet::alone(instances).with_test_app("engineer");
    // The engr before knows no such key.
    fleet.set("rollout", Value::Null);
    fleet.use_programs(programs);
    assert_eq!(fleet.deploy(), 1);
    assert_agents(&fleet, programs, instances);
    fleet
}

/// So many agents are those programs', and none is silent or down.
#[track_caller]
fn assert_agents(fleet: &Fleet, programs: &Programs, expected: u32) {
    let status = fleet.status();
    let pids = status.instances.iter().map(|one| one.agent_pid.expect("an agent runs"));
    let count = pids.filter(|pid| programs.are_of(*pid)).count();
    assert_eq!(count, expected as usize, "{status:#?}\n{}", fleet.story());
}

/// The apps' processes, in the order of the instances.
fn apps(status: &Status) -> Vec<Option<u32>> {
    status.instances.iter().map(|one| one.pid).collect()
}

/// Every kind of change that `engr` makes to a fleet, one after the other, under load.
#[track_caller]
fn all_that_is_published(fleet: &mut Fleet, round: &str) {
    let loads = fleet.load();
    loads.go_on();
    fleet.tag(round);
    let deployed = fleet.deploy();
    let apps_before = apps(&fleet.status());
    let restarted = fleet.publish(&["restart"]);
    assert_eq!(restarted, deployed + 1);
    assert!(!apps(&fleet.status()).iter().any(|pid| apps_before.contains(pid)), "a restart");
    fleet.publish(&["env:set", &format!("TEST_ROUND={round}")]);
    let values = fleet.must(&["env:get", "TEST_ROUND"]);
    assert_eq!(values.stdout.trim(), round, "{values}");
    let before = fleet.status().release.expect("a release");
    let settings = fleet.must(&["config:set", "settle", "250ms"]);
    fleet.set("settle", json!("300ms"));
    fleet.assert_serves(before + 1);
    fleet.publish(&["rollback", &format!("v{deployed}")]);
    // What the other left in the bucket is understood: its history, and how its releases fared.
    let history = fleet.must(&["releases", "--json"]).result();
    let outcomes = history["releases"].as_array().expect("releases");
    let bad: Vec<&Value> =
        outcomes.iter().filter(|one| one["outcome"].as_str() == Some("failed")).collect();
    assert!(!outcomes.is_empty() && bad.is_empty(), "{history:#}");
    let plan = fleet.must(&["sync", "--plan"]);
    let synced = fleet.must(&["sync"]);
    fleet.assert_serves(fleet.status().release.expect("a release"));
    println!("{settings}\n{plan}\n{synced}\n{}", fleet.must(&["status"]));
    loads.assert_none_failed(fleet);
}

/// The desired state is locked and unlocked by one `engr`, and the other obeys.
#[track_caller]
fn locks_hold(fleet: &mut Fleet, [by, of]: [&Programs; 2]) {
    fleet.use_programs(by);
    fleet.must(&["lock", "-m", "moving house"]);
    fleet.use_programs(of);
    let refused = fleet.engr(&["restart"]);
    assert_eq!(refused.code, Some(11), "{refused}");
    assert!(refused.to_string().contains("moving house"), "{refused}");
    fleet.must(&["unlock"]);
}

#[test]
fn agents_of_the_release_before_obey_this_engr() {
    let Some(previous) = Programs::previous() else { return };
    let mut fleet = fleet_of(&previous, 2);
    fleet.use_programs(&Programs::current());
    all_that_is_published(&mut fleet, "by this engr");
    assert_agents(&fleet, &previous, 2);
    locks_hold(&mut fleet, [&previous, &Programs::current()]);
}

#[test]
fn these_agents_obey_the_engr_of_the_release_before() {
    let Some(previous) = Programs::previous() else { return };
    let mut fleet = fleet_of(&Programs::current(), 2);
    fleet.use_programs(&previous);
    all_that_is_published(&mut fleet, "by the engr before");
    assert_agents(&fleet, &Programs::current(), 2);
    locks_hold(&mut fleet, [&Programs::current(), &previous]);
}

/// Either `engr` publishes to a fleet of both kinds of agents, and makes and removes instances.
#[test]
fn agents_of_both_serve_one_app() {
    let Some(previous) = Programs::previous() else { return };
    let current = Programs::current();
    let mut fleet = fleet_of(&previous, 1);
    let loads = fleet.load();
    fleet.use_programs(&current);
    fleet.set("instance-count", json!(2));
    fleet.must(&["sync"]);
    assert_agents(&fleet, &previous, 1);
    assert_agents(&fleet, &current, 1);
    for (round, programs) in [&previous, &current, &previous].into_iter().enumerate() {
        fleet.use_programs(programs);
        fleet.tag(&format!("both {round}"));
        fleet.deploy();
        fleet.publish(&["rollback"]);
    }
    // A version that is bad on both is told as such by both to either.
    let was = fleet.status();
    fleet.set("args", json!(["no-such-mode"]));
    for programs in [&previous, &current] {
        fleet.use_programs(programs);
        fleet.tag(&format!("bad for {}", programs.engr().display()));
        let failed = fleet.engr(&["deploy"]);
        assert_eq!(failed.code, Some(20), "{failed}");
        assert_eq!(apps(&fleet.status()), apps(&was), "{}", fleet.story());
    }
    fleet.set("args", json!(["engineer"]));
    fleet.use_programs(&previous);
    fleet.set("instance-count", json!(1));
    fleet.must(&["sync"]);
    assert_agents(&fleet, &previous, 1);
    assert_eq!(fleet.status().instances.len(), 1);
    fleet.deploy();
    loads.assert_none_failed(&fleet);
}

/// The way an update comes about: the fleet goes from the agents before to these and back, the app
/// stays the process that it is, and whoever holds it switches it.
#[test]
fn a_fleet_is_updated_and_goes_back() {
    let Some(previous) = Programs::previous() else { return };
    let current = Programs::current();
    let mut fleet = fleet_of(&previous, 2);
    let loads = fleet.load();
    loads.go_on();
    fleet.use_programs(&current);
    let before = apps(&fleet.status());
    let updated = fleet.must(&["agent:update"]);
    assert!(updated.stdout.contains("runs on all 2 instances"), "{updated}");
    assert_agents(&fleet, &current, 2);
    assert_eq!(apps(&fleet.status()), before, "{}", fleet.story());
    fleet.tag("by the new agents");
    let deployed = fleet.deploy();
    // The engr before does not lose the agent that this one has named.
    fleet.use_programs(&previous);
    fleet.publish(&["restart"]);
    fleet.publish(&["rollback", &format!("v{deployed}")]);
    assert_agents(&fleet, &current, 2);
    fleet.use_programs(&current);
    let named = fleet.must(&["status", "--json"]).result();
    assert!(named["agent"].is_object(), "{named:#}");
    let held = apps(&fleet.status());
    let back = fleet.must(&["agent:rollback"]);
    assert!(back.stdout.contains("on all 2 instances"), "{back}");
    assert_agents(&fleet, &previous, 2);
    assert_eq!(apps(&fleet.status()), held, "{}", fleet.story());
    fleet.tag("by the old agents again");
    fleet.deploy();
    loads.assert_none_failed(&fleet);
}
