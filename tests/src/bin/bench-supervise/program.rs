//! The app that is supervised: it appends its process id and the time to a file, and waits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use nix::time::ClockId;
use nix::unistd::Pid;
use tests::fleet::within;

/// The app, by the file that it writes.
pub(crate) struct App {
    pub(crate) file: PathBuf,
}

/// The kernel's monotonic clock, in microseconds.
pub(crate) fn now_micros() -> f64 {
    let now = ClockId::CLOCK_MONOTONIC.now().expect("every Linux has this clock");
    Duration::from(now).as_secs_f64() * 1e6
}

pub(crate) fn kill(pid: u32) -> anyhow::Result<()> {
    nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).context("no such app")
}

impl App {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { file: folder.join("starts") }
    }

    fn starts(&self) -> Vec<(u32, f64)> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let start = |line: &str| {
            let (pid, at) = line.split_once(' ')?;
            Some((pid.parse().ok()?, at.parse().ok()?))
        };
        text.lines().filter_map(start).collect()
    }

    /// The newest start.
    pub(crate) fn newest(&self) -> Option<(u32, f64)> {
        within(Duration::from_secs(20), || self.starts().pop())
    }

    /// The start after that of `pid`.
    pub(crate) fn after(&self, pid: u32) -> anyhow::Result<(u32, f64)> {
        let next = || {
            let starts = self.starts();
            let at = starts.iter().position(|(found, _)| *found == pid)?;
            starts.get(at + 1).copied()
        };
        within(Duration::from_secs(20), next).context("the app does not come back")
    }
}

/// The PSS of this process and all that it has started, but for the app's, whose processes the kernel
/// calls `app`; in kilobytes.
pub(crate) fn pss(root: u32, app: &str) -> u64 {
    let mut all = vec![root];
    let mut at = 0;
    while at < all.len() {
        let path = format!("/proc/{0}/task/{0}/children", all[at]);
        let children = std::fs::read_to_string(path).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        at += 1;
    }
    let is_app = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == app
    };
    let of_one = |pid: &u32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()
    };
    all.iter().filter(|pid| !is_app(pid)).filter_map(of_one).sum::<u64>() * 1024 / 1000
}

/// What the kernel calls the app's processes.
pub(crate) const APP_NAME: &str = "says-start";
