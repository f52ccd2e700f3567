//! The command line: `engr <app> <command>`, and a few commands without an app.
//!
//! The first word is an app's name unless it is one of [`Global`]'s commands, so `create` refuses
//! those as names.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use deploy::{Digest, Span};

mod help;

const EXAMPLES: &str = "\
Examples:
  engr demo                              see a deploy, with nothing set up
  engr hello create --local              add the app `hello` to engr.json
  engr hello deploy -m \"first\"           build it and bring it to its fleet
  engr hello status --watch              what runs where
  engr hello rollback                    go back to the release before

Run `engr <app>` for the app's commands, `engr <app> <command> --help` for one of them.";

/// Deploys Go and Rust services to plain VMs: no containers, no control server, no SSH.
#[derive(Debug, Parser)]
#[command(name = "engr", version, after_help = EXAMPLES, override_usage = "engr <app> <command> [options]\n       engr <command>")]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Top {
    #[command(subcommand)]
    command: TopCommand,
    #[command(flatten)]
    everywhere: Everywhere,
}

// What every command takes. (clap would take a doc comment for the whole program's.)
#[derive(Clone, Debug, Default, Args)]
pub struct Everywhere {
    /// Where Cloud Storage is, for an emulator, which is asked without credentials
    /// [env: STORAGE_EMULATOR_HOST]
    #[arg(long, value_name = "URL", global = true, display_order = 899)]
    pub endpoint: Option<String>,
    /// Say more on standard error, such as which calls to the bucket are tried again
    #[arg(short, long, global = true, display_order = 900)]
    pub verbose: bool,
}

impl Everywhere {
    /// What was said before the app's name, where nothing was said after it.
    fn or(self, before: Self) -> Self {
        let verbose = self.verbose || before.verbose;
        Self { endpoint: self.endpoint.or(before.endpoint), verbose }
    }
}

#[derive(Debug, Subcommand)]
enum TopCommand {
    #[command(flatten)]
    Global(Global),
    #[command(external_subcommand)]
    App(Vec<OsString>),
}

/// Commands without an app.
#[derive(Debug, Subcommand)]
pub enum Global {
    /// Show Engineer at work: deploy, deploy again under load, roll back, on a local fleet
    Demo(DemoArgs),
    /// List the apps of engr.json
    Apps {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Look at all that deploys need: account, buckets, clock, permissions, agents; and explain
    Doctor(DoctorArgs),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the JSON Schema of engr.json
    #[command(name = "config-schema")]
    ConfigSchema,
}

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

/// What was asked for.
#[derive(Debug)]
pub enum Cli {
    /// A command without an app.
    Global(Global),
    /// A command of an app. None: list them.
    App {
        /// The app's name.
        app: String,
        /// What to do with it.
        command: Option<AppCommand>,
    },
}

#[derive(Debug, Parser)]
#[command(name = "engr <app>", disable_help_subcommand = true)]
struct App {
    #[command(subcommand)]
    command: Option<AppCommand>,
    #[command(flatten)]
    everywhere: Everywhere,
}

/// The commands of an app.
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Add the app to engr.json
    #[command(display_order = 1)]
    Create(CreateArgs),
    /// Show the app's settings
    #[command(display_order = 2)]
    Config(JsonFlag),
    /// Show one setting
    #[command(name = "config:get", display_order = 3)]
    ConfigGet {
        /// Which, e.g. `port` or `health.path`
        key: String,
    },
    /// Change a setting; what the instances must know is published as a release
    #[command(name = "config:set", display_order = 4)]
    ConfigSet(ConfigSetArgs),
    /// Remove a setting; published like a change
    #[command(name = "config:unset", display_order = 5)]
    ConfigUnset {
        /// Which
        key: String,
        /// Only change engr.json; the next deploy takes it along
        #[arg(long)]
        stage: bool,
    },
    /// Build the app and bring it to its fleet
    #[command(display_order = 10)]
    Deploy(DeployArgs),
    /// Show what runs where
    #[command(display_order = 11)]
    Status(StatusArgs),
    /// List the releases
    #[command(display_order = 12)]
    Releases(ReleasesArgs),
    /// Go back to an earlier release
    #[command(display_order = 13)]
    Rollback(RollbackArgs),
    /// Start every instance's release anew, by overlap
    #[command(display_order = 14)]
    Restart(PublishArgs),
    /// Freeze the app: nothing is published until it is unlocked
    #[command(display_order = 15)]
    Lock(LockArgs),
    /// Lift a freeze, and break a claim that somebody left behind
    #[command(display_order = 16)]
    Unlock,
    /// Show the environment
    #[command(display_order = 20)]
    Env(EnvArgs),
    /// Show one variable's value
    #[command(name = "env:get", display_order = 21)]
    EnvGet {
        /// Which
        key: String,
    },
    /// Set variables, all in one release: `K=V`, `K V`, `K=@file`, `K=-` (standard input)
    #[command(name = "env:set", display_order = 22)]
    EnvSet(EnvSetArgs),
    /// Remove variables, all in one release
    #[command(name = "env:unset", display_order = 23)]
    EnvUnset(EnvUnsetArgs),
    /// Show the app's and the agents' log lines
    #[command(display_order = 30)]
    Logs(LogsArgs),
    /// Run a command here, with the app's deployed environment
    #[command(display_order = 31)]
    Run {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Run the app here with its deployed environment, rebuilt when its source changes
    #[command(display_order = 32)]
    Serve(ServeArgs),
    /// Run the app here with this shell's environment, rebuilt when its source changes
    #[command(name = "local-serve", display_order = 33)]
    LocalServe(ServeArgs),
    /// Bring the instances to `instance-count`
    #[command(display_order = 40)]
    Sync(SyncArgs),
    /// Remove old releases, and the artifacts and environments that no kept one names
    #[command(display_order = 41)]
    Prune(PruneArgs),
    /// Stop and remove the fleet and, asked separately, the bucket
    #[command(name = "destroy-app", display_order = 42)]
    DestroyApp(DestroyArgs),
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
    /// How to follow it
    #[command(flatten)]
    pub follow: FollowArgs,
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

/// A full SHA-256 or its first digits, at least 6.
pub fn artifact_matches(wanted: &str, digest: &Digest) -> bool {
    wanted.len() >= 6 && digest.to_string().starts_with(&wanted.to_ascii_lowercase())
}

/// A command line that names no command of ours, or that asked for help.
#[derive(Debug)]
pub struct ParseError(clap::Error);

impl ParseError {
    /// Prints clap's message; help and version are no failures.
    pub fn print_and_exit(self) -> ExitCode {
        // Where standard error is gone there is nobody left to tell.
        let _ = self.0.print();
        ExitCode::from(if self.0.use_stderr() { 2 } else { 0 })
    }
}

/// Reads the command line.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<(Cli, Everywhere), ParseError> {
    let matches = help::top().try_get_matches_from(words).map_err(ParseError)?;
    let Top { command, everywhere } = Top::from_arg_matches(&matches).map_err(ParseError)?;
    match command {
        TopCommand::Global(command) => Ok((Cli::Global(command), everywhere)),
        TopCommand::App(words) => {
            let app = words[0].to_string_lossy().into_owned();
            let name = OsString::from(format!("engr {app}"));
            let words = std::iter::once(name).chain(words.into_iter().skip(1));
            let matches = help::app(&app).try_get_matches_from(words).map_err(ParseError)?;
            let parsed = App::from_arg_matches(&matches).map_err(ParseError)?;
            Ok((Cli::App { app, command: parsed.command }, parsed.everywhere.or(everywhere)))
        }
    }
}

/// The whole of it for completions: the app's commands under a made-up app.
pub fn command_for_completions(apps: &[String]) -> clap::Command {
    apps.iter().fold(Top::command(), |top, app| {
        top.subcommand(App::command().name(app.clone()).about("An app of engr.json"))
    })
}

/// Prints the help that `engr <app>` alone stands for.
pub fn print_app_help(app: &str) {
    // Whoever closed standard output wants no more.
    let _ = help::app(app).print_help();
}

/// Whether `name` is a command, and so cannot be an app.
pub fn is_reserved(name: &str) -> bool {
    name == "help" || Top::command().get_subcommands().any(|command| command.get_name() == name)
}

impl Cli {
    /// Whether failures are to be told as JSON.
    pub fn wants_json(&self) -> bool {
        let Self::App { command: Some(command), .. } = self else {
            return match self {
                Self::Global(Global::Apps { json }) => *json,
                Self::Global(Global::Doctor(args)) => args.json,
                _ => false,
            };
        };
        match command {
            AppCommand::Config(flag) => flag.json,
            AppCommand::Releases(args) => args.json,
            AppCommand::Deploy(args) => args.publish.follow.json,
            AppCommand::Rollback(args) => args.publish.follow.json,
            AppCommand::Restart(args) => args.follow.json,
            AppCommand::EnvSet(args) => args.publish.follow.json,
            AppCommand::EnvUnset(args) => args.publish.follow.json,
            AppCommand::Status(args) => args.json,
            AppCommand::Env(args) => args.json,
            AppCommand::Logs(args) => args.json,
            AppCommand::Prune(args) => args.json,
            _ => false,
        }
    }
}
