//! A controller of control groups, given to a node: the kernel's rules for groups with controllers
//! hold then, whichever controller it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;

use super::cgroup;
use super::missing::{self, Missing};
use super::node::Node;

/// Those that limit nothing by themselves, and that may hold no processes in inner groups: the rule
/// does not hold for cpu, cpuset, pids and perf_event in threaded groups, cgroups(7).
const HARMLESS: [&str; 3] = ["hugetlb", "misc", "rdma"];

/// It is the machine's, so one test has it at a time.
static TAKEN: Mutex<()> = Mutex::new(());

/// The controller. The machine's top group gives it to those below while this is held: make it
/// before the node that it is for, so that it goes after it.
#[derive(Debug)]
pub struct Controller {
    name: &'static str,
    top: PathBuf,
    /// The top group did not give it before.
    is_new: bool,
    _taken: MutexGuard<'static, ()>,
}

impl Controller {
    /// Takes one that the machine has.
    ///
    /// # Errors
    /// [`Missing`] where the machine has none to give in its second hierarchy.
    pub fn take() -> anyhow::Result<Self> {
        missing::check()?;
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let top = cgroup::top()?;
        let there = fs::read_to_string(top.join("cgroup.controllers"))?;
        let name = HARMLESS.into_iter().find(|name| names(&there).any(|there| there == *name));
        let name = name.ok_or_else(|| Missing::new(format!("no {HARMLESS:?} on cgroup2")))?;
        let is_new = !names(&fs::read_to_string(control(&top))?).any(|given| given == name);
        write(&top, &format!("+{name}"))?;
        Ok(Self { name, top, is_new, _taken: taken })
    }

    /// Gives it to the node's groups, down to and including `group`.
    ///
    /// # Errors
    /// When one of the groups above it holds processes of its own.
    pub fn give(&self, node: &Node, group: &str) -> anyhow::Result<()> {
        let mut at = node.cgroup().to_owned();
        for step in group.split('/').filter(|step| !step.is_empty()) {
            write(&at, &format!("+{}", self.name))?;
            at.push(step);
        }
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if !self.is_new {
            return;
        }
        if let Err(error) = write(&self.top, &format!("-{}", self.name)) {
            eprintln!("left: {} in {} ({error:#})", self.name, control(&self.top).display());
        }
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

fn control(group: &Path) -> PathBuf {
    group.join("cgroup.subtree_control")
}

fn write(group: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(control(group), text)
        .with_context(|| format!("{text} to {}", control(group).display()))
}
