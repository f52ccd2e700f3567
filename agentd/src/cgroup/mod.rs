//! The cgroup that the agent was given for its own (`Delegate=yes` of systemd), and what it makes
//! below it: one for each version of the app.
//!
//! ```text
//!   agentd.service/          delegated: no process of its own, as it hands controllers down
//!     agent/                 launcher and agent
//!     app-7/                 all processes of version 7, however often they forked
//!     app-8/
//! ```
//!
//! A process cannot leave its cgroup without the right to write elsewhere, so a group tells exactly
//! what belongs to a version: who may speak for it, what is to be ended with it, and when the last
//! of it is gone. [`Group`] is one of them; [`place`] finds out where this process is.
//!
//! Kernel's own documentation: Documentation/admin-guide/cgroup-v2.rst.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod events;
mod group;
mod limits;
pub mod place;
#[cfg(test)]
pub(crate) mod tests;

pub use group::Group;
pub use limits::Limits;

/// Where launcher and agent are. A unit's `DelegateSubgroup=` must have this name.
pub const AGENT: &str = "agent";

/// What a version's group is called, before its number.
const APP: &str = "app-";

/// The controllers that limits need.
const CONTROLLERS: [&str; 2] = ["memory", "cpu"];

/// How often the processes of the delegated cgroup itself are moved away: one may fork meanwhile.
const MOVES_MAX: u32 = 20;

/// A cgroup whose subtree is the agent's own.
#[derive(Clone, Debug)]
pub struct Delegated {
    root: PathBuf,
    lacking: Vec<String>,
}

/// Why a delegated cgroup cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the cgroup {}: {what}; is the unit's Delegate= set?", path.display())]
pub struct NotDelegated {
    path: PathBuf,
    what: &'static str,
    #[source]
    cause: io::Error,
}

impl Delegated {
    /// The cgroup that this process was started in, or the one above it, where it is in the group of
    /// agents already.
    ///
    /// # Errors
    /// When it cannot be found, or may not be used.
    pub fn own() -> Result<Self, NotDelegated> {
        let own = place::own().map_err(|cause| NotDelegated {
            path: "/proc/self/cgroup".into(),
            what: "this process's place in it is not to be found",
            cause,
        })?;
        match (own.file_name(), own.parent()) {
            (Some(name), Some(above)) if name == AGENT => Self::take(above.to_owned()),
            _ => Self::take(own),
        }
    }

    /// Makes `root` ready: what runs in it goes into its group `agent`, and it hands its controllers
    /// down. Doing it again changes nothing.
    ///
    /// # Errors
    /// When the agent may not do that. A controller that is not there is no error: see
    /// [`Self::lacking`].
    pub fn take(root: PathBuf) -> Result<Self, NotDelegated> {
        let failed = |what| {
            let path = root.clone();
            move |cause| NotDelegated { path, what, cause }
        };
        let agents = root.join(AGENT);
        make(&agents).map_err(failed("the agent's own group cannot be made"))?;
        move_all(&root, &agents).map_err(failed("its processes cannot be moved"))?;
        let there = fs::read_to_string(root.join("cgroup.controllers"));
        let there = there.map_err(failed("its controllers cannot be read"))?;
        let mut lacking = Vec::new();
        for controller in CONTROLLERS {
            if !there.split_whitespace().any(|name| name == controller) {
                lacking
                    .push(format!("the kernel's {controller} controller is not on cgroup v2 here"));
            } else if let Err(error) = switch(&root, '+', controller) {
                lacking.push(format!("the {controller} controller cannot be handed down: {error}"));
            }
        }
        Ok(Self { root, lacking })
    }

    /// Why limits do not hold here, one line for each controller that is not to be had.
    pub fn lacking(&self) -> &[String] {
        &self.lacking
    }

    /// The group of version `id`, made if it is not there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn group(&self, id: u32) -> io::Result<Group> {
        let path = self.root.join(format!("{APP}{id}"));
        make(&path)?;
        Group::open(path)
    }

    /// The group of version `id`, made anew, for a process to be made in it.
    ///
    /// A kernel that counts how often a group was killed (6.15 and later; seen on 6.18) kills at once
    /// whatever `CLONE_INTO_CGROUP` makes in one that was: it compares with the count of the parent's
    /// own group. The count of a new one is zero, as the agent's is.
    ///
    /// # Errors
    /// `ResourceBusy` while a process is in it; what else the kernel says.
    pub fn new_group(&self, id: u32) -> io::Result<Group> {
        self.group(id)?.remove()?;
        self.group(id)
    }

    /// The groups that are there, an earlier agent's among them, by their versions' numbers.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn groups(&self) -> io::Result<Vec<(u32, Group)>> {
        let mut groups = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(APP)?.parse().ok());
            if let Some(id) = id {
                groups.push((id, Group::open(entry.path())?));
            }
        }
        groups.sort_by_key(|(id, _)| *id);
        Ok(groups)
    }

    /// Takes the controllers back, so that a process can be started in the cgroup itself again:
    /// systemd up to 253 has no `DelegateSubgroup=` and fails with 219/CGROUP otherwise. Limits do not
    /// hold until the next [`Self::take`] and [`Group::limit`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_back_controllers(root: &Path) -> io::Result<()> {
        let handed = fs::read_to_string(root.join("cgroup.subtree_control"))?;
        handed.split_whitespace().try_for_each(|controller| switch(root, '-', controller))
    }
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn switch(root: &Path, sign: char, controller: &str) -> io::Result<()> {
    fs::write(root.join("cgroup.subtree_control"), format!("{sign}{controller}"))
}

/// Moves every process that is in `from` itself. One that forks while it is moved leaves its child
/// behind, so it is looked again until nobody is left.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..MOVES_MAX {
        let pids = processes_in(from)?;
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            match fs::write(to.join("cgroup.procs"), pid.to_string()) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                moved => moved?,
            }
        }
    }
    Err(io::Error::other("its processes fork faster than they can be moved"))
}

/// The processes in the group at `path` itself.
fn processes_in(path: &Path) -> io::Result<Vec<u32>> {
    let pids = fs::read_to_string(path.join("cgroup.procs"))?;
    Ok(pids.lines().filter_map(|line| line.parse().ok()).collect())
}
