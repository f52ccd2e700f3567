//! The part of an app's configuration that reaches its instances: it travels in the release, so
//! that an instance needs nothing but the bucket.

use serde::{Deserialize, Serialize};

use crate::{Cores, Memory, Share, Span};

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
    /// What share of the new connections a new version gets in that time already.
    pub canary_share: Share,
    /// How long the old version is kept in reserve after that: a new one that dies in it is
    /// switched away from again.
    pub settle: Span,
    /// The longest that an old version may take to finish its requests after `SIGTERM`. Unset: it
    /// is never killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Span>,
    /// Where versions do not overlap: from `SIGTERM` to `SIGKILL`.
    pub stop_timeout: Span,
    /// The longest that the app may go without `WATCHDOG=1` once it is ready: then it is ended, and
    /// started again. Unset: it need not say anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Span>,
    /// How often an instance asks for a new state while nobody deploys, where its bucket does not
    /// tell by itself.
    pub poll_interval: Span,
    /// The most memory that one version may have. Unset: as much as there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The most processor time that one version may have. Unset: as much as there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cores>,
    /// How many descriptors each of its processes may have.
    pub nofile: u32,
    /// At the machine's end: how long the health check fails before the app gets `SIGTERM`. A load
    /// balancer needs that time to send its connections elsewhere.
    pub shutdown_delay: Span,
    /// At the machine's end: from `SIGTERM` to `SIGKILL`.
    pub shutdown_timeout: Span,
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
            canary_share: Share::default(),
            settle: Span::from_secs(3),
            drain: None,
            stop_timeout: Span::from_secs(5),
            watchdog: None,
            poll_interval: Span(crate::store::gcs::POLL_INTERVAL),
            memory: None,
            cpu: None,
            nofile: 65_536,
            shutdown_delay: Span::from_secs(10),
            shutdown_timeout: Span::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_release_has_the_defaults() {
        let old = r#"{"args":[],"ports":[80],"graceful-shutdown":true,"ready-within":"1m",
            "health-window":"200ms","settle":"3s","stop-timeout":"5s","poll-interval":"5s"}"#;
        let old: Settings = serde_json::from_str(old).unwrap();
        assert_eq!(old, Settings { ports: vec![80], ..Settings::default() });
        let new = Settings {
            memory: Some(Memory::from_mib(512)),
            cpu: Some(Cores { millis: 1500 }),
            nofile: 1024,
            ..old
        };
        let text = serde_json::to_string(&new).unwrap();
        assert!(text.contains(r#""memory":"512M","cpu":1.5,"nofile":1024"#), "{text}");
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), new);
    }
}
