//! What the machine can be in the middle of. Each phase carries what is known in it.

use std::sync::Arc;

use deploy::release::Release;
use serde::{Deserialize, Serialize};

use super::super::types::{CrashLoop, Time, VersionId, VersionView};

/// Restarts of a crashing app: at once, then after 1 s, doubling to this.
const BACK_OFF_MAX: Time = Time::from_secs(60);

/// A process that has been ready this long starts anew at once when it ends.
const HEALTHY_AFTER: Time = Time::from_secs(60);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Desired {
    pub(super) release: Arc<Release>,
    pub(super) fetch: Fetch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fetch {
    Underway,
    Done,
    Failed,
}

/// Why the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stopping {
    /// It was asked to, with its app.
    Asked,
    /// The machine ends.
    Machine,
}

/// A version, and the process that it has or waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) id: VersionId,
    pub(super) release: Arc<Release>,
    pub(super) process: Process,
    pub(super) restarts: u32,
    pub(super) crashes_in_a_row: u32,
    /// Seen to bind its port by itself, instead of taking the sockets that it is handed.
    pub(super) binds_itself: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Process {
    /// None, and none is to come.
    None,
    /// It ended, and the next is started then.
    RestartAt(Time),
    /// It runs since then; once it is ready, it is that since then.
    Up { since: Time, ready: bool },
}

/// The way from what serves to what is desired.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Switch {
    /// Nothing is under way.
    Rest,
    /// It is being found out how the next version can follow.
    Preparing { next: Version },
    /// The old version is ending, so that the next one can start.
    StoppingOld { next: Version, old: Version, kill_at: Option<Time>, note: Option<String> },
    /// The next version's process is not ready yet.
    Starting { next: Version, before: Before, ready_by: Time, note: Option<String> },
    /// It is ready, and must stay so.
    Proving { next: Version, before: Before, until: Time, note: Option<String> },
    /// It serves; until then the version before can take its place again.
    Settling { before: Before, until: Time },
}

/// What stood before the version that is being started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Before {
    /// Nothing: it is the first.
    Nothing,
    /// A version that runs beside it. While the next one is not proven, that is the serving one,
    /// and this only says so; then it is kept here, in reserve.
    Beside(Option<Version>),
    /// A version that was ended for it, and is started again if it fails.
    Ended(Version),
}

/// A version on its way out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Retiring {
    pub(super) version: Version,
    pub(super) stage: Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Leaving {
    /// Its queue and connections are waited for.
    Draining { terminate_at: Time },
    /// It was told to end.
    Terminated { kill_at: Option<Time> },
    /// It was killed.
    Killed,
}

impl Before {
    /// The version that stood there and is kept.
    pub(super) fn version(&self) -> Option<&Version> {
        match self {
            Self::Nothing | Self::Beside(None) => None,
            Self::Beside(Some(version)) | Self::Ended(version) => Some(version),
        }
    }
}

impl Version {
    pub(super) fn view(&self) -> VersionView {
        VersionView { id: self.id, release: self.release.number, restarts: self.restarts }
    }

    pub(super) fn become_ready(&mut self, now: Time) {
        if matches!(self.process, Process::Up { ready: false, .. }) {
            self.process = Process::Up { since: now, ready: true };
        }
    }

    /// When it has been healthy for so long that its crashes are forgotten, if there were any.
    pub(super) fn recovers_at(&self) -> Option<Time> {
        match self.process {
            Process::Up { since, ready: true } if self.crashes_in_a_row > 0 => {
                Some(since + HEALTHY_AFTER)
            }
            Process::None | Process::RestartAt(_) | Process::Up { .. } => None,
        }
    }

    pub(super) fn recover(&mut self, now: Time) {
        if self.recovers_at().is_some_and(|at| at <= now) {
            self.crashes_in_a_row = 0;
        }
    }

    /// Its crashes in a row, where they are so many that its starts wait, and when the next one is.
    pub(super) fn crash_loop(&self) -> Option<CrashLoop> {
        let next_start = match self.process {
            Process::RestartAt(at) => Some(at),
            Process::None | Process::Up { .. } => None,
        };
        let crashes = self.crashes_in_a_row;
        (crashes > 1).then_some(CrashLoop { crashes, next_start })
    }

    /// Its process has ended by itself: the next is started at once, or after a pause that grows.
    pub(super) fn back_off(&mut self, now: Time) {
        self.recover(now);
        let pause = match self.crashes_in_a_row {
            0 => Time::ZERO,
            crashes => Time::from_secs(1 << (crashes - 1).min(6)).min(BACK_OFF_MAX),
        };
        self.crashes_in_a_row += 1;
        self.process = Process::RestartAt(now + pause);
    }
}
