//! What `engr <app> status --json` and `engr <app> logs --json` say.

use deploy::Timestamp;
use deploy::log_line::Stream;
use deploy::report::{Failure, Version};
use serde::Deserialize;

use crate::engr::Transcript;

/// The app.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The desired release.
    pub release: Option<u64>,
    /// What is wrong with the bucket.
    #[serde(default)]
    pub damage: Option<String>,
    /// Its instances.
    pub instances: Vec<Instance>,
}

/// One instance.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// The release that serves there.
    pub release: Option<u64>,
    /// What it is doing.
    pub phase: String,
    /// The serving app's process.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Where its app is bound.
    pub addresses: Vec<String>,
    /// Its agent's process.
    pub agent_pid: Option<u32>,
    /// Versions that finish their requests.
    pub draining: Vec<Version>,
    /// What the app says that it does.
    #[serde(default)]
    pub app_status: Option<String>,
    /// The newest failure.
    pub last_failure: Option<Failure>,
}

impl Status {
    pub(super) fn read(said: &Transcript) -> Self {
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error} in:\n{said}"))
    }
}

/// A line of the log.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    /// When it came.
    pub time: Timestamp,
    /// From which instance.
    pub instance: String,
    /// From which release's app; none for the agent's own.
    pub release: Option<u64>,
    /// Where it comes from.
    pub stream: Stream,
    /// What it says.
    pub text: String,
}
