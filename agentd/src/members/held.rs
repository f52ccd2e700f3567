//! A process held by a descriptor, so that no signal meets another one of the same number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process, whoever's child it is.
#[derive(Debug)]
pub struct Held {
    pid: u32,
    pidfd: OwnedFd,
}

impl Held {
    /// The process that has this number now; `None` when nobody has.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        // SAFETY: the call takes two numbers and gives a new descriptor or -1.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if pidfd < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // EINVAL: a thread, not a process, has the number.
                Some(libc::ESRCH | libc::EINVAL) => Ok(None),
                _ => Err(error),
            };
        }
        let pidfd = RawFd::try_from(pidfd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(Some(Self { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended. A zombie has.
    pub fn is_alive(&self) -> bool {
        let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut ended, PollTimeout::ZERO), Ok(0) | Err(_))
    }

    /// Signals it, unless it has ended.
    ///
    /// # Errors
    /// What the kernel says; `PermissionDenied` for another user's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let info: *const libc::siginfo_t = std::ptr::null();
        // SAFETY: the descriptor is open, and without an info the kernel makes one as kill(2) does.
        let sent = unsafe {
            let pidfd = self.pidfd.as_raw_fd();
            libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal as libc::c_int, info, 0)
        };
        match io::Error::last_os_error() {
            _ if sent == 0 => Ok(()),
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        }
    }

    /// The descriptor itself.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn ended(&self) -> io::Result<()> {
        let pidfd = self.pidfd.as_fd();
        // SAFETY: the descriptor is borrowed from `self` for longer than it is registered.
        let ended = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
        ended.readable().await.map(drop)
    }
}
