//! Apps of an instance whose agent is gone: an app outlives its agent, and nobody else would stop
//! it once the instance is removed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::daemon::Process;
use crate::failure::{CommandResult, Exit, OrFail};

/// How long they have from `SIGTERM` to `SIGKILL`.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The variable by which an instance's processes are known: its folder. Set by the agent.
const INSTANCE_DIR: &str = "ENGR_INSTANCE_DIR";

/// Stops every process of the instance in `folder`.
pub(super) async fn stop(folder: &Path) -> CommandResult<()> {
    let cannot = || format!("cannot stop the processes of {}", folder.display());
    for process in find(folder).or_fail(Exit::Internal, cannot())? {
        process.stop(STOP_MAX).await.or_fail(Exit::Internal, cannot())?;
    }
    Ok(())
}

fn find(folder: &Path) -> io::Result<Vec<Process>> {
    let of_folder = |value: &OsStr| value == folder;
    Ok(marked(INSTANCE_DIR, of_folder)?.into_iter().map(|(process, _)| process).collect())
}

/// This user's processes in whose environment `variable` is set to what `matches` takes, and to
/// what it is set.
pub(super) fn marked(
    variable: &str,
    matches: impl Fn(&OsStr) -> bool,
) -> io::Result<Vec<(Process, PathBuf)>> {
    let mut found = Vec::new();
    for pid in process_ids()? {
        // Opened first: what is read afterwards is then this process's and no later one's.
        let Ok(Some(process)) = Process::open(pid) else { continue };
        let Some(value) = variable_of(pid, variable) else { continue };
        if matches(&value) && process.is_alive()? {
            found.push((process, value.into()));
        }
    }
    Ok(found)
}

/// Whether a process of the instance in `folder` listens on `port`.
pub(super) fn holds_port(folder: &Path, port: u16) -> bool {
    super::ports::holder(port).is_some_and(|holder| is_of(holder.pid, folder))
}

fn is_of(pid: u32, folder: &Path) -> bool {
    variable_of(pid, INSTANCE_DIR).is_some_and(|value| value == folder)
}

/// What the process was started with. Other users' processes do not tell, and are none of ours.
fn variable_of(pid: u32, name: &str) -> Option<OsString> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let variables = environment.split(|byte| *byte == 0);
    let mut values =
        variables.filter_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.next().map(|value| OsString::from_vec(value.to_owned()))
}

/// All processes of this machine.
pub(super) fn process_ids() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_instances_own_processes_are_stopped() {
        let ours = tempfile::tempdir().unwrap();
        let mut app = std::process::Command::new("sleep");
        let mut app = app.arg("60").env(INSTANCE_DIR, ours.path()).spawn().unwrap();
        // The variable shows from the exec on.
        while !is_of(app.id(), ours.path()) {
            std::thread::yield_now();
        }
        let other = tempfile::tempdir().unwrap();
        stop(other.path()).await.unwrap();
        assert!(app.try_wait().unwrap().is_none());
        stop(ours.path()).await.unwrap();
        assert!(app.try_wait().unwrap().is_some());
        stop(&other.path().join("never-was")).await.unwrap();
    }
}
