//! One app's settings, as people write them.

use deploy::rollout::{Limit, OnFailure, Rules};
use deploy::settings::{self, Settings};
use deploy::{Cores, Memory, Share, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, Time};

/// The settings of one app.
//
// The comments on the fields are the descriptions in the JSON Schema: what they say is for the
// people who write `engr.json`. `super::keys` lists the same keys, for `engr <app> config:set`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AppConfig {
    /// `local` for a fleet on this machine, or the Google Cloud project's id.
    pub project: Option<String>,
    /// The app's bucket, `gs://name`. Unset: `gs://<project>-<app>`, and for a local fleet a folder.
    pub bucket: Option<String>,
    /// What to build: a Go import path, a folder (`./cmd/hello`), or the name of a Cargo package.
    pub package: Option<String>,
    /// How to build anything else.
    pub build: Option<BuildCommand>,
    /// Which machine to build for. Unset: amd64, and for a local fleet what this machine is.
    pub arch: Option<Arch>,
    /// Flags of `go build` or `cargo build`, in place of the ones that are passed by default.
    pub build_flags: Option<Vec<String>>,
    /// What to run before the build: `true` for `go generate` of the package, or commands, each
    /// run by `sh -c` in the folder of engr.json.
    pub generate: Option<Generate>,
    /// Files and folders to ship beside the executable, as paths from the folder of engr.json.
    #[serde(default)]
    pub include: Vec<String>,
    /// What follows the executable on its command line.
    #[serde(default)]
    pub args: Vec<String>,
    /// Whether the app serves ports. `false` makes it a worker.
    pub server: Option<bool>,
    /// The port that the app serves.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The ports that the app serves, where it is more than one.
    #[serde(default)]
    #[schemars(inner(range(min = 1)))]
    pub ports: Vec<u16>,
    /// Start the new version beside the old one, so that no request fails (`true`), or stop the
    /// old one first.
    pub graceful_shutdown: Option<bool>,
    /// How to ask whether a version is ready, where it does not say so by itself.
    pub health: Option<HealthCheck>,
    /// How long a new version may take until it is ready.
    #[schemars(with = "Option<Time>")]
    pub ready_within: Option<Span>,
    /// How long a new version must stay ready and alive before it gets new connections.
    #[schemars(with = "Option<Time>")]
    pub health_window: Option<Span>,
    /// What share of the new connections a new version gets in its health window already.
    #[schemars(with = "Option<schema::Share>")]
    pub canary_share: Option<Share>,
    /// How long the old version is kept in reserve after the switch: a new one that dies within
    /// that time is switched away from again.
    #[schemars(with = "Option<Time>")]
    pub settle: Option<Span>,
    /// The longest that an old version may take to finish its requests. Unset: it is never killed.
    #[schemars(with = "Option<Time>")]
    pub drain: Option<Span>,
    /// Without graceful-shutdown: how long the old version has from SIGTERM to SIGKILL.
    #[schemars(with = "Option<Time>")]
    pub stop_timeout: Option<Span>,
    /// The longest that the app may go without saying WATCHDOG=1 once it is ready, until it is ended
    /// and started again. Unset: it need not say anything.
    #[schemars(with = "Option<Time>")]
    pub watchdog: Option<Span>,
    /// When the machine ends: how long the health check fails before the app gets SIGTERM, so that a
    /// load balancer has sent its connections elsewhere.
    #[schemars(with = "Option<Time>")]
    pub shutdown_delay: Option<Span>,
    /// When the machine ends: how long the app has from SIGTERM to SIGKILL. The platform may give it
    /// less.
    #[schemars(with = "Option<Time>")]
    pub shutdown_timeout: Option<Span>,
    /// The most memory that a version of the app may have. One that needs more is killed.
    #[schemars(with = "Option<schema::Memory>")]
    pub memory: Option<Memory>,
    /// The most processor time that a version of the app may have, as a number of cores.
    #[schemars(with = "Option<schema::Cores>")]
    pub cpu: Option<Cores>,
    /// How many files and sockets each process of the app may have open (RLIMIT_NOFILE).
    #[schemars(range(min = 64, max = 1_048_576))]
    pub nofile: Option<u32>,
    /// How often an instance asks its bucket for news while nobody deploys.
    #[schemars(with = "Option<Time>")]
    pub poll_interval: Option<Span>,
    /// How a release goes through the fleet: first some, then the others, and back when it fails.
    pub rollout: Option<RolloutRules>,
    /// How many instances run the app.
    #[schemars(range(max = 10_000))]
    pub instance_count: Option<u32>,
    /// The zone of the app's VMs. Kept; nothing uses it yet.
    pub zone: Option<String>,
    /// The machine type of the app's VMs. Kept; nothing uses it yet.
    pub machine_type: Option<String>,
    /// The image of the app's VMs. Kept; nothing uses it yet.
    pub image: Option<String>,
    /// The IAM roles of the app's VMs. Kept; nothing uses it yet.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The OAuth scopes of the app's VMs. Kept; nothing uses it yet.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The network tags of the app's VMs. Kept; nothing uses it yet.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Kept; nothing uses it yet.
    pub staged_deploy: Option<bool>,
    /// Kept; nothing uses it yet.
    pub debug: Option<bool>,
}

/// A build by a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BuildCommand {
    /// Run by `sh -c` in the folder of engr.json.
    pub command: String,
    /// The executable that it makes, as a path from there.
    pub output: String,
}

/// A machine's architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

/// What to run before the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Generate {
    /// `go generate` for the package.
    Go(bool),
    /// These, each by `sh -c`.
    Commands(Vec<String>),
}

/// How a release goes through the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RolloutRules {
    /// How many instances go first, alone.
    #[schemars(with = "Option<schema::Limit>")]
    pub canary: Option<Limit>,
    /// How long these must be healthy until the others follow.
    #[schemars(with = "Option<Time>")]
    pub bake: Option<Span>,
    /// How many of the others may be on their way at a time. Unset: all of them, and without
    /// graceful-shutdown 25%.
    #[schemars(with = "Option<schema::Limit>")]
    pub max_parallel: Option<Limit>,
    /// So many instances may fail; with one more the rollout halts.
    pub max_failures: Option<u32>,
    /// How long all instances are watched after the last one has switched.
    #[schemars(with = "Option<Time>")]
    pub watch_for: Option<Span>,
    /// Whether the instances that have switched go back to the release before when a rollout halts
    /// (`revert`), or stay (`halt`).
    #[schemars(with = "Option<schema::OnFailure>")]
    pub on_failure: Option<OnFailure>,
    /// An instance that has not reported for so long is passed over.
    #[schemars(with = "Option<Time>")]
    pub stale_after: Option<Span>,
}

/// A question to the app over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HealthCheck {
    /// A path that answers 2xx or 3xx when the app is ready.
    pub path: String,
    /// How long one answer may take.
    #[schemars(with = "Option<Time>")]
    pub timeout: Option<Span>,
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

    /// Which machine to build for.
    pub fn arch(&self) -> Arch {
        let default = if self.is_local() { Arch::of_this_machine() } else { Arch::Amd64 };
        self.arch.unwrap_or(default)
    }

    /// How its releases go through the fleet.
    pub fn rollout(&self) -> Rules {
        self.rollout.clone().unwrap_or_default().over(Rules::default())
    }

    /// What of it reaches the instances.
    pub fn settings(&self) -> Settings {
        let default = Settings::default();
        Settings {
            args: self.args.clone(),
            ports: self.ports(),
            graceful_shutdown: self.graceful_shutdown.unwrap_or(default.graceful_shutdown),
            health: self.health.clone().map(Into::into),
            ready_within: self.ready_within.unwrap_or(default.ready_within),
            health_window: self.health_window.unwrap_or(default.health_window),
            canary_share: self.canary_share.unwrap_or(default.canary_share),
            settle: self.settle.unwrap_or(default.settle),
            drain: self.drain,
            stop_timeout: self.stop_timeout.unwrap_or(default.stop_timeout),
            watchdog: self.watchdog,
            poll_interval: self.poll_interval.unwrap_or(default.poll_interval),
            memory: self.memory,
            cpu: self.cpu,
            nofile: self.nofile.unwrap_or(default.nofile),
            shutdown_delay: self.shutdown_delay.unwrap_or(default.shutdown_delay),
            shutdown_timeout: self.shutdown_timeout.unwrap_or(default.shutdown_timeout),
        }
    }
}

impl RolloutRules {
    /// These, and where they say nothing the ones beneath.
    pub fn over(&self, beneath: Rules) -> Rules {
        Rules {
            canary: self.canary.unwrap_or(beneath.canary),
            bake: self.bake.unwrap_or(beneath.bake),
            max_parallel: self.max_parallel.or(beneath.max_parallel),
            max_failures: self.max_failures.unwrap_or(beneath.max_failures),
            watch_for: self.watch_for.unwrap_or(beneath.watch_for),
            on_failure: self.on_failure.unwrap_or(beneath.on_failure),
            stale_after: self.stale_after.unwrap_or(beneath.stale_after),
        }
    }
}

impl Arch {
    /// The one that `engr` runs on, and so the one of a local fleet.
    pub fn of_this_machine() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }

    /// Its name as Go, Debian and [`deploy::artifact::Manifest`] write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl From<HealthCheck> for settings::Health {
    fn from(health: HealthCheck) -> Self {
        let timeout = health.timeout.unwrap_or(settings::default_health_timeout());
        Self { path: health.path, timeout }
    }
}
