//! One line of an instance's log, as it lies in the instance's spool: a JSON object a line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A line of the app's output or of the agent's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the agent read it.
    #[serde(rename = "t")]
    pub time: Timestamp,
    /// The release whose app wrote it; 0 for the agent's own.
    #[serde(rename = "v")]
    pub release: u64,
    /// Where it comes from.
    #[serde(rename = "s")]
    pub stream: Stream,
    /// The line without its end. Bytes that are no UTF-8 are shown as U+FFFD.
    #[serde(rename = "l")]
    pub text: String,
    /// Which bytes of the app's output it was. None for the agent's own lines.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Where a line was cut from: by this an agent that takes over knows what has been written down.
/// In the file it is `[run, end]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source(
    /// The run of the app's process, by the agent's own numbers.
    pub u64,
    /// Where the line ends in the stream's bytes of that run, counted from 0.
    pub u64,
);

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// The app's standard output.
    Out,
    /// The app's standard error.
    Err,
    /// The agent.
    Agent,
}
