//! With real processes, that fork away in every way that there is.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::cgroup::{self, Delegated};

const WITHIN: Duration = Duration::from_secs(10);

/// What loses its parent becomes this process's child, and is reaped here: not every machine's first
/// process does that soon.
fn adopt_orphans() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
}

fn reap(living: &[Held], but: &Child) {
    for held in living.iter().filter(|held| held.pid() != but.id()) {
        let pid = nix::unistd::Pid::from_raw(held.pid().cast_signed());
        nix::sys::wait::waitpid(pid, None).unwrap();
    }
}

/// A shell that leads a session and carries the mark of run `run` of the instance in `folder`, when
/// it has said `up`.
fn start(folder: &Path, run: u64, script: &str) -> (Child, Mark) {
    adopt_orphans();
    let mark = Mark::new(folder, run);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env(RUN, mark.value()).stdout(Stdio::piped());
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "up\n");
    let start = proc_stat::of(child.id()).unwrap().unwrap().start;
    let mark = mark.led_by(child.id(), start);
    (child, mark)
}

#[tokio::test(flavor = "current_thread")]
async fn whatever_a_run_has_forked_is_found_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    // In turn: without the mark, in a session of its own without it, and a double fork into a session
    // of its own.
    let script = "env -i /bin/sleep 60 &
        env -i /usr/bin/setsid /bin/sleep 60 &
        (setsid sleep 60 &)
        echo up; exec sleep 60";
    let (mut child, mark) = start(folder.path(), 1, script);
    let (mut other, _) = start(folder.path(), 10, "echo up; exec sleep 60");
    let members = Members::Marked(mark);
    let living = members.living().unwrap();
    assert_eq!(living.len(), 4, "{living:?}");
    assert!(living.iter().any(|held| held.pid() == child.id()));
    assert!(members.has(child.id()) && !members.has(other.id()));
    members.kill_all(WITHIN).await.unwrap();
    assert!(living.iter().all(|held| !held.is_alive()));
    assert_eq!(members.signal(Signal::SIGTERM).unwrap(), 0);
    child.wait().unwrap();
    reap(&living, &child);
    assert!(other.try_wait().unwrap().is_none(), "run 10 is not run 1");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_double_fork_outlives_its_parents_and_not_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mark) = start(folder.path(), 3, "(setsid sleep 60 > /dev/null &); echo up");
    child.wait().unwrap();
    let members = Members::Marked(mark);
    // Between two programs a process has no environment to be known by: the last one must be there.
    let is_last = |held: &Held| {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", held.pid()));
        name.is_ok_and(|name| name == "sleep\n") && members.has(held.pid())
    };
    let living = tokio::time::timeout(WITHIN, async {
        loop {
            match members.living().unwrap() {
                living if living.len() == 1 && living.iter().all(is_last) => return living,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    });
    let living = living.await.unwrap();
    members.kill_all(WITHIN).await.unwrap();
    assert!(members.living().unwrap().is_empty());
    reap(&living, &child);
}

#[tokio::test(flavor = "current_thread")]
async fn what_an_earlier_life_left_is_ended_but_for_what_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, _) = start(folder.path(), 1, "echo up; exec sleep 60");
    let (mut left, mark) = start(folder.path(), 2, "sleep 60 > /dev/null & echo up; exec sleep 60");
    let living = Members::Marked(mark).living().unwrap();
    assert_eq!(sweep(folder.path(), &[1]).await.unwrap(), 2);
    left.wait().unwrap();
    reap(&living, &left);
    assert!(kept.try_wait().unwrap().is_none());
    let neighbour = folder.path().join("neighbour");
    assert_eq!(sweep(&neighbour, &[]).await.unwrap(), 0);
    assert_eq!(sweep(folder.path(), &[]).await.unwrap(), 1);
    kept.wait().unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn the_number_of_another_process_is_not_the_runs_session() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mark) = start(folder.path(), 1, "echo up; exec env -i sleep 60");
    let start = proc_stat::of(child.id()).unwrap().unwrap().start;
    let wrong = Mark::new(Path::new("/nowhere"), 1).led_by(child.id(), start + 1);
    assert!(Members::Marked(wrong).living().unwrap().is_empty());
    assert!(Members::Marked(mark).has(child.id()), "by its session alone");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn in_a_group_nothing_escapes() {
    let Some(own) = cgroup::tests::OwnCgroup::new() else { return };
    let group = Arc::new(Delegated::take(own.path()).unwrap().group(1).unwrap());
    adopt_orphans();
    let script = "(env -i /usr/bin/setsid /bin/sleep 60 > /dev/null &); echo up";
    let (mut child, _) = cgroup::tests::shell_in(group.path(), script);
    child.wait().unwrap();
    let members = Members::Group(group);
    let living = members.living().unwrap();
    assert!(living.len() == 1 && members.has(living[0].pid()));
    assert!(!members.has(std::process::id()));
    members.kill_all(WITHIN).await.unwrap();
    assert!(members.living().unwrap().is_empty());
    reap(&living, &child);
}

#[test]
fn a_look_at_all_processes_is_short() {
    let mark = Mark::new(Path::new("/nowhere"), 1);
    let look = || {
        let began = std::time::Instant::now();
        assert!(mark.living().unwrap().is_empty());
        began.elapsed()
    };
    // The least: others' work on the machine only ever adds.
    let took = (0..10).map(|_| look()).min().unwrap();
    let count = proc_stat::all().unwrap().len();
    eprintln!("a look at {count} processes takes {took:?}");
    assert!(took < Duration::from_millis(1) * count.try_into().unwrap());
}
