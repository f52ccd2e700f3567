//! One app's settings.

use deploy::Span;
use deploy::settings::{Health, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings of one app, as people write them in `engr.json`.
///
/// Unknown keys are refused, with the nearest right one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct AppConfig {
    /// `local`, or a Google Cloud project.
    pub project: Option<String>,
    /// A Go import path or folder (`./cmd/hello`), or the name of a Cargo package.
    pub package: Option<String>,
    /// For anything else: how to build, and what comes out.
    pub build: Option<BuildCommand>,
    /// Which machine to build for.
    pub arch: Option<Arch>,
    /// More flags for the compiler's command, in place of ours.
    pub build_flags: Option<Vec<String>>,
    /// Run `go generate` first (`true`), or these commands.
    pub generate: Option<Generate>,
    /// Files and folders to ship beside the executable.
    pub include: Vec<String>,
    /// What follows the executable on its command line.
    pub args: Vec<String>,
    /// Whether the app serves ports (the default).
    pub server: Option<bool>,
    /// The port that it serves.
    pub port: Option<u16>,
    /// The ports that it serves.
    pub ports: Vec<u16>,
    /// Overlap versions, or stop the old one first.
    pub graceful_shutdown: Option<bool>,
    /// A path that answers when the app is ready.
    pub health: Option<Health>,
    /// See [`Settings::ready_within`].
    pub ready_within: Option<Span>,
    /// See [`Settings::health_window`].
    pub health_window: Option<Span>,
    /// See [`Settings::settle`].
    pub settle: Option<Span>,
    /// See [`Settings::drain`].
    pub drain: Option<Span>,
    /// See [`Settings::stop_timeout`].
    pub stop_timeout: Option<Span>,
    /// How many instances.
    pub instance_count: Option<u32>,
}

/// `build`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BuildCommand {
    /// Run by `sh -c` in the folder of `engr.json`.
    pub command: String,
    /// The executable that it makes.
    pub output: String,
}

/// `arch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

/// `generate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Generate {
    /// `go generate` for the package.
    Go(bool),
    /// These, each by `sh -c`.
    Commands(Vec<String>),
}

impl AppConfig {
    /// Whether the app runs on this machine.
    pub fn is_local(&self) -> bool {
        self.project.as_deref() == Some("local")
    }

    /// The ports that it serves; none for a worker, 80 where none is named.
    pub fn ports(&self) -> Vec<u16> {
        match (&self.ports[..], self.port) {
            _ if self.server == Some(false) => Vec::new(),
            ([], None) => vec![80],
            ([], Some(port)) => vec![port],
            (ports, _) => ports.to_vec(),
        }
    }

    /// How many instances.
    pub fn instance_count(&self) -> u32 {
        self.instance_count.unwrap_or(1)
    }

    /// What of it reaches the instances.
    pub fn settings(&self) -> Settings {
        let default = Settings::default();
        Settings {
            args: self.args.clone(),
            ports: self.ports(),
            graceful_shutdown: self.graceful_shutdown.unwrap_or(default.graceful_shutdown),
            health: self.health.clone(),
            ready_within: self.ready_within.unwrap_or(default.ready_within),
            health_window: self.health_window.unwrap_or(default.health_window),
            settle: self.settle.unwrap_or(default.settle),
            drain: self.drain,
            stop_timeout: self.stop_timeout.unwrap_or(default.stop_timeout),
        }
    }
}
