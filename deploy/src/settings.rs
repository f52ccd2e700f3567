//! The part of an app's configuration that reaches its instances: it travels in the release, so
//! that an instance needs nothing but the bucket.

use serde::{Deserialize, Serialize};

use crate::Span;

/// How an instance runs the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// What follows the executable on its command line.
    pub args: Vec<String>,
    /// The ports that the app serves. Empty for a worker.
    pub ports: Vec<u16>,
    /// Overlap the old and the new version (`true`), or stop the old one first.
    pub graceful_shutdown: bool,
    /// A path that answers 2xx or 3xx when the app is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How long a new version may take until it is ready.
    pub ready_within: Span,
    /// How long a new version must stay ready and alive before it gets new connections.
    pub health_window: Span,
    /// How long the old version is kept in reserve after that: a new one that dies in it is
    /// switched away from again.
    pub settle: Span,
    /// The longest that an old version may take to finish its requests after `SIGTERM`. Unset: it
    /// is never killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Span>,
    /// Where versions do not overlap: from `SIGTERM` to `SIGKILL`.
    pub stop_timeout: Span,
    /// How often an instance asks for a new state while nobody deploys, where its bucket does not
    /// tell by itself.
    pub poll_interval: Span,
}

/// How an app that does not speak the readiness protocol is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// The path of the request, `/` first.
    pub path: String,
    /// How long one answer may take.
    #[serde(default = "default_health_timeout")]
    pub timeout: Span,
}

/// One second: a health path that is slower is not healthy.
pub const fn default_health_timeout() -> Span {
    Span::from_secs(1)
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            ports: Vec::new(),
            graceful_shutdown: true,
            health: None,
            ready_within: Span::from_secs(60),
            health_window: Span::from_millis(200),
            settle: Span::from_secs(3),
            drain: None,
            stop_timeout: Span::from_secs(5),
            poll_interval: Span(crate::store::gcs::POLL_INTERVAL),
        }
    }
}
