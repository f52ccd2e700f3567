//! A process that is held by a descriptor, so that it cannot become another one.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::members::Held;
use crate::switch::Exit;

/// The leader of a session that the agent, or an agent before it, has started.
#[derive(Debug)]
pub struct Handle {
    start: u64,
    held: Held,
}

impl Handle {
    /// The process `pid` that started at `start` (see [`start_time`]); `None` when it has ended and
    /// was reaped, whoever has its number now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(pid: u32, start: u64) -> io::Result<Option<Self>> {
        let Some(held) = Held::open(pid)? else { return Ok(None) };
        // Asked after the descriptor was there: what it says is of the process that is held, or of
        // nobody.
        Ok((start_time(pid)? == Some(start)).then_some(Self { start, held }))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.held.pid()
    }

    /// When it started: see [`start_time`].
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.held.is_alive()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn ended(&self) -> io::Result<()> {
        self.held.ended().await
    }

    /// How it ended, if it is this process's child; then it is reaped. `None` for another's child,
    /// whose parent reaps it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reap(&self) -> io::Result<Option<Exit>> {
        let exit = |code, signal| Some(Exit { code, signal, ..Exit::default() });
        match waitid(Id::PIDFd(self.held.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(_, code)) => Ok(exit(Some(code), None)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(exit(None, Some(signal as i32))),
            Ok(_) | Err(Errno::ECHILD) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A copy of the process's descriptor of this number (`pidfd_getfd(2)`).
    ///
    /// # Errors
    /// What the kernel says; `EPERM` for who may not trace the process.
    pub fn descriptor(&self, number: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: the call takes three numbers and gives a new descriptor or -1.
        let copy = unsafe {
            libc::syscall(libc::SYS_pidfd_getfd, self.held.as_fd().as_raw_fd(), number, 0)
        };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        let copy = RawFd::try_from(copy).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
    }

    /// The descriptor itself, for who wants to hold it elsewhere.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }
}

/// When the process of this number started, in clock ticks since the machine's start (field 22 of
/// `/proc/<pid>/stat`, proc_pid_stat(5)). With the number it names a process for good. `None`: there
/// is none.
///
/// # Errors
/// What the file system says.
pub fn start_time(pid: u32) -> io::Result<Option<u64>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(start_time_of(&stat)),
        // ESRCH: it was reaped between the open and the read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

fn start_time_of(stat: &str) -> Option<u64> {
    // The second field is the program's name in brackets, which may have brackets and blanks.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_itself_alone() {
        let me = std::process::id();
        let start = start_time(me).unwrap().unwrap();
        assert!(Handle::open(me, start).unwrap().unwrap().is_alive());
        assert!(Handle::open(me, start + 1).unwrap().is_none());
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2";
        assert_eq!(start_time_of(stat), Some(98765));
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is reaped by its handle")]
    fn a_child_is_reaped_with_its_end_and_another_s_is_not() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read x; exit 7"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let start = start_time(child.id()).unwrap().unwrap();
        let handle = Handle::open(child.id(), start).unwrap().unwrap();
        assert!(handle.is_alive() && handle.reap().unwrap().is_none());
        drop(child.stdin.take());
        let mut ended = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, PollTimeout::NONE).unwrap();
        assert!(!handle.is_alive());
        let exit = handle.reap().unwrap().unwrap();
        assert_eq!((exit.code, exit.signal), (Some(7), None));
        assert!(handle.reap().unwrap().is_none());
        assert!(Handle::open(child.id(), start).unwrap().is_none());
    }
}
