//! `agentd`: the daemon on every VM.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use deploy::local_fleet::LocalDir;

#[derive(Debug, Parser)]
#[command(name = "agentd", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs an instance's agent
    Run {
        /// The instance's folder
        #[arg(long)]
        dir: PathBuf,
    },
    /// Runs a local fleet's balancer
    Balance {
        /// The app's local folder
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agentd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.command {
        Command::Run { dir } => anyhow::bail!("there is no agent yet for {}", dir.display()),
        Command::Balance { dir } => runtime.block_on(agentd::balance::run(LocalDir(dir))),
    }
}
