//! `kill -9` of each of Engineer's processes at moments by chance: the bucket stays whole, the
//! fleet converges, nothing runs twice, and nothing wrong ever runs.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::chance::Chance;
use tests::engr::binary;
use tests::fleet::{Fleet, Instance, LIMIT, Process, end, until, within};

const KILLS: usize = 30;

/// What an artifact holds besides the app, in bytes.
const BALLAST: usize = 4 << 20;

/// A small app, whose deploys are quick.
fn fleet(instances: u32) -> Fleet {
    let mut fleet = Fleet::alone(instances);
    fleet.program(&binary("plain-listen-fds"));
    fleet.set("health", json!({"path": "/health"}));
    fleet
}

/// Waits until every instance serves the desired release, with so many processes and no more, and
/// gives it. Older ones may be finishing.
#[track_caller]
fn serves(fleet: &Fleet, processes_each: usize) -> u64 {
    let is_settled = || {
        let status = fleet.status();
        let release = status.release?;
        let serves = |one: &Instance| one.release == Some(release) && one.phase == "serving";
        status.instances.iter().all(serves).then_some((release, status.instances.len()))
    };
    let settled = within(LIMIT, is_settled);
    let (release, instances) = settled.unwrap_or_else(|| panic!("{}", fleet.story()));
    fleet.assert_serves(release);
    let running = fleet.app_processes_of(release);
    assert_eq!(running.len(), instances * processes_each, "{}", fleet.story());
    release
}

/// The same, with nothing older left.
#[track_caller]
fn converged(fleet: &Fleet, processes_each: usize) -> u64 {
    let release = serves(fleet, processes_each);
    let is_alone = || (fleet.app_processes_of(release) == fleet.app_processes()).then_some(());
    within(LIMIT, is_alone).unwrap_or_else(|| panic!("{}", fleet.story()));
    release
}

/// Every program of Engineer, by how often it runs.
fn daemons(fleet: &Fleet) -> BTreeMap<&'static str, usize> {
    let mut count = BTreeMap::new();
    for Process { command, .. } in fleet.processes() {
        let name = match &command {
            command if command.contains("agentd launch") => "launcher",
            command if command.contains("agentd run") => "agent",
            command if command.contains("agentd balance") => "balancer",
            command if command.contains("/engr ") => "engr",
            _ => continue,
        };
        *count.entry(name).or_default() += 1;
    }
    count
}

#[test]
fn engr_killed_in_a_deploy() {
    let mut fleet = fleet(2);
    fleet.may_leave_builds();
    let mut chance = Chance::new();
    let mut current = fleet.deploy();
    let mut published = 0;
    for round in 0..KILLS {
        // Every fifth one has to bring the fleet up, too.
        if round % 5 == 4 {
            fleet.must(&["destroy-app", "--yes", "shop"]);
        }
        fleet.tag(&format!("round {round}"));
        let deploy = fleet.start(&["deploy"]);
        // A publish is over within some 30 ms here, and takes ten times as long on a busy machine.
        let within = match round % 5 {
            4 => 1_200,
            0 | 2 => 40,
            _ => 500,
        };
        thread::sleep(chance.up_to(Duration::from_millis(within)));
        deploy.signal(Signal::SIGKILL);
        let killed = deploy.wait(fleet.place());
        let status = fleet.status();
        assert_eq!(status.damage, None, "{killed}");
        let release = status.release.expect("a release");
        assert!(release == current || release == current + 1, "v{release} after:\n{killed}");
        published += release - current;
        current = release;
        fleet.must(&["unlock"]);
        fleet.must(&["sync"]);
        let check = if round % 5 == 3 { converged } else { serves };
        assert_eq!(check(&fleet, 1), current, "{killed}");
        assert_eq!(
            daemons(&fleet),
            BTreeMap::from([("agent", 2), ("balancer", 1), ("launcher", 2)]),
            "{killed}"
        );
    }
    println!("{published} of {KILLS} had published");
    assert!(published > 0 && published < KILLS as u64, "the kills all came at one side");
    let releases = fleet.must(&["releases", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&releases.stdout).expect("JSON");
    assert_eq!(all["releases"].as_array().map(Vec::len), Some(current as usize), "{releases}");
}

/// Nobody breaks the claim of a deployer who is gone: it ends by itself.
#[test]
fn a_killed_deployers_claim_blocks_nobody_past_its_end() {
    let mut fleet = Fleet::new(1);
    fleet.may_leave_builds();
    fleet.script("#!/bin/sh\nexec sleep 1000\n");
    fleet.set("server", json!(false));
    fleet.set("port", json!(null));
    let building = fleet.place().path().join("building");
    let waits = "touch building; while [ -e building ]; do sleep 0.05; done";
    fleet.set("build", json!({"command": waits, "output": "app"}));
    let deploy = fleet.start(&["deploy"]);
    until("the build runs", || building.exists().then_some(()));
    deploy.signal(Signal::SIGKILL);
    fs::remove_file(&building).expect("the build ends");
    deploy.wait(fleet.place());
    fleet.set("build", json!({"command": "true", "output": "app"}));
    let refused = fleet.engr(&["deploy"]);
    assert_eq!(refused.code, Some(11), "{refused}");
    assert!(refused.stderr.contains("tester@"), "{refused}");
    let waited = fleet.must(&["deploy", "--wait-lock=40s"]);
    assert!(waited.stdout.contains("v1 serves on 1 instance"), "{waited}");
}

/// The app leaves a process behind when it is killed, as many do; the next agent ends that first.
#[test]
fn an_agent_killed_in_a_fetch_or_a_switch() {
    let mut fleet = fleet(2);
    let app = fleet.place().path().join("plain-listen-fds");
    fs::copy(binary("plain-listen-fds"), app).expect("the app");
    let mut chance = Chance::new();
    // So that a fetch takes a while.
    let ballast = fleet.place().path().join("ballast");
    fs::write(ballast, chance.bytes(BALLAST)).expect("the ballast");
    fleet.set("include", json!(["plain-listen-fds", "ballast", "tag"]));
    fleet.script("#!/bin/sh\nsleep 1000 &\nexec ./plain-listen-fds\n");
    fleet.deploy();
    for round in 0..KILLS {
        fleet.tag(&format!("round {round}"));
        let agents: Vec<u32> =
            fleet.status().instances.iter().filter_map(|one| one.agent_pid).collect();
        let deploy = fleet.start(&["deploy", "--detach"]);
        thread::sleep(chance.up_to(Duration::from_millis(700)));
        end(agents[round % 2]);
        // Where the agent was gone before the deploy looked, that has brought it back.
        let deployed = deploy.wait(fleet.place());
        assert_eq!(deployed.code, Some(0), "{deployed}\n{}", fleet.story());
        fleet.must(&["sync"]);
        let check = if round % 5 == 4 { converged } else { serves };
        assert_eq!(check(&fleet, 2), 2 + round as u64, "{deployed}");
    }
}

#[test]
fn a_killed_balancer_is_started_again_and_the_app_notices_nothing() {
    let fleet = fleet(2);
    fleet.deploy();
    let before = fleet.app_processes();
    let is_balancer = |process: &Process| process.command.contains("agentd balance");
    for command in ["sync", "deploy"] {
        let balancer = fleet.processes().into_iter().find(is_balancer).expect("a balancer");
        end(balancer.pid);
        assert!(fleet.get("/").is_err());
        assert_eq!(fleet.app_processes(), before);
        fleet.must(&[command]);
        assert_eq!(fleet.get("/").expect("an answer").status, 200);
    }
}

/// The app is told, and finishes what it has.
#[test]
fn an_agent_that_is_told_to_end_ends_its_app_first() {
    let fleet = Fleet::new(1).with_test_app("engineer");
    fleet.deploy();
    let agent = fleet.status().instances[0].agent_pid.expect("an agent");
    let answer = thread::scope(|scope| {
        let slow = scope.spawn(|| fleet.get("/slow?ms=1500"));
        let is_asked = || {
            let connections = fs::read_to_string("/proc/net/tcp").expect("connections");
            // Established, from a client to the balancer's port.
            let port = format!(":{:04X} 01 ", fleet.address().port());
            connections.contains(&port).then_some(())
        };
        until("the request is on its way", is_asked);
        kill(Pid::from_raw(agent.cast_signed()), Signal::SIGTERM).expect("the agent is there");
        slow.join().expect("no panic").expect("a whole answer")
    });
    assert_eq!((answer.status, answer.body.as_str()), (200, "after 1500 ms"));
    let is_agent = |process: &Process| process.pid == agent;
    until("the agent has ended", || (!fleet.processes().iter().any(is_agent)).then_some(()));
    assert_eq!(fleet.app_processes(), []);
    let said: Vec<String> = fleet.logs().into_iter().map(|line| line.text).collect();
    let position = |text: &str| said.iter().position(|line| line.contains(text));
    let (told, finished) = (position("got SIGTERM"), position("finished"));
    assert!(told.is_some() && told < finished, "{said:#?}");
    assert!(finished < position("the agent has ended"), "{said:#?}");
    assert_eq!(fleet.status().instances[0].phase, "down");
    fleet.must(&["sync"]);
    assert_eq!(converged(&fleet, 1), 1);
}

#[test]
fn an_agent_that_starts_while_the_newest_release_is_broken_runs_the_last_good_one() {
    let mut fleet = Fleet::new(1).with_test_app("engineer");
    fleet.deploy();
    fleet.set("args", json!(["exit:5"]));
    let broken = fleet.engr(&["deploy"]);
    assert_eq!(broken.code, Some(20), "{broken}");
    fleet.lose(1);
    fleet.must(&["sync"]);
    until("v1 serves", || {
        let instance = fleet.status().instances.remove(0);
        (instance.release == Some(1) && instance.phase == "serving").then_some(())
    });
    assert_eq!(fleet.get("/").expect("an answer").release(), Some(1));
    let tries = fleet.logs();
    let tries = tries.iter().filter(|line| line.text.starts_with("starting version")).count();
    assert_eq!(tries, 3, "v1, v2 once, v1 again:\n{}", fleet.story());
}
