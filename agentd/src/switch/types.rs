//! What goes into the switch core and what comes out.

use std::sync::Arc;
use std::time::Duration;

use deploy::id::Id;
use deploy::release::Release;
use deploy::report::{Phase, Stage};
use serde::{Deserialize, Serialize};

/// A moment on the kernel's monotonic clock, counted from the machine's start: it means the same to
/// an agent that takes over from another one.
pub type Time = Duration;

/// One version of the app on this instance: a release's sockets, and its processes one after the
/// other. Numbered in the order in which they were begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionId(pub u32);

/// One start of a version's process. The number is never given twice, so that whoever carries the
/// start out a second time finds that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Its last words say that its address was in use: it binds its port by itself, and somebody
    /// else had it.
    pub address_in_use: bool,
    /// It was killed for want of memory: more than its limit, or than the machine has.
    #[serde(default)]
    pub out_of_memory: bool,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The newest release that the bucket desires.
    Desired(Arc<Release>),
    /// All that this release needs lies on the disk, verified.
    Fetched(Id),
    /// It cannot be brought, for this reason; all tries are used up.
    FetchFailed(Id, String),
    /// How this version can follow the one that serves.
    Prepared(VersionId, Way),
    /// It cannot be started at all, for this reason.
    PrepareFailed(VersionId, String),
    /// Its process could not be started, for this reason.
    StartFailed(VersionId, String),
    /// It is ready.
    Ready(VersionId),
    /// Its queue is empty and its connections have ended.
    Idle(VersionId),
    /// Its process has ended.
    Exited(VersionId, Exit),
    /// It says that it is ending.
    Stopping(VersionId),
    /// It asks for the deadline that it is under to be so far from now.
    Extend(VersionId, Time),
    /// The agent is to end, and the app with it, at once.
    Stop,
    /// The machine ends: the app has the time that its settings give it.
    ShutDown,
    /// Time has passed.
    Tick,
}

/// How a version can follow the one that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Both run at once.
    Overlap,
    /// The old one must end first. The note tells people why, where they did not ask for it.
    StopFirst {
        /// For people.
        note: Option<String>,
    },
}

/// What to do. Each is idempotent: an agent that takes over carries out again what the one before
/// may have begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Bring what the release needs onto the disk: [`Event::Fetched`] or [`Event::FetchFailed`].
    Fetch(Arc<Release>),
    /// Find out how the version can follow: [`Event::Prepared`] or [`Event::PrepareFailed`].
    Prepare {
        /// Which.
        version: VersionId,
        /// Of which release.
        release: Arc<Release>,
        /// An attempt has shown that it binds its port by itself.
        binds_itself: bool,
    },
    /// Start a process of the version. [`Event::Ready`] and [`Event::Exited`] follow, or
    /// [`Event::StartFailed`].
    Start(VersionId, RunId),
    /// Of the new connections this version gets the share that its settings name; until
    /// [`Action::Steer`].
    ShareOut(VersionId),
    /// New connections go to this version from now on.
    Steer(VersionId),
    /// Say [`Event::Idle`] when the version has nothing left to do.
    AwaitIdle(VersionId),
    /// `SIGTERM` to its processes.
    Terminate(VersionId),
    /// `SIGKILL` to its processes.
    Kill(VersionId),
    /// Close its sockets and forget it; it has no process.
    Discard(VersionId),
    /// Remember this, and report it.
    Record(Record),
    /// Nothing runs any more: end.
    End,
}

/// What is worth remembering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// New connections go to this release now.
    Switched {
        /// Which.
        release: u64,
        /// About how, for people.
        note: Option<String>,
    },
    /// It serves, and the one before it is no longer needed.
    Done {
        /// Which.
        release: u64,
    },
    /// It failed, and is not tried again.
    Failed {
        /// Which.
        release: u64,
        /// Whose last lines tell why, if a process was started.
        version: Option<VersionId>,
        /// How far it came.
        stage: Stage,
        /// What happened.
        message: String,
        /// How its process ended.
        exit: Exit,
    },
    /// The serving release's process ended by itself, and is started again.
    Crashed {
        /// Which.
        release: u64,
        /// Whose last lines tell why.
        version: VersionId,
        /// How.
        exit: Exit,
    },
}

/// What outlives the agent.
#[derive(Clone, Debug, Default)]
pub struct Retained {
    /// The last release that served and settled here.
    pub good: Option<Arc<Release>>,
    /// The release that failed here, and is not tried again while there is a good one.
    pub rejected: Option<Id>,
}

/// The core's state as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What it is doing.
    pub phase: Phase,
    /// The newest release that it has seen.
    pub seen: Option<u64>,
    /// The version that gets new connections.
    pub serving: Option<VersionView>,
    /// Versions that finish what they have.
    pub draining: Vec<VersionView>,
    /// A release has failed, and the version that was ended for it is not ready again yet: whoever
    /// hears of the failure is to find the old version serving.
    pub is_restoring: bool,
    /// The serving version crashes again and again.
    pub crash_loop: Option<CrashLoop>,
    /// Whether the load balancer may send connections here.
    pub healthy: bool,
}

/// A version that crashes again and again, without a minute of health in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// How often in a row.
    pub crashes: u32,
    /// When it is started again, if it does not run.
    pub next_start: Option<Time>,
}

/// One version as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionView {
    /// Which.
    pub id: VersionId,
    /// Of which release.
    pub release: u64,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.out_of_memory {
            return f.write_str("was killed for want of memory");
        }
        match (self.code, self.signal) {
            (_, Some(number)) => match nix::sys::signal::Signal::try_from(number) {
                Ok(signal) => write!(f, "was ended by {signal} (signal {number})"),
                Err(_) => write!(f, "was ended by signal {number}"),
            },
            (Some(code), None) => write!(f, "exited with code {code}"),
            (None, None) => f.write_str("ended"),
        }
    }
}
