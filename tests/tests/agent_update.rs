//! The agents of a real fleet are replaced while they work: the process, the app, its sockets and its
//! output stay, and no request fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use deploy::agent_config::InstanceDir;
use tests::engr::binary;
use tests::fake_agent::fake_agent;
use tests::fleet::{Fleet, Instance};

/// How often the agent is replaced; `ENGR_TEST_UPDATES` says how often instead.
const UPDATES: usize = 8;

fn updates() -> usize {
    let wanted = std::env::var("ENGR_TEST_UPDATES").ok();
    wanted.map_or(UPDATES, |wanted| wanted.parse().expect("ENGR_TEST_UPDATES is a number"))
}

/// The same agent in other bytes.
fn another(fleet: &Fleet, name: &str) -> PathBuf {
    let mut content = fs::read(binary("agentd")).expect("the agent");
    content.extend_from_slice(name.as_bytes());
    let path = fleet.place().path().join(name);
    fs::write(&path, content).expect("another agent");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

fn pids(fleet: &Fleet) -> Vec<(String, Option<u32>, Option<u32>)> {
    let pids = |one: Instance| (one.name, one.pid, one.agent_pid);
    fleet.status().instances.into_iter().map(pids).collect()
}

/// What the launcher would start now.
fn chosen(dir: &InstanceDir) -> String {
    fs::read_to_string(dir.choice()).unwrap_or_default()
}

#[test]
fn again_and_again_under_load() {
    let fleet = Fleet::alone(1).with_test_app("engineer");
    fleet.must(&["env:set", "TEST_LINES=200", "--stage"]);
    fleet.deploy();
    let before = pids(&fleet);
    let agents = [another(&fleet, "agentd-a"), another(&fleet, "agentd-b")];
    let loads = fleet.load();
    loads.go_on();
    for round in 0..updates() {
        let path = agents[round % 2].display().to_string();
        let said = fleet.must(&["agent:update", "--binary", &path]);
        assert!(said.stdout.contains("runs on 1 instance"), "{said}");
        assert_eq!(loads.failed(), 0, "round {round}:\n{loads}\n{}", fleet.story());
        assert_eq!(pids(&fleet), before, "round {round}");
    }
    // The next release is switched to by the new agent.
    fleet.tag("two");
    let release = fleet.deploy();
    fleet.assert_serves(release);
    let back = fleet.must(&["agent:rollback"]);
    assert!(back.stdout.contains("runs on 1 instance"), "{back}");
    loads.assert_none_failed(&fleet);
    fleet.assert_lines_whole();
}

#[test]
fn one_after_the_other_and_a_bad_one_reaches_only_the_first() {
    let fleet = Fleet::alone(3).with_test_app("engineer");
    fleet.deploy();
    let before = pids(&fleet);
    let loads = fleet.load();
    let good = another(&fleet, "agentd-good").display().to_string();
    fleet.must(&["agent:update", "--binary", &good]);
    assert_eq!(pids(&fleet), before);
    let was: Vec<String> = (1..=3).map(|number| chosen(&fleet.instance_dir(number))).collect();
    let bad = fake_agent(fleet.place(), "agentd-bad", "9.9.9").display().to_string();
    let said = fleet.engr(&["agent:update", "--binary", &bad]);
    assert!(matches!(said.code, Some(20 | 21)), "{said}");
    assert!(
        said.stderr.contains("it died 3 times") || said.stdout.contains("it died 3 times"),
        "{said}"
    );
    let apps = |pids: &[(String, Option<u32>, Option<u32>)]| -> Vec<Option<u32>> {
        pids.iter().map(|(_, app, _)| *app).collect()
    };
    assert_eq!(apps(&pids(&fleet)), apps(&before));
    let now: Vec<String> = (1..=3).map(|number| chosen(&fleet.instance_dir(number))).collect();
    let touched = was.iter().zip(&now).filter(|(was, now)| was != now).count();
    assert_eq!(touched, 1, "the canary alone: {now:?}");
    // Nothing that was bad is tried again, and the next good one is.
    let next = another(&fleet, "agentd-next").display().to_string();
    fleet.must(&["agent:update", "--binary", &next]);
    loads.assert_none_failed(&fleet);
}
