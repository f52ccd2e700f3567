//! `agentd`: the daemon on every VM, and the balancer of local fleets.

use std::path::PathBuf;
use std::process::ExitCode;

use agentd::agent::Unit;
use agentd::logs::{OwnLines, Spool};
use clap::{Parser, Subcommand};
use deploy::agent_config::InstanceDir;
use deploy::local_fleet::LocalDir;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// What [`deploy::desired_agent::VERSION_MARK`] says of this program.
static MARK: &str = concat!("engineer-agentd-version:", env!("CARGO_PKG_VERSION"), ";");

/// Runs an app on this machine as its bucket says, and switches versions without a failed request.
#[derive(Debug, Parser)]
#[command(name = "agentd", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Run as a service manager's unit: a stop of the unit leaves the app running
    #[arg(long, global = true)]
    unit: bool,
    /// Say more of what it does
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an instance's agent, and start it anew whenever it dies
    Launch {
        /// The instance's folder, with its agent.json
        #[arg(long)]
        dir: PathBuf,
    },
    /// Run an instance's agent alone: what `launch` starts
    Run {
        /// The instance's folder, with its agent.json
        #[arg(long)]
        dir: PathBuf,
        /// Only say whether this program could, as one JSON line; nothing is changed
        #[arg(long)]
        self_check: bool,
    },
    /// Run a local fleet's balancer
    Balance {
        /// The app's local folder, with its fleet.json
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    // It is read from the file alone: without this nothing would keep it there.
    std::hint::black_box(MARK);
    agentd::heap::keep_small();
    let cli = Cli::parse();
    let level = if cli.verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let ended = match cli.command {
        Command::Launch { dir } => launch(InstanceDir(dir), cli.verbose, cli.unit),
        Command::Run { dir, self_check: true } => self_check(InstanceDir(dir)),
        Command::Run { dir, self_check: false } => run(InstanceDir(dir), level, cli.unit),
        Command::Balance { dir } => balance(LocalDir(dir), level),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agentd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn launch(dir: InstanceDir, verbose: bool, unit: bool) -> anyhow::Result<()> {
    let dir = InstanceDir(std::path::absolute(dir.path())?);
    let flags = [(verbose, "--verbose"), (unit, "--unit")];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.to_owned());
    let flags = flags.collect();
    agentd::launcher::run(dir, flags)
}

fn run(dir: InstanceDir, level: LevelFilter, unit: bool) -> anyhow::Result<()> {
    let dir = InstanceDir(std::path::absolute(dir.path())?);
    let spool = Spool::open(dir.logs())
        .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", dir.logs().display()))?;
    let own = OwnLines(spool.clone());
    // The spool has the time of each line.
    let spooled = fmt::layer().with_writer(move || own.clone()).without_time().with_target(false);
    let console = fmt::layer().with_writer(std::io::stderr).with_target(false);
    tracing_subscriber::registry()
        .with(spooled.with_ansi(false).with_filter(level))
        .with(console.with_ansi(false).with_filter(level))
        .init();
    let unit = unit.then(Unit::own).transpose()?;
    tokio::task::LocalSet::new().block_on(&runtime()?, agentd::agent::run(dir, spool, unit))
}

fn self_check(dir: InstanceDir) -> anyhow::Result<()> {
    let dir = InstanceDir(std::path::absolute(dir.path())?);
    println!("{}", serde_json::to_string(&agentd::update::self_check(&dir)?)?);
    Ok(())
}

fn balance(dir: LocalDir, level: LevelFilter) -> anyhow::Result<()> {
    let console = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    tracing_subscriber::registry().with(console.with_filter(level)).init();
    runtime()?.block_on(agentd::balance::run(dir))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
