//! Processes that outlive `engr`: found by their lock files, started apart, stopped by pidfd.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::files;
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// How many of its last lines are shown of a daemon that did not come up.
const LAST_LINES_MAX: usize = 20;

/// How long the kernel may take to end a process that was killed.
const KILL_MAX: Duration = Duration::from_secs(10);

/// A process that cannot become another one while this is held.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    /// The process `pid`, if there is one.
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => Ok(Some(Self { pid, pidfd })),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Its id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended.
    pub(super) fn is_alive(&self) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        Ok(poll(&mut ended, Some(&Timespec::default()))? == 0)
    }

    /// Sends it `SIGTERM`, and `SIGKILL` when it has not ended within `limit`; returns when it has.
    pub(super) async fn stop(self, limit: Duration) -> io::Result<()> {
        let pidfd = self.pidfd.try_clone()?;
        // SAFETY: the descriptor is owned by what it is registered with, and closed after it.
        let ended = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
        for (signal, limit) in [(Signal::TERM, limit), (Signal::KILL, KILL_MAX)] {
            match pidfd_send_signal(&self.pidfd, signal) {
                Err(Errno::SRCH) => return Ok(()),
                other => other?,
            }
            if let Ok(waited) = timeout(limit, ended.readable()).await {
                return waited.map(drop);
            }
        }
        Err(io::Error::new(ErrorKind::TimedOut, format!("process {} does not end", self.pid)))
    }
}

/// The process that holds the lock file `lock`.
pub(super) fn find(lock: &Path) -> CommandResult<Option<Process>> {
    find_holder(lock).map_err(|error| files::failed(error, "look at", lock))
}

fn find_holder(lock: &Path) -> io::Result<Option<Process>> {
    let Some(pid) = read_pid(lock)? else { return Ok(None) };
    let Some(process) = Process::open(pid)? else { return Ok(None) };
    // Looked at with the process held: if the lock is taken and still has its id, it is this one.
    let file = File::open(lock)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) if read_pid(lock)? == Some(pid) => Ok(Some(process)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read_pid(lock: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(lock) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A daemon that was started and is not up yet.
#[derive(Debug)]
pub(super) struct Started {
    /// What it is, for messages.
    what: String,
    child: Child,
    lock: PathBuf,
    log: PathBuf,
    /// Where in the log its own lines begin.
    log_from: u64,
}

/// Starts `agentd` with `args`, in a session of its own, with its output appended to `log`. It
/// takes the lock file `lock`.
pub(super) fn start(
    what: String,
    args: &[&std::ffi::OsStr],
    lock: PathBuf,
    log: PathBuf,
) -> CommandResult<Started> {
    let program = agentd()?;
    let open = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let output = open.map_err(|error| files::failed(error, "open", &log))?;
    let cannot = || format!("cannot start {}", program.display());
    let log_from = output.metadata().or_fail(Exit::Internal, cannot())?.len();
    let errors = output.try_clone().or_fail(Exit::Internal, cannot())?;
    let mut command = Command::new(&program);
    command.args(args).stdin(Stdio::null()).stdout(output).stderr(errors).current_dir("/");
    // SAFETY: `setsid` is a plain system call, which may be made between fork and exec.
    unsafe {
        // A session of its own: neither Ctrl-C nor the terminal's end reaches it.
        command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
    }
    let child = command.spawn().or_fail(Exit::Internal, cannot())?;
    Ok(Started { what, child, lock, log, log_from })
}

impl Started {
    /// Whether it holds its lock file and has written its id there.
    pub(super) fn holds_lock(&self) -> CommandResult<bool> {
        Ok(find(&self.lock)?.is_some_and(|process| process.pid() == self.child.id()))
    }

    /// Fails when it has ended.
    pub(super) fn check(&mut self) -> CommandResult<()> {
        let cannot = format!("cannot wait for {}", self.what);
        match self.child.try_wait().or_fail(Exit::Internal, cannot)? {
            None => Ok(()),
            Some(status) => Err(self.failure(&format!("ended at its start ({status})"))),
        }
    }

    /// A failure of its start, with what it said.
    pub(super) fn failure(&self, what_happened: &str) -> Failure {
        let said = last_lines(&self.log, self.log_from);
        let said = match said.as_deref() {
            Ok("") => "it said nothing".to_owned(),
            Ok(said) => format!("it said:\n{said}"),
            Err(error) => format!("what it said cannot be read: {error}"),
        };
        let message = format!("{} {what_happened}; {said}", self.what);
        Failure::new(Exit::Internal, anyhow::anyhow!(message))
            .hint(format!("its log is {}", self.log.display()))
    }
}

fn last_lines(path: &Path, from: u64) -> io::Result<String> {
    const BYTES_MAX: u64 = 64 * 1024;
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(BYTES_MAX))))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let lines = &lines[lines.len().saturating_sub(LAST_LINES_MAX)..];
    Ok(lines.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"))
}

/// The agent's program: beside this one, or in PATH.
fn agentd() -> CommandResult<PathBuf> {
    let beside = std::env::current_exe().and_then(fs::canonicalize);
    let beside = beside.ok().map(|engr| engr.with_file_name("agentd"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("agentd"));
    let mut candidates = beside.clone().into_iter().chain(in_path);
    candidates.find(|path| is_executable(path)).ok_or_else(|| {
        let beside = beside.unwrap_or_default();
        let message = format!("agentd is neither at {} nor in PATH", beside.display());
        Failure::new(Exit::Internal, anyhow::anyhow!(message))
            .hint("build it beside engr: `cargo build --release`")
    })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_process_is_found_by_its_lock_only_while_it_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.lock");
        assert!(find(&path).unwrap().is_none());
        let mut file = File::create(&path).unwrap();
        file.lock().unwrap();
        assert!(find(&path).unwrap().is_none(), "held, and not yet by a name");
        writeln!(file, "{}", std::process::id()).unwrap();
        assert_eq!(find(&path).unwrap().unwrap().pid(), std::process::id());
        drop(file);
        assert!(find(&path).unwrap().is_none(), "a process of that id, which does not hold it");
        fs::write(&path, "4194304000\n").unwrap();
        assert!(find(&path).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_process_that_does_not_heed_is_killed() {
        let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
        for (script, polite) in [("echo up; exec sleep 600", true), (script, false)] {
            let mut command = Command::new("sh");
            let mut child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
            let mut up = [0; 3];
            child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
            let process = Process::open(child.id()).unwrap().unwrap();
            assert!(process.is_alive().unwrap());
            process.stop(Duration::from_millis(if polite { 10_000 } else { 100 })).await.unwrap();
            use std::os::unix::process::ExitStatusExt;
            let signal = child.try_wait().unwrap().unwrap().signal();
            assert_eq!(signal, Some(if polite { 15 } else { 9 }));
        }
    }

    #[test]
    fn only_its_own_last_lines_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        fs::write(&log, "old\nnew 1\nnew 2\n").unwrap();
        assert_eq!(last_lines(&log, 4).unwrap(), "    new 1\n    new 2");
    }
}
