//! The agent's process, as its launcher has it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use deploy::agent_config::{InstanceDir, LOCK_TO_TAKE};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use super::protocol::{LAUNCHER_VERSION, LINK};

/// An agent that was started here and is not reaped yet.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) pid: i32,
    pub(super) born: Instant,
    /// When it last said anything.
    pub(super) heard: Instant,
    /// Where it is talked with, as long as it can be.
    pub(super) link: Option<OwnedFd>,
    /// It was killed here, and its end is waited for.
    pub(super) is_killed: bool,
}

/// A pair of sockets for messages, both closed on exec.
pub(super) fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

impl Agent {
    /// Starts the agent. The kernel kills it when the launcher dies: two agents of one instance
    /// must never meet.
    pub(super) fn start(program: &Path, dir: &InstanceDir, flags: &[String]) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        let mut command = Command::new(program);
        command.arg("run").arg("--dir").arg(dir.path()).args(flags);
        // The service manager's own variables are for the launcher.
        command.env_remove(LOCK_TO_TAKE);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"] {
            command.env_remove(name);
        }
        command.env(LINK, theirs.as_raw_fd().to_string());
        command.env(LAUNCHER_VERSION, env!("CARGO_PKG_VERSION"));
        let launcher = nix::unistd::getpid();
        let number = theirs.as_raw_fd();
        // SAFETY: between fork and exec the closure only makes system calls.
        unsafe {
            command.pre_exec(move || {
                // The launcher takes its signals by a descriptor, and has them blocked for that.
                SigSet::empty().thread_set_mask()?;
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                if nix::unistd::getppid() != launcher {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                if libc::fcntl(number, libc::F_SETFD, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn()?;
        let (pid, now) = (child.id().cast_signed(), Instant::now());
        Ok(Self { pid, born: now, heard: now, link: Some(ours), is_killed: false })
    }

    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        self.is_killed = true;
        self.signal(Signal::SIGKILL);
    }

    /// Signals it. It is not reaped yet, so the number is its own.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill(Pid::from_raw(self.pid), signal) {
            eprintln!("agentd: cannot send {signal} to the agent: {error}");
        }
    }
}
