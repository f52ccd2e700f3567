//! The agent is killed, with `kill -9` and at moments by chance: no request fails, the app goes on
//! as the same process, what was under way is finished, no second copy runs, and every line is there
//! once.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::chance::Chance;
use tests::fleet::{Fleet, LIMIT, Process, until, within};

const KILLS: usize = 100;

fn agents(fleet: &Fleet) -> Vec<Process> {
    let processes = fleet.processes().into_iter();
    processes.filter(|process| process.command.contains("agentd run")).collect()
}

/// Kills the only instance's agent. Its parent, the launcher, waits for it.
fn kill_agent(fleet: &Fleet) -> u32 {
    let agent = until("an agent", || agents(fleet).pop()).pid;
    kill(Pid::from_raw(agent.cast_signed()), Signal::SIGKILL).expect("the agent is there");
    agent
}

/// Waits until the desired release serves, and gives it and its process.
#[track_caller]
fn serves(fleet: &Fleet) -> (u64, u32) {
    let is_settled = || {
        let status = fleet.status();
        let (release, instance) = (status.release?, &status.instances[0]);
        let serves = instance.release == Some(release) && instance.phase == "serving";
        serves.then_some(release)
    };
    let release = within(LIMIT, is_settled).unwrap_or_else(|| panic!("{}", fleet.story()));
    let is_alone = || match fleet.app_processes_of(release)[..] {
        [ref only] if fleet.app_processes().len() == 1 => Some(only.pid),
        _ => None,
    };
    let pid = within(LIMIT, is_alone).unwrap_or_else(|| panic!("{}", fleet.story()));
    (release, pid)
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::alone(1).with_test_app("engineer");
    fleet.must(&["env:set", "TEST_LINES=200", "--stage"]);
    fleet.set("settle", json!("150ms"));
    fleet
}

#[test]
fn a_hundred_times_while_it_switches() {
    let fleet = fleet();
    let mut chance = Chance::new();
    fleet.deploy();
    let loads = fleet.load();
    for round in 0..KILLS {
        if round % 3 == 0 {
            fleet.must(&["restart", "--detach"]);
        }
        thread::sleep(chance.up_to(Duration::from_millis(350)));
        kill_agent(&fleet);
        if round % 10 == 9 {
            let (release, _) = serves(&fleet);
            fleet.assert_serves(release);
        }
        assert_eq!(loads.failed(), 0, "round {round}:\n{loads}\n{}", fleet.story());
    }
    let (release, _) = serves(&fleet);
    assert_eq!(release, 1 + KILLS.div_ceil(3) as u64);
    loads.assert_none_failed(&fleet);
    let lines = fleet.assert_lines_whole();
    println!("{lines} lines");
    assert!(lines > 1_000);
}

#[test]
fn while_nothing_else_happens() {
    let fleet = fleet();
    fleet.deploy();
    let (release, app) = serves(&fleet);
    let loads = fleet.load();
    for _ in 0..20 {
        let agent = kill_agent(&fleet);
        until("another agent", || agents(&fleet).iter().any(|it| it.pid != agent).then_some(()));
        loads.go_on();
        assert_eq!(serves(&fleet), (release, app));
    }
    let status = fleet.status();
    assert_eq!(status.instances[0].restarts, 0, "{}", fleet.story());
    loads.assert_none_failed(&fleet);
    fleet.assert_lines_whole();
}

/// The app ends while no agent lives: the next one learns how, and starts it anew.
#[test]
fn and_the_app_meanwhile() {
    let fleet = fleet();
    fleet.deploy();
    let (_, app) = serves(&fleet);
    // While it is stopped, the launcher cannot start another agent.
    let launcher = fleet.processes().into_iter().find(|it| it.command.contains("agentd launch"));
    let launcher = Pid::from_raw(launcher.expect("a launcher").pid.cast_signed());
    kill(launcher, Signal::SIGSTOP).expect("the launcher is there");
    kill_agent(&fleet);
    kill(Pid::from_raw(app.cast_signed()), Signal::SIGABRT).expect("the app is there");
    until("the app has ended", || {
        let stat = fs::read_to_string(format!("/proc/{app}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    kill(launcher, Signal::SIGCONT).expect("the launcher is there");
    let instance = until("it is started anew", || {
        let instance = fleet.status().instances.remove(0);
        (instance.phase == "serving" && instance.pid != Some(app)).then_some(instance)
    });
    assert_eq!(instance.restarts, 1);
    let failure = instance.last_failure.expect("a failure");
    assert_eq!(failure.signal, Some(Signal::SIGABRT as i32), "{}", fleet.story());
    assert!(!failure.last_lines.is_empty());
    serves(&fleet);
    fleet.assert_lines_whole();
}

/// The whole of an instance's own processes: what is left is the app, which serves on by itself.
#[test]
fn together_with_its_launcher() {
    let fleet = fleet();
    fleet.deploy();
    let (release, app) = serves(&fleet);
    let address = fleet.status().instances[0].addresses[0].clone();
    let launcher = fleet.processes().into_iter().find(|it| it.command.contains("agentd launch"));
    let launcher = Pid::from_raw(launcher.expect("a launcher").pid.cast_signed());
    kill(launcher, Signal::SIGKILL).expect("the launcher is there");
    until("the agent has gone too", || agents(&fleet).is_empty().then_some(()));
    let left: Vec<u32> = fleet.app_processes_of(release).iter().map(|it| it.pid).collect();
    assert_eq!(left, [app]);
    std::net::TcpStream::connect(&*address).expect("the app's socket is there");
    fleet.must(&["sync"]);
    assert_eq!(serves(&fleet), (release, app));
    fleet.must(&["restart"]);
    let (next, other) = serves(&fleet);
    assert!(next == release + 1 && other != app);
    fleet.assert_lines_whole();
}
