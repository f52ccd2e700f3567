//! With real cgroups, made and removed below the machine's, where the tests may do that.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

/// A cgroup of a test's own. It goes with the value, and all that is in it.
pub(crate) struct OwnCgroup(PathBuf);

impl OwnCgroup {
    /// None, with a word why, where this user or this machine cannot have one.
    pub(crate) fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let Some(at) = mount.and_then(|line| line.split(' ').nth(4)) else {
            eprintln!("skipped: no cgroup v2 is mounted");
            return None;
        };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(at).join(format!("engr-test-{}-{number}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                eprintln!("skipped: {} cannot be made: {error}", path.display());
                None
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let group = Group::open(self.0.clone()).unwrap();
        group.kill().unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while group.is_populated().unwrap() && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        group.remove().unwrap();
    }
}

/// A shell in `group` that runs `script`, once it has said that it is there.
pub(crate) fn shell_in(group: &Path, script: &str) -> (Child, String) {
    let script = format!("echo $$ > {}/cgroup.procs; {script}", group.display());
    let mut child =
        Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    (child, said.trim().to_owned())
}

#[test]
fn what_runs_in_the_delegated_cgroup_goes_into_the_agents_group() {
    let Some(own) = OwnCgroup::new() else { return };
    let (mut child, _) = shell_in(&own.path(), "sleep 60 & echo up; exec sleep 60");
    let taken = Delegated::take(own.path()).unwrap();
    assert!(processes_in(&own.path()).unwrap().is_empty());
    let agents = processes_in(&own.path().join(AGENT)).unwrap();
    assert!(agents.len() == 2 && agents.contains(&child.id()), "{agents:?}");
    Delegated::take(own.path()).expect("a second time changes nothing");
    assert_eq!(processes_in(&own.path().join(AGENT)).unwrap().len(), 2);
    let there = fs::read_to_string(own.path().join("cgroup.controllers")).unwrap();
    assert_eq!(taken.lacking().is_empty(), there.contains("memory") && there.contains("cpu"));
    Delegated::take_back_controllers(&own.path()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_group_ends_with_all_that_forked_away_from_it() {
    let Some(own) = OwnCgroup::new() else { return };
    let group = Delegated::take(own.path()).unwrap().group(7).unwrap();
    assert!(!group.is_populated().unwrap());
    let escape = "env -i /usr/bin/setsid /bin/sleep 60 & echo up; exec sleep 60";
    let (mut child, _) = shell_in(group.path(), escape);
    let pids = group.processes().unwrap();
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(pids.iter().all(|pid| group.has(*pid)) && !group.has(std::process::id()));
    let still = tokio::time::timeout(Duration::from_millis(50), group.until_empty()).await;
    assert!(still.is_err(), "it is not empty yet");
    assert_eq!(group.remove().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    group.kill().unwrap();
    tokio::time::timeout(Duration::from_secs(5), group.until_empty()).await.unwrap().unwrap();
    assert!(group.processes().unwrap().is_empty(), "a zombie is in no group");
    child.wait().unwrap();
    group.remove().unwrap();
    group.kill().expect("what is gone is killed");
    assert!(!group.is_populated().unwrap());
    group.until_empty().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn the_last_process_to_end_is_told_while_it_is_waited_for() {
    let Some(own) = OwnCgroup::new() else { return };
    let group = Delegated::take(own.path()).unwrap().group(1).unwrap();
    let (mut child, _) = shell_in(group.path(), "(sleep 0.2; true) & echo up");
    tokio::time::timeout(Duration::from_secs(5), group.until_empty()).await.unwrap().unwrap();
    child.wait().unwrap();
}

#[test]
fn groups_of_an_earlier_life_are_found_and_removed() {
    let Some(own) = OwnCgroup::new() else { return };
    let before = Delegated::take(own.path()).unwrap();
    for id in [12, 3] {
        before.group(id).unwrap();
    }
    fs::create_dir(own.path().join("app-12/of-the-apps-own")).unwrap();
    fs::create_dir(own.path().join("app-x")).unwrap();
    let after = Delegated::take(own.path()).unwrap();
    let found = after.groups().unwrap();
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 12]);
    found.iter().try_for_each(|(_, group)| group.remove()).unwrap();
    assert!(after.groups().unwrap().is_empty());
}

#[test]
fn limits_without_a_controller_are_refused_in_words() {
    let Some(own) = OwnCgroup::new() else { return };
    let delegated = Delegated::take(own.path()).unwrap();
    let group = delegated.group(1).unwrap();
    group.limit(&Limits::default()).unwrap();
    let limited = group.limit(&Limits { memory: Some(64 << 20), cpu_millis: Some(500) });
    match delegated.lacking() {
        [] => {
            limited.unwrap();
            assert_eq!(group.oom_kills().unwrap(), Some(0));
        }
        lacking => {
            assert_eq!(limited.unwrap_err().kind(), io::ErrorKind::Unsupported, "{lacking:?}");
        }
    }
}
