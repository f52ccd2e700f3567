//! Processes that outlive `engr`: found by their lock files, started apart, stopped by pidfd.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deploy::agent_config::LOCK_TO_TAKE;
use deploy::local_fleet::LocalDir;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::{files, orphans};
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// How many of its last lines are shown of a daemon that did not come up.
const LAST_LINES_MAX: usize = 20;

/// The pause between two looks at what is to come about.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

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
    let find = || match named(lock)? {
        // The lock itself is tried only where a process may have it: to try it is to hold it for
        // a moment, in which a daemon that starts would not get it.
        Some(process) => Ok(if is_held(lock)? { still_named(lock, process)? } else { None }),
        None => Ok(None),
    };
    find().map_err(|error| files::failed(error, "look at", lock))
}

/// Whether a process holds the lock file that has not said yet who it is, or that is ending.
fn is_changing(lock: &Path) -> CommandResult<bool> {
    let look = || match named(lock)? {
        Some(_) => Ok(false),
        None => is_held(lock),
    };
    look().map_err(|error| files::failed(error, "look at", lock))
}

/// The process whose id is in the lock file, if it lives.
fn named(lock: &Path) -> io::Result<Option<Process>> {
    match read_pid(lock)? {
        Some(pid) => Ok(Process::open(pid)?.filter(|process| !is_ending(process.pid()))),
        None => Ok(None),
    }
}

/// The process, if the lock file still has its id. Asked while the lock is known to be held and
/// the process cannot become another, this makes it the one that holds the lock.
fn still_named(lock: &Path, process: Process) -> io::Result<Option<Process>> {
    Ok((read_pid(lock)? == Some(process.pid())).then_some(process))
}

fn is_held(lock: &Path) -> io::Result<bool> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the process's first thread has ended: the others, which still hold its files, are about
/// to.
fn is_ending(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

fn read_pid(lock: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(lock) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until every daemon of the fleet in `dir` is known by its lock file or has ended. Whoever
/// started it may have been killed before that, and it too a moment ago.
pub(super) async fn settle(dir: &LocalDir, limit: Duration) -> CommandResult<()> {
    let began = Instant::now();
    let instances = files::instance_folders(dir)?.into_iter();
    let locks = instances.map(|name| dir.instance(&name).lock()).chain([dir.balancer_lock()]);
    for lock in locks {
        while is_changing(&lock)? {
            if began.elapsed() > limit {
                let shown = lock.display();
                let message = format!("some process holds {shown} and does not say which");
                return Err(Failure::new(Exit::Internal, anyhow::anyhow!(message))
                    .hint(format!("see which: `fuser -v {shown}`")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    loop {
        let starting = find_starting(&dir.0)?;
        if starting.is_empty() {
            return Ok(());
        }
        if began.elapsed() > limit {
            for process in starting {
                let cannot = format!("cannot stop process {}", process.pid());
                process.stop(KILL_MAX).await.or_fail(Exit::Internal, cannot)?;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn find_starting(folder: &Path) -> CommandResult<Vec<Process>> {
    let below = |lock: &OsStr| Path::new(lock).starts_with(folder);
    let daemons = orphans::marked(LOCK_TO_TAKE, below);
    let mut starting = Vec::new();
    for (process, lock) in daemons.or_fail(Exit::Internal, "cannot look for processes")? {
        if find(&lock)?.is_none_or(|holder| holder.pid() != process.pid()) {
            starting.push(process);
        }
    }
    Ok(starting)
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
    args: &[&OsStr],
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
    command.env(LOCK_TO_TAKE, &lock);
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
        assert!(find(&path).unwrap().is_none() && is_changing(&path).unwrap());
        writeln!(file, "{}", std::process::id()).unwrap();
        assert_eq!(find(&path).unwrap().unwrap().pid(), std::process::id());
        drop(file);
        // A child that another test starts in this moment holds it too, until its exec.
        let began = std::time::Instant::now();
        while find(&path).unwrap().is_some() {
            let limit = Duration::from_secs(10);
            assert!(began.elapsed() < limit, "a process of that id, which does not hold it");
            std::thread::yield_now();
        }
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
