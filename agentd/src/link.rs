//! The agent's end of the talk with its launcher (see [`crate::launcher`]).
//!
//! An agent that was started by hand has no launcher: then nothing is held for it, and all of this
//! does nothing.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::launcher::protocol::{self, Ended, LINK, ToAgent, ToLauncher};
use crate::switch::Exit;

/// How long after a process's end its parent may take to say how it ended. One that had ended before
/// the launcher gave what it knew is known, or its word is on its way.
pub const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// See [`ENDED_WITHIN`].
pub const ENDED_BEFORE_WITHIN: Duration = Duration::from_millis(100);

/// Descriptors that were held, by name.
pub type Held = HashMap<String, OwnedFd>;

/// Clones talk with the same launcher.
#[derive(Clone, Debug, Default)]
pub struct Link(Option<Arc<Launcher>>);

#[derive(Debug)]
struct Launcher {
    socket: OwnedFd,
    ended: Mutex<HashMap<i32, Ended>>,
    is_told: Notify,
}

impl Link {
    /// The launcher that started this process, and what it holds; call it once, at the start.
    ///
    /// # Errors
    /// When there is a launcher and it does not answer.
    pub fn take() -> io::Result<(Self, Held)> {
        let Some(number) = std::env::var(LINK).ok().and_then(|text| text.parse::<RawFd>().ok())
        else {
            return Ok((Self::default(), Held::new()));
        };
        // SAFETY: the launcher has opened this descriptor for this process alone, and this runs
        // once, so that nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let mut launcher = Launcher { socket, ended: Mutex::default(), is_told: Notify::new() };
        let held = launcher.give()?;
        Ok((Self(Some(Arc::new(launcher))), held))
    }

    /// Whether there is a launcher.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Has it keep a copy of this descriptor, in place of an earlier one of this name.
    pub fn hold(&self, name: &str, descriptor: BorrowedFd<'_>) {
        self.say(&ToLauncher::Hold(name.to_owned()), Some(descriptor));
    }

    /// Has it close what it keeps under this name.
    pub fn drop(&self, name: &str) {
        self.say(&ToLauncher::Drop(name.to_owned()), None);
    }

    /// Says what needs no descriptor.
    pub fn tell(&self, message: &ToLauncher) {
        self.say(message, None);
    }

    fn say(&self, message: &ToLauncher, descriptor: Option<BorrowedFd<'_>>) {
        let Some(launcher) = &self.0 else { return };
        // It does nothing else than read; if it is gone, so is this agent in a moment.
        if let Err(error) = protocol::send_within(launcher.socket.as_fd(), message, descriptor) {
            tracing::error!(%error, ?message, "the launcher does not hear");
        }
    }

    /// Hears what the launcher says, until it is gone.
    pub async fn listen(self) {
        let Some(launcher) = self.0 else { return };
        if let Err(error) = launcher.listen().await {
            tracing::error!(%error, "the launcher cannot be heard any more");
        }
    }

    /// How a process ended that was not this agent's child, if that is told within the time. `None`:
    /// nobody knows.
    pub async fn ended(&self, pid: u32, within: Duration) -> Option<Exit> {
        let launcher = self.0.as_ref()?;
        let told = async {
            loop {
                let told = launcher.is_told.notified();
                let ended = launcher.lock().get(&pid.cast_signed()).copied();
                match ended {
                    Some(ended) => return ended,
                    None => told.await,
                }
            }
        };
        let Ended { code, signal, .. } = tokio::time::timeout(within, told).await.ok()?;
        Some(Exit { code, signal, ..Exit::default() })
    }

    /// Leaves the talk open for the program that this process is about to become.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pass_on(&self) -> io::Result<()> {
        let Some(launcher) = &self.0 else { return Ok(()) };
        fcntl(&launcher.socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    }

    /// Takes that back: this process stays what it is.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn keep(&self) -> io::Result<()> {
        let Some(launcher) = &self.0 else { return Ok(()) };
        fcntl(&launcher.socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(())
    }
}

impl Launcher {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&mut self) -> io::Result<Held> {
        let mut held = Held::new();
        protocol::send(self.socket.as_fd(), &ToLauncher::Give, None)?;
        loop {
            match protocol::receive(self.socket.as_fd()) {
                Ok(Some((ToAgent::Held(name), Some(descriptor)))) => {
                    held.insert(name, descriptor);
                }
                Ok(Some((ToAgent::Given(ended), _))) => {
                    ended.into_iter().for_each(|ended| self.remember(ended));
                    return Ok(held);
                }
                Ok(Some((ToAgent::Ended(ended), _))) => self.remember(ended),
                Ok(Some((ToAgent::Held(name), None))) => {
                    tracing::error!(name, "the launcher sent no descriptor with it");
                }
                Ok(None) => protocol::await_message(self.socket.as_fd())?,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn remember(&self, ended: Ended) {
        self.lock().insert(ended.pid, ended);
        self.is_told.notify_waiters();
    }

    async fn listen(&self) -> io::Result<()> {
        // SAFETY: the descriptor is a copy that is owned by what it is registered with, and closed
        // after it.
        let socket = unsafe {
            AsyncFd::register_with_interest(self.socket.try_clone()?, Interest::READABLE)?
        };
        loop {
            match protocol::receive(self.socket.as_fd()) {
                Ok(Some((ToAgent::Ended(ended), _))) => self.remember(ended),
                Ok(Some(_)) => {}
                Ok(None) => socket.readable().await?.clear_ready(),
                // A launcher that is newer than this agent: it does without.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
    }
}
