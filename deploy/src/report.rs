//! What an instance says of itself: the object `fleet/instances/<name>`, written by it alone.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::id::Id;

/// How many releases' outcomes an instance remembers.
pub const OUTCOMES_MAX: usize = 200;

/// An agent that hears from its bucket has a view that is younger, at any interval that is of use.
const VIEW_MAX: Duration = Duration::from_secs(120);

/// How many of an app's last lines go into a [`Failure`].
pub const LAST_LINES_MAX: usize = 20;

/// An instance's own word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Which instance.
    pub instance: String,
    /// When it wrote this, by its own clock.
    pub written: Timestamp,
    /// The agent that wrote it.
    pub agent: Agent,
    /// When the bucket last told it what the state is, changed or not: how old its view is. None:
    /// not in this agent's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Timestamp>,
    /// Where the app is reached, one `host:port` for each of its ports.
    pub addresses: Vec<String>,
    /// The newest release that it has seen in `state.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// It has the newest release, of this number, on its disk, and waits for its turn to switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<u64>,
    /// What it is doing.
    pub phase: Phase,
    /// The version that gets new connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<Version>,
    /// Versions that finish their requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<Version>,
    /// How the newest releases fared here, oldest first.
    #[serde(default)]
    pub outcomes: Vec<Outcome>,
    /// When it left: its machine has ended, and its app before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Timestamp>,
    /// The serving version crashes again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_loop: Option<CrashLoop>,
    /// The newest failure, whichever release it befell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// The reporting agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Agent {
    /// Its process.
    pub pid: u32,
    /// The process that starts it anew when it dies, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<u32>,
    /// Its version, as `agentd --version` has it.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// The SHA-256 of the binary that runs. None: of an agent that cannot update itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// How far it is with the agent that it is to run. None: it knows of no wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<AgentUpdate>,
    /// Binaries that did not do here, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<BadAgent>,
}

/// How far an instance is with one [`crate::desired_agent::DesiredAgent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentUpdate {
    /// With which.
    pub id: Id,
    /// How far.
    pub phase: UpdatePhase,
    /// Numbers the times that it said [`UpdatePhase::Going`] in this agent's life, so that it knows
    /// which of them has been written. 0 in all other phases.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub word: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The way from one agent to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdatePhase {
    /// The binary is on its way to the disk.
    Fetching,
    /// It is run once, to see whether it can.
    Checking,
    /// It can, and it is not this instance's turn, or a switch is under way.
    Waiting,
    /// This instance is about to go, and tells the others so.
    Going,
    /// The new binary runs, and is yet to prove itself.
    Trial,
    /// The wanted binary runs.
    Good,
    /// It did not do: [`Agent::bad`] says why. The one before runs on.
    Bad,
    /// It did not do on the instances that went first, so that this one does not try it.
    Halted,
    /// What a newer agent says, and this program does not know.
    #[serde(other)]
    Unknown,
}

impl UpdatePhase {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Checking => "checking",
            Self::Waiting => "waiting",
            Self::Going => "going",
            Self::Trial => "trial",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Halted => "halted",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing more will come of it.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Good | Self::Bad | Self::Halted => true,
            Self::Fetching
            | Self::Checking
            | Self::Waiting
            | Self::Going
            | Self::Trial
            | Self::Unknown => false,
        }
    }
}

/// A binary that did not do on an instance. It is not tried again there, unless that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BadAgent {
    /// Its SHA-256.
    pub digest: Digest,
    /// Its version, as it was named.
    pub version: String,
    /// The wish that it was tried for.
    pub update: Id,
    /// When.
    pub at: Timestamp,
    /// How far it had come.
    pub stage: AgentStage,
    /// What happened, for people.
    pub reason: String,
}

/// How far a binary had come when it turned out not to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentStage {
    /// It could not be brought to the disk whole: that may be no fault of its own, so that another
    /// wish for it tries again.
    Fetch,
    /// Run once, it did not say that it could run here.
    Check,
    /// It ran, and did not prove itself.
    Trial,
    /// What a newer agent says, and this program does not know.
    #[serde(other)]
    Unknown,
}

/// A version that crashes again and again, without a minute of health in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CrashLoop {
    /// How often in a row.
    pub crashes: u32,
    /// When it is started again, if it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start: Option<Timestamp>,
}

/// One running version of the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Version {
    /// Its release.
    pub release: u64,
    /// Its process.
    pub pid: u32,
    /// When that process started.
    pub started: Timestamp,
    /// How often this version was started again after it had ended by itself.
    pub restarts: u32,
    /// What it says that it does (`STATUS=` of sd_notify(3)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Its health path has ceased to answer as it should: how it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell: Option<String>,
}

/// What an instance is doing, on the way from one release to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// There is no release to run.
    Idle,
    /// The newest release's objects are on their way to its disk.
    Fetching,
    /// The new version's process runs and is not ready yet.
    Starting,
    /// It is ready, and in its health window.
    Proving,
    /// It gets the new connections, and the old one is kept in reserve.
    Settling,
    /// One version serves, and nothing is under way.
    Serving,
    /// The app ends again and again; the next start waits.
    BackingOff,
    /// The agent is ending.
    Stopping,
}

impl Phase {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fetching => "fetching",
            Self::Starting => "starting",
            Self::Proving => "proving",
            Self::Settling => "settling",
            Self::Serving => "serving",
            Self::BackingOff => "backing-off",
            Self::Stopping => "stopping",
        }
    }
}

/// How one release fared on one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// Which release.
    pub release: u64,
    /// When new connections were steered to it. None: they never were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Timestamp>,
    /// How it ended. None: it is still settling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ending>,
    /// What the agent has to say about how it switched, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the rollout took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted: Option<Timestamp>,
}

/// How a switch ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It serves.
    Done,
    /// It does not, for this reason; the release before serves on, if there was one.
    Failed(Failure),
}

/// Why a release failed on an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// Which release.
    pub release: u64,
    /// When.
    pub at: Timestamp,
    /// How far it had come.
    pub stage: Stage,
    /// What happened, for people.
    pub message: String,
    /// With which code the process exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Which signal ended the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The app's last lines, at most [`LAST_LINES_MAX`], oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// How far a release had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its objects could not be brought to the disk whole.
    Fetch,
    /// Its process could not be started.
    Start,
    /// It ended, or its deadline came, before it was ready.
    Ready,
    /// It ended in its health window or while settling.
    Settle,
    /// It ended later, while it served.
    Serve,
}

impl Report {
    /// How old its view of the bucket was when it wrote this, where it was older than any agent's is
    /// that hears from its bucket.
    pub fn old_view(&self) -> Option<Duration> {
        let age = self.written.duration_since(self.looked?);
        Duration::try_from(age).ok().filter(|age| *age > VIEW_MAX)
    }

    /// Parses an object's bytes.
    ///
    /// # Errors
    /// When they are no report.
    pub fn from_object(data: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(data)
    }

    /// The bytes of the object.
    pub fn to_object(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a report serializes")
    }

    /// How `release` fared here, if this instance met it.
    pub fn outcome(&self, release: u64) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.release == release)
    }
}
