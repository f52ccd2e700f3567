//! What is held while no agent lives, and its copy in the service manager's store.
//!
//! systemd keeps descriptors for a service over its process's death and a restart of the unit
//! (`FDSTORE=1`, sd_notify(3)) and gives them back by `LISTEN_FDS`, names included.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use sd_notify::NotifyState;

/// Descriptors by name, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<(String, OwnedFd)>);

/// `SD_LISTEN_FDS_START` of sd-daemon.h.
const FIRST: RawFd = 3;

impl Held {
    /// What an earlier launcher of the same unit has left in the service manager's store.
    pub(super) fn take_stored() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let own = variable("LISTEN_PID").and_then(|pid| pid.parse().ok());
        let count = variable("LISTEN_FDS").and_then(|count| count.parse::<RawFd>().ok());
        let (Some(count), true) = (count, own == Some(std::process::id())) else {
            return Self::default();
        };
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let mut held = Self::default();
        for (raw, name) in (FIRST..FIRST + count).zip(names.split(':')) {
            // SAFETY: the service manager has opened these descriptors for this process, and
            // nothing else in it knows them; this runs once, at the start.
            let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
            match nix::fcntl::fcntl(
                &descriptor,
                nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
            ) {
                Ok(_) => held.0.push((name.to_owned(), descriptor)),
                Err(error) => eprintln!("agentd: {name} is not as it was stored: {error}"),
            }
        }
        held
    }

    pub(super) fn hold(&mut self, name: String, descriptor: OwnedFd) {
        self.drop(&name);
        store(&name, descriptor.as_fd());
        self.0.push((name, descriptor));
    }

    pub(super) fn drop(&mut self, name: &str) {
        let before = self.0.len();
        self.0.retain(|(held, _)| held != name);
        if self.0.len() < before {
            notify_all(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.0.iter().map(|(name, descriptor)| (name.as_str(), descriptor.as_fd()))
    }
}

fn store(name: &str, descriptor: BorrowedFd<'_>) {
    // Without FDPOLL=0 the manager would drop one whose other side has gone.
    let states = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
    if let Err(error) = sd_notify::notify_with_fds(&states, &[descriptor]) {
        eprintln!("agentd: {name} cannot be stored by the service manager: {error}");
    }
}

/// Tells the service manager, where there is one.
pub(super) fn notify(state: &str) {
    notify_all(&[NotifyState::Custom(state)]);
}

fn notify_all(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        eprintln!("agentd: the service manager cannot be told: {error}");
    }
}
