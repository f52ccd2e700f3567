//! What stands between an app and the machine: its own user, no other right, the system read-only,
//! and limits.
//!
//! All of it is prepared before the fork; [`Sandbox::enter`] then makes system calls alone. Their
//! order matters: each step needs rights that a later one gives up.
//!
//! ```text
//!   cgroup ─▶ limits ─▶ mounts ─▶ bounds ─▶ groups, user ─▶ the one capability ─▶ no new privileges
//! ```
//!
//! An agent that is not root (a local fleet's) can do only what every process can: limit
//! descriptors, and give up new privileges.

use std::io;
use std::os::fd::RawFd;

use crate::fork::{Fault, Step};

mod limits;
mod mounts;
mod rights;
#[cfg(test)]
mod tests;
mod user;
mod view;

pub use user::{User, UserError};
pub use view::{STATE_DIR, View, make_state};

/// What is to hold for a process to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// How many descriptors it may have.
    pub nofile: u64,
    /// Where it is confined to. None: it has the agent's user and rights.
    pub confined: Option<Confined<'a>>,
}

/// Where a process is confined to. Only root can do that.
#[derive(Clone, Copy, Debug)]
pub struct Confined<'a> {
    /// Who it is.
    pub user: &'a User,
    /// It binds its ports by itself, and one of them is below 1024.
    pub binds_low_ports: bool,
    /// What it sees.
    pub view: &'a View,
}

/// All that a process to be made does to itself.
#[derive(Debug)]
pub struct Sandbox {
    limits: limits::Limits,
    confined: Option<(mounts::Mounts, rights::Rights)>,
    nofile: u64,
}

impl Sandbox {
    /// Prepares what `plan` says.
    ///
    /// # Errors
    /// What the file system says.
    pub fn prepare(plan: &Plan<'_>) -> io::Result<Self> {
        let (limits, nofile) = limits::Limits::prepare(plan.nofile, limits::may_raise()?)?;
        let confined = plan.confined.as_ref().map(|confined| {
            let rights = rights::Rights::prepare(confined.user, confined.binds_low_ports)?;
            io::Result::Ok((confined.view.mounts()?, rights))
        });
        Ok(Self { limits, confined: confined.transpose()?, nofile })
    }

    /// How many descriptors the process may have: fewer than was wished for where the agent may
    /// not raise limits and has no more itself.
    pub fn nofile(&self) -> u64 {
        self.nofile
    }

    /// Enters it, between fork and exec. The descriptors from `3 + handed` on end with the exec.
    /// Afterwards the process is the app's user, and may not be able to return to where it was:
    /// what is to be done as root, or in the agent's folders, is done before, and what is to be
    /// found in the app's view afterwards.
    ///
    /// # Errors
    /// The step that failed. The process must end then.
    pub fn enter(&mut self, handed: usize) -> Result<(), Fault> {
        self.limits.set()?;
        if let Some((mounts, rights)) = &mut self.confined {
            mounts.make()?;
            rights.take()?;
        }
        rights::no_new_privileges()?;
        close_on_exec_from(handed)
    }
}

fn close_on_exec_from(handed: usize) -> Result<(), Fault> {
    let first = 3 + handed as RawFd;
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: the call takes numbers; nothing is closed yet.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flag) } {
        0 => Ok(()),
        _ => Err(Step::Inherited.fault()),
    }
}
