//! All that an app forks is its version's, and ends with it; an app may be another user.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::fleet::{Fleet, LIMIT, end, until, within};

/// Says what it is, forks away into a session of its own, and stays.
const SCRIPT: &str = "#!/bin/sh
id -u; grep -c '^CapEff:.0*$' /proc/self/status; grep NoNewPrivs /proc/self/status
touch ./engr-probe 2>/dev/null && echo wrote; touch $ENGR_STATE_DIR/kept && echo kept
(setsid sleep 600 > /dev/null 2>&1 &)
echo forked; exec sleep 600
";

fn worker() -> Fleet {
    let mut fleet = Fleet::new(1);
    fleet.set("server", json!(false));
    fleet.set("port", Value::Null);
    fleet.script(SCRIPT);
    fleet
}

fn said(fleet: &Fleet, release: u64) -> Vec<String> {
    let of_release = |line: &deploy::log_line::LogLine| line.release == release;
    fleet.log_lines().into_iter().filter(of_release).map(|line| line.text).collect()
}

#[test]
fn what_a_version_has_forked_ends_with_it() {
    let fleet = worker();
    let first = fleet.deploy();
    until("it has forked", || said(&fleet, first).contains(&"forked".to_owned()).then_some(()));
    assert_eq!(fleet.app_processes_of(first).len(), 2);
    fleet.tag("two");
    let second = fleet.deploy();
    until("the first version is gone", || fleet.app_processes_of(first).is_empty().then_some(()));
    assert_eq!(fleet.app_processes_of(second).len(), 2);
    let pid = fleet.status().instances[0].pid.expect("it runs");
    end(pid);
    until("it runs anew", || {
        let now = fleet.status().instances[0].pid?;
        (now != pid && fleet.app_processes_of(second).len() == 2).then_some(())
    });
}

#[test]
fn an_app_is_its_user_where_the_agent_is_told_so() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only an agent that is root can make its app another user");
        return;
    }
    let fleet = worker();
    let first = fleet.deploy();
    let lines = said(&fleet, first);
    assert!(lines.contains(&"wrote".to_owned()) && lines[0] == "0", "{lines:?}");
    let agent = fleet.status().instances[0].agent_pid.expect("an agent");
    let dir = fleet.instance_dir(1);
    let mut config: Value = serde_json::from_slice(&fs::read(dir.config()).unwrap()).unwrap();
    config["user"] = json!("nobody");
    fs::write(dir.config(), config.to_string()).unwrap();
    kill(Pid::from_raw(agent.cast_signed()), Signal::SIGTERM).unwrap();
    // Not the app alone: an agent that is still ending needs no start.
    let is_down = || fleet.status().instances[0].phase == "down" && fleet.processes().is_empty();
    until("the agent is gone", || is_down().then_some(()));
    fs::remove_file(dir.app_state().join("kept")).unwrap();
    fleet.must(&["sync"]);
    let serves = || (fleet.status().instances[0].phase == "serving").then_some(());
    within(LIMIT, serves).unwrap_or_else(|| panic!("it does not serve\n{}", fleet.story()));
    let all = said(&fleet, first);
    let second = &all[lines.len()..];
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.to_string();
    assert_eq!(second, [&nobody, "1", "NoNewPrivs:\t1", "kept", "forked"]);
}
