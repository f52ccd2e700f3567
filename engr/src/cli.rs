//! The command line: `engr <app> <command>`, and a few commands without an app.
//!
//! The first word is an app's name unless it is one of [`Global`]'s commands, so `create` refuses
//! those as names.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use deploy::Digest;

mod args;
mod help;

pub use args::*;

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
    /// Follow the current release, or another, to the end of its rollout
    #[command(display_order = 11)]
    Wait(WaitArgs),
    /// Show what runs where
    #[command(display_order = 12)]
    Status(StatusArgs),
    /// List the releases
    #[command(display_order = 13)]
    Releases(ReleasesArgs),
    /// Go back to an earlier release
    #[command(display_order = 14)]
    Rollback(RollbackArgs),
    /// Start every instance's release anew, by overlap
    #[command(display_order = 15)]
    Restart(PublishArgs),
    // clap keeps these three in their order.
    /// Hold the current release's rollout: no further instance begins to switch
    #[command(display_order = 16)]
    Pause(OrderArgs),
    /// Let a rollout go on that is paused or halted
    #[command(display_order = 16)]
    Resume(OrderArgs),
    /// Call the current release's rollout off: all instances go back to the release before
    #[command(display_order = 16)]
    Abort(OrderArgs),
    /// Freeze the app: nothing is published until it is unlocked
    #[command(display_order = 17)]
    Lock(LockArgs),
    /// Lift a freeze, and break a claim that somebody left behind
    #[command(display_order = 18)]
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
    /// Bring another `agentd` to the fleet: one instance first, then one after the other
    #[command(name = "agent:update", display_order = 42)]
    AgentUpdate(AgentUpdateArgs),
    /// Go back to the `agentd` that was named before
    #[command(name = "agent:rollback", display_order = 43)]
    AgentRollback(AgentRollbackArgs),
    /// Stop and remove the fleet and, asked separately, the bucket
    #[command(name = "destroy-app", display_order = 44)]
    DestroyApp(DestroyArgs),
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
            AppCommand::Wait(args) => args.json,
            AppCommand::Pause(args) | AppCommand::Resume(args) | AppCommand::Abort(args) => {
                args.json
            }
            AppCommand::Env(args) => args.json,
            AppCommand::Logs(args) => args.json,
            AppCommand::Prune(args) => args.json,
            AppCommand::AgentUpdate(args) => args.named.json,
            AppCommand::AgentRollback(args) => args.named.json,
            _ => false,
        }
    }
}
