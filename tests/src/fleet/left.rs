//! What a fleet leaves behind: processes and folders.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getsid};

use super::{LIMIT, until, within};

/// A process that belongs to a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

/// From now on agents and apps whose parent has ended are this process's children, so that they
/// can be seen to end, and end whole.
pub(super) fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER"));
}

/// The living processes that have a path under `root` in their environment, which all that a
/// fleet's programs start have.
pub(super) fn processes(root: &Path) -> Vec<Process> {
    let root = root.as_os_str().as_bytes();
    let mut found = Vec::new();
    for pid in all() {
        if reap_if_ended(pid) {
            continue;
        }
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.windows(root.len()).any(|part| part == root) {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push(Process { pid, command });
        }
    }
    found
}

/// The value of a variable in a process's environment.
pub(super) fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mark = format!("{name}=").into_bytes();
    let found = environment.split(|byte| *byte == 0).find_map(|pair| pair.strip_prefix(&*mark))?;
    Some(String::from_utf8_lossy(found).into_owned())
}

/// Kills the processes of [`processes`], and gives those that there were.
pub(super) fn end_all(root: &Path) -> Vec<Process> {
    let left = processes(root);
    let gone = within(LIMIT, || {
        let still = processes(root);
        for process in &still {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(process.pid.cast_signed()), Signal::SIGKILL);
        }
        still.is_empty().then_some(())
    });
    if gone.is_none() {
        eprintln!("processes that cannot be killed: {:?}", processes(root));
    }
    left
}

/// Kills a process that may have ended meanwhile.
pub(super) fn kill_if_there(pid: u32) {
    match kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(error) => panic!("cannot kill process {pid}: {error}"),
    }
}

/// Kills one process, and waits until it has ended.
///
/// # Panics
/// When it is not there, or does not end.
pub fn end(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("the process is there");
    until("it ends", || reap_if_ended(pid).then_some(()));
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether the process has ended. An adopted one's number is given back then; those that this
/// process has started are for who started them.
fn reap_if_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // proc_pid_stat(5): the name, which may hold anything, is in parentheses.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return true };
    let mut fields = fields.split(' ');
    let (state, parent, session) = (fields.next(), fields.next(), fields.nth(1));
    if !matches!(state, Some("Z" | "X")) {
        return false;
    }
    // Agents and apps have sessions of their own.
    let ours = getsid(None).expect("the own session");
    let is_adopted = parent == Some(&*getpid().to_string()) && session != Some(&*ours.to_string());
    if !is_adopted {
        return true;
    }
    // Other threads may still be ending, with all its files open; or one of this process's has
    // waited for it already.
    let waited = waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG));
    waited != Ok(WaitStatus::StillAlive)
}

/// A folder that must be gone when this is dropped.
#[derive(Debug)]
pub(super) struct MustGo(pub(super) PathBuf);

impl Drop for MustGo {
    fn drop(&mut self) {
        if self.0.exists() && !thread::panicking() {
            panic!("left: {}", self.0.display());
        }
    }
}
