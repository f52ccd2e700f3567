//! Makes load on an address and prints what came of it; exits with 1 where a request failed.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::load::{Load, Plan};

/// Makes load on an address, and counts every failed request by its kind.
#[derive(Parser)]
struct Arguments {
    /// Where the requests go, such as 127.0.0.1:8080.
    address: SocketAddr,
    /// What they ask for.
    #[arg(long, default_value = "/")]
    path: String,
    /// How many clients ask, each for one answer at a time.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Keep the connection for the next request, instead of a new one for each.
    #[arg(long)]
    keep_alive: bool,
    /// Milliseconds between an answer and the client's next request.
    #[arg(long, default_value_t = 10)]
    pause_ms: u64,
    /// Milliseconds until a request counts as failed.
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
    /// For how long; until Ctrl-C where it is not given.
    #[arg(long)]
    seconds: Option<f64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let load = Load::start(Plan {
        address: arguments.address,
        path: arguments.path,
        clients: arguments.clients,
        pause: Duration::from_millis(arguments.pause_ms),
        timeout: Duration::from_millis(arguments.timeout_ms),
        keep_alive: arguments.keep_alive,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let enough = async {
            match arguments.seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = enough => {}
            () = engineer::terminated() => {}
        }
    });
    let tally = load.stop();
    println!("{tally}");
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
