//! Runs a Google Cloud Storage server for tests by itself.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use gcs_server::{Log, Options, Server, Tls};
use tokio::signal::unix::{SignalKind, signal};

/// A Google Cloud Storage server for tests.
///
/// It speaks the JSON API and refuses what it does not implement. Its first line on the standard
/// output tells where it listens; it ends on SIGINT and SIGTERM.
#[derive(Parser)]
#[command(name = "engr-gcs-server", version, after_help = CLIENTS)]
struct Args {
    /// The port on 127.0.0.1; 0 for one that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where the buckets lie; made if it is missing
    #[arg(long)]
    dir: PathBuf,
    /// Speak TLS with this certificate (PEM)
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let in calls with this bearer token alone; may be given several times
    #[arg(long)]
    token: Vec<String>,
    /// Write a line for each call to the standard error
    #[arg(long)]
    endpoint_log: bool,
}

const CLIENTS: &str = "\
How to point clients at it (with http://127.0.0.1:PORT):
  engr           STORAGE_EMULATOR_HOST=http://127.0.0.1:PORT engr …, or --endpoint
  Google's libraries
                 STORAGE_EMULATOR_HOST=http://127.0.0.1:PORT, with anonymous credentials
  gcloud         gcloud config set api_endpoint_overrides/storage http://127.0.0.1:PORT/storage/v1/
  curl           curl -X POST 'http://127.0.0.1:PORT/storage/v1/b?project=p' \\
                   -H 'content-type: application/json' -d '{\"name\": \"my-bucket\"}'

Faults:
  curl http://127.0.0.1:PORT/_engr/faults -d '{\"probability\": 0.1, \"seed\": 1,
    \"kinds\": [\"unavailable-after\", \"cut-after\"], \"match\": {\"name\": \"state.json\"}, \"count\": 5}'
  curl http://127.0.0.1:PORT/_engr/faults -d '{\"outage\": 503}'     (or \"refuse\", or null)
  curl http://127.0.0.1:PORT/_engr/faults -d '{\"hidden_buckets\": [\"my-bucket\"], \"clock_skew_secs\": 600}'
  curl http://127.0.0.1:PORT/_engr/faults                          how often each kind befell a call
  curl -X DELETE http://127.0.0.1:PORT/_engr/faults                no more of them
  curl http://127.0.0.1:PORT/_engr/stats                           counts of calls and bytes
  curl http://127.0.0.1:PORT/_engr/lifecycle -d '{\"bucket\": \"my-bucket\"}'

Credentials: POST /token (OAuth2), /computeMetadata/v1/ (GCE_METADATA_HOST=127.0.0.1:PORT), and
POST /v1/projects/-/serviceAccounts/EMAIL:generateAccessToken.";

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let tls = args.tls_cert.zip(args.tls_key).map(|(cert, key)| Tls { cert, key });
    let log = args.endpoint_log.then(|| Log::new(|line| eprintln!("{line}")));
    let new = Options::new(args.dir);
    let options = Options { port: args.port, tls, tokens: args.token, log, ..new };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the line that says that it is up, or a quick signal would kill it.
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let server = Server::start(options).context("the server does not start")?;
        println!("listening at {}", server.url());
        std::io::stdout().flush()?;
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        Ok(())
    })
}
