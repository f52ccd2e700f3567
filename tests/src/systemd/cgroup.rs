//! A control group of the machine's, with all below it, that goes with its value.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;

use super::missing::Missing;
use crate::fleet::within;

const PREFIX: &str = "engineer-test-";

/// How long the processes of a group may take to end that were all killed.
const END_WITHIN: Duration = Duration::from_secs(20);

/// The group.
#[derive(Debug)]
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// A new one at the top of the second hierarchy, cgroups(7).
    ///
    /// # Errors
    /// [`Missing`] where there is none.
    pub(super) fn new() -> anyhow::Result<Self> {
        static GROUPS: AtomicU32 = AtomicU32::new(0);
        let top = top()?;
        remove_abandoned(&top)?;
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let path = top.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Err(Missing::new(format!("{} is read-only", top.display())).into())
            }
            Err(error) => Err(error).with_context(|| format!("cannot make {}", path.display())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The processes in it and below, as the machine numbers them.
    pub(super) fn processes(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        for group in with_all_below(&self.0)? {
            // One that has just been removed has none.
            let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        Ok(found)
    }

    fn remove(&self) -> anyhow::Result<()> {
        remove(&self.0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("left: {} ({error:#})", self.0.display());
        }
    }
}

/// Where the second hierarchy is mounted: alone, or beside the first.
pub(super) fn top() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    let is_second = |line: &&str| line.split(' ').nth(2) == Some("cgroup2");
    let found = mounts.lines().find(is_second).and_then(|line| line.split(' ').nth(1));
    Ok(found.map(PathBuf::from).ok_or_else(|| Missing::new("no cgroup2 is mounted"))?)
}

/// Removes those whose test was killed.
fn remove_abandoned(top: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(top)?.flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Kills all in it, and removes it and what is below.
fn remove(group: &Path) -> anyhow::Result<()> {
    fs::write(group.join("cgroup.kill"), "1").context("cgroup.kill")?;
    let is_empty = || {
        let events = fs::read_to_string(group.join("cgroup.events")).ok()?;
        events.lines().any(|line| line == "populated 0").then_some(())
    };
    within(END_WITHIN, is_empty).context("its processes do not end")?;
    // Those below others come last.
    for group in with_all_below(group)?.into_iter().rev() {
        fs::remove_dir(&group).with_context(|| format!("cannot remove {}", group.display()))?;
    }
    Ok(())
}

fn with_all_below(group: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![group.to_owned()];
    let mut next = 0;
    while let Some(group) = found.get(next) {
        next += 1;
        // It may be removed at any time while something lives in it.
        let entries = fs::read_dir(group).into_iter().flatten().flatten();
        let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let below: Vec<PathBuf> = groups.map(|entry| entry.path()).collect();
        found.extend(below);
    }
    Ok(found)
}
