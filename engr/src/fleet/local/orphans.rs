//! Apps of an instance whose agent is gone: an app outlives its agent, and nobody else would stop
//! it once the instance is removed.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::daemon::Process;
use crate::failure::{CommandResult, Exit, OrFail};

/// How long they have from `SIGTERM` to `SIGKILL`.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Stops every process whose executable lies in `folder`.
pub(super) async fn stop(folder: &Path) -> CommandResult<()> {
    let cannot = || format!("cannot stop the processes of {}", folder.display());
    for process in find(folder).or_fail(Exit::Internal, cannot())? {
        process.stop(STOP_MAX).await.or_fail(Exit::Internal, cannot())?;
    }
    Ok(())
}

fn find(folder: &Path) -> io::Result<Vec<Process>> {
    // The links in /proc have no symbolic links in them.
    let folder = match folder.canonicalize() {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for pid in process_ids()? {
        // Opened first: what is read afterwards is then this process's and no later one's.
        let Ok(Some(process)) = Process::open(pid) else { continue };
        // Other users' processes do not tell, and none of them is an app of this folder.
        let Ok(executable) = fs::read_link(format!("/proc/{pid}/exe")) else { continue };
        if executable.starts_with(&folder) && process.is_alive()? {
            found.push(process);
        }
    }
    Ok(found)
}

/// Whether a process whose executable lies in `folder` listens on `port`.
pub(super) fn holds_port(folder: &Path, port: u16) -> bool {
    let Some(holder) = super::ports::holder(port) else { return false };
    let executable = fs::read_link(format!("/proc/{}/exe", holder.pid));
    match (executable, folder.canonicalize()) {
        (Ok(executable), Ok(folder)) => executable.starts_with(folder),
        _ => false,
    }
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
    async fn only_what_runs_from_the_folder_is_stopped() {
        let ours = tempfile::tempdir().unwrap();
        let program = ours.path().join("app");
        // By another process: a test that forks meanwhile would hold the file open for writing.
        let copied = std::process::Command::new("cp").arg("/bin/sleep").arg(&program).status();
        assert!(copied.unwrap().success());
        let mut app = std::process::Command::new(&program).arg("600").spawn().unwrap();
        let other = tempfile::tempdir().unwrap();
        stop(other.path()).await.unwrap();
        assert!(app.try_wait().unwrap().is_none());
        stop(ours.path()).await.unwrap();
        assert!(app.try_wait().unwrap().is_some());
        stop(&other.path().join("never-was")).await.unwrap();
    }
}
