//! What each command takes.

use crate::config::RolloutRules;
use deploy::rollout::{Limit, OnFailure, Rules};
use std::path::PathBuf;

use clap::Args;
use deploy::Span;

/// `engr demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave the fleet running, and say how to go on by hand
    #[arg(long)]
    pub keep: bool,
    /// Which example to deploy [default: go where Go is installed, else rust]
    #[arg(long, value_enum)]
    pub lang: Option<DemoLang>,
    /// How many instances
    #[arg(long, default_value_t = 3)]
    pub instances: u32,
    /// Use a bucket of Cloud Storage, at --endpoint or on an `engr-gcs-server` of its own
    #[arg(long)]
    pub gcs: bool,
    /// The fleet's port on 127.0.0.1 [default: 8080, or the next free one]
    #[arg(long)]
    pub port: Option<u16>,
}

/// `engr doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Which apps [default: all of engr.json]
    pub apps: Vec<String>,
    /// Change the buckets' settings that are not as they should be
    #[arg(long)]
    pub fix: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// The demo's examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DemoLang {
    /// The Go example
    Go,
    /// The Rust example
    Rust,
}

/// `--json`.
#[derive(Debug, Args)]
pub struct JsonFlag {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// `engr <app> create`. What is not given is asked for on a terminal.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Deploy to a fleet on this machine: `"project": "local"`
    #[arg(long, conflicts_with = "project")]
    pub local: bool,
    /// The Google Cloud project
    #[arg(long)]
    pub project: Option<String>,
    /// The Go import path or folder, or the Cargo package [default: found here]
    #[arg(long)]
    pub package: Option<String>,
    /// For anything but Go and Rust: the command that builds the app
    #[arg(long, value_name = "COMMAND", requires = "output", conflicts_with = "package")]
    pub build: Option<String>,
    /// The executable that `--build` makes
    #[arg(long, value_name = "PATH", requires = "build")]
    pub output: Option<String>,
    /// The port that the app serves [default: 8080 or the next that no app here has; 80 without
    /// `--local`]
    #[arg(long, conflicts_with = "worker")]
    pub port: Option<u16>,
    /// The app serves no port
    #[arg(long)]
    pub worker: bool,
    /// How many instances [default: 1]
    #[arg(long)]
    pub instances: Option<u32>,
    /// A path that answers 2xx when the app is ready
    #[arg(long)]
    pub health: Option<String>,
}

/// `config:set`.
#[derive(Debug, Args)]
pub struct ConfigSetArgs {
    /// Which, e.g. `port` or `health.path`
    pub key: String,
    /// Its value; several for a list (after `--` where one starts with `-`)
    #[arg(required = true)]
    pub values: Vec<String>,
    /// Only change engr.json; the next deploy takes it along
    #[arg(long)]
    pub stage: bool,
}

/// How a release is followed; the same for every command that publishes one.
#[derive(Clone, Debug, Default, Args)]
pub struct FollowArgs {
    /// Return once it is published; do not follow the rollout
    #[arg(long)]
    pub detach: bool,
    /// Stop following after this long (exit code 22); the rollout goes on [default: 15m]
    #[arg(long, value_name = "TIME")]
    pub wait_timeout: Option<Span>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// How a release is published; the same for every command that publishes one.
#[derive(Clone, Debug, Default, Args)]
pub struct PublishArgs {
    /// Say what the release is for
    #[arg(short, long, value_name = "MSG")]
    pub message: Option<String>,
    /// Publish only if this release is the current one
    #[arg(long, value_name = "vN", value_parser = release_number)]
    pub if_current: Option<u64>,
    /// Wait for another's claim, or a lock, to end, this long at the most
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "15m")]
    pub wait_lock: Option<Span>,
    /// How it goes through the fleet
    #[command(flatten)]
    pub rollout: RolloutArgs,
    /// How to follow it
    #[command(flatten)]
    pub follow: FollowArgs,
}

/// How one release goes through the fleet, whatever `rollout` in engr.json says.
#[derive(Clone, Debug, Default, Args)]
pub struct RolloutArgs {
    /// Switch all instances as soon as they can; they are watched all the same
    #[arg(long, conflicts_with_all = ["canary", "bake", "max_parallel"])]
    pub now: bool,
    /// How many instances go first, alone: 1, or 5%
    #[arg(long, value_name = "N|SHARE")]
    pub canary: Option<Limit>,
    /// How long these must be healthy until the others follow
    #[arg(long, value_name = "TIME")]
    pub bake: Option<Span>,
    /// How many of the others may be on their way at a time: 2, or 25%
    #[arg(long, value_name = "N|SHARE")]
    pub max_parallel: Option<Limit>,
    /// So many instances may fail; with one more the rollout halts
    #[arg(long, value_name = "N")]
    pub max_failures: Option<u32>,
    /// How long all instances are watched after the last one has switched
    #[arg(long, value_name = "TIME")]
    pub watch_for: Option<Span>,
    /// Whether the instances that have switched go back when it halts, or stay
    #[arg(long, value_name = "revert|halt")]
    pub on_failure: Option<OnFailure>,
}

impl RolloutArgs {
    /// These, and where they say nothing the rules beneath.
    pub fn over(&self, beneath: Rules) -> Rules {
        let RolloutArgs { now: _, canary, bake, max_parallel, .. } = self.clone();
        let RolloutArgs { max_failures, watch_for, on_failure, .. } = self.clone();
        let stale_after = None;
        let rules = RolloutRules {
            canary,
            bake,
            max_parallel,
            max_failures,
            watch_for,
            on_failure,
            stale_after,
        };
        rules.over(beneath)
    }
}

/// `engr <app> deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// How to publish
    #[command(flatten)]
    pub publish: PublishArgs,
    /// Skip the build: deploy this artifact of the bucket (its SHA-256, or its first digits, 6 or
    /// more)
    #[arg(long, value_name = "SHA", conflicts_with = "build_only")]
    pub artifact: Option<String>,
    /// Build and archive, print the archive's path and SHA-256, publish nothing
    #[arg(long, conflicts_with = "plan")]
    pub build_only: bool,
    /// Deploy although the git work tree has changes that are not committed
    #[arg(long)]
    pub allow_dirty: bool,
    /// Build, and say what a deploy would change (exit code 3 if anything)
    #[arg(long)]
    pub plan: bool,
    /// Create the app's bucket without asking, if it is missing
    #[arg(long)]
    pub yes: bool,
}

/// `engr <app> status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Go on showing it, until Ctrl-C
    #[arg(long, conflicts_with = "at")]
    pub watch: bool,
    /// One JSON object; with `--watch` one a line, whenever something has changed
    #[arg(long)]
    pub json: bool,
    /// What was desired then: `2026-11-22T10:00Z`, `10:00`, or `2h` ago
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

/// `engr <app> releases`.
#[derive(Debug, Args)]
pub struct ReleasesArgs {
    /// All that was done to the app: claims and how they ended, locks, and what was staged, too
    #[arg(long)]
    pub all: bool,
    /// Only the newest N
    #[arg(short, value_name = "N")]
    pub n: Option<usize>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// `engr <app> wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Which release [default: the current one]
    #[arg(value_name = "vN", value_parser = release_number)]
    pub release: Option<u64>,
    /// Stop following after this long (exit code 22); the rollout goes on [default: 15m]
    #[arg(long, value_name = "TIME")]
    pub wait_timeout: Option<Span>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `pause`, `resume` and `abort`.
#[derive(Debug, Args)]
pub struct OrderArgs {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// `engr <app> lock`.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// Say why
    #[arg(short, long, value_name = "MSG")]
    pub message: String,
    /// Until then: `2026-11-22T10:00Z`, `10:00` (the next), or for `2h` [default: until `unlock`]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// `engr <app> rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// To which release [default: the last one that succeeded before the current one]
    #[arg(value_name = "vN", value_parser = release_number)]
    pub release: Option<u64>,
    /// How to publish
    #[command(flatten)]
    pub publish: PublishArgs,
}

/// How another agent is named and followed.
#[derive(Clone, Debug, Default, Args)]
pub struct AgentArgs {
    /// Say what it is for
    #[arg(short, long, value_name = "MSG")]
    pub message: Option<String>,
    /// Wait for a lock to end, this long at the most
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "15m")]
    pub wait_lock: Option<Span>,
    /// Return once it is named; do not follow its way through the fleet
    #[arg(long)]
    pub detach: bool,
    /// Stop following after this long (exit code 22); the instances go on [default: 15m]
    #[arg(long, value_name = "TIME")]
    pub wait_timeout: Option<Span>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

impl From<&AgentArgs> for PublishArgs {
    fn from(args: &AgentArgs) -> Self {
        let AgentArgs { message, wait_lock, detach, wait_timeout, json } = args.clone();
        let follow = FollowArgs { detach, wait_timeout, json };
        Self { message, if_current: None, wait_lock, rollout: RolloutArgs::default(), follow }
    }
}

/// `agent:update`.
#[derive(Debug, Args)]
pub struct AgentUpdateArgs {
    /// Which program [default: the `agentd` beside this `engr`]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Try it once more on instances that have marked it bad
    #[arg(long)]
    pub retry: bool,
    /// Only say what would change (exit code 3 if anything)
    #[arg(long)]
    pub plan: bool,
    /// How it is named
    #[command(flatten)]
    pub named: AgentArgs,
}

/// `agent:rollback`.
#[derive(Debug, Args)]
pub struct AgentRollbackArgs {
    /// To which: its SHA-256 or the first 6 digits or more, or its version [default: the one that
    /// was named before]
    #[arg(value_name = "SHA|VERSION")]
    pub to: Option<String>,
    /// How it is named
    #[command(flatten)]
    pub named: AgentArgs,
}

/// `engr <app> env`.
#[derive(Debug, Args)]
pub struct EnvArgs {
    /// Show the values too
    #[arg(long)]
    pub reveal: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// `env:set`.
#[derive(Debug, Args)]
pub struct EnvSetArgs {
    /// The variables: `K=V`, `K V`, `K=@file`, `K=-` (after `--` where one starts with `-`)
    #[arg(required = true)]
    pub assignments: Vec<String>,
    /// Hold the change for the next deploy
    #[arg(long)]
    pub stage: bool,
    /// How to publish
    #[command(flatten)]
    pub publish: PublishArgs,
}

/// `env:unset`.
#[derive(Debug, Args)]
pub struct EnvUnsetArgs {
    /// Which variables
    #[arg(required = true)]
    pub keys: Vec<String>,
    /// Hold the change for the next deploy
    #[arg(long)]
    pub stage: bool,
    /// How to publish
    #[command(flatten)]
    pub publish: PublishArgs,
}

/// `engr <app> logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on showing new lines, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many lines of the past
    #[arg(short, default_value_t = 100, value_name = "N")]
    pub n: usize,
    /// Only this instance's
    #[arg(long)]
    pub instance: Option<String>,
    /// Only this release's
    #[arg(long, value_name = "vN", value_parser = release_number)]
    pub release: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `serve` and `local-serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// On which port [default: the app's]
    #[arg(long)]
    pub port: Option<u16>,
}

/// `engr <app> sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Only say what would be done (exit code 3 if anything)
    #[arg(long)]
    pub plan: bool,
}

/// `engr <app> prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// How many releases to keep, the newest ones
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// Only say what would be removed (exit code 3 if anything)
    #[arg(long)]
    pub plan: bool,
    /// Remove it without asking
    #[arg(long, conflicts_with = "plan")]
    pub yes: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `engr <app> destroy-app`.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// The app's name again, instead of typing it
    #[arg(long, value_name = "NAME")]
    pub yes: Option<String>,
    /// Remove the bucket too, with all releases (`--bucket=false`: keep it) [default: asked on a
    /// terminal, else kept]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub bucket: Option<bool>,
}

/// `v41` or `41`.
fn release_number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    digits.parse().map_err(|_| format!("{text:?} is no release (write v41 or 41)"))
}
