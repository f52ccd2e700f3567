//! Makes load on an address and prints what came of it; exits with 1 where a request failed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use load::{Load, Plan, Protocol, Tls};

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
    /// How they ask.
    #[arg(long, value_enum, default_value_t = How::New)]
    by: How,
    /// Ask over TLS, and trust the authorities in this PEM file.
    #[arg(long, value_name = "FILE")]
    tls: Option<PathBuf>,
    /// The name that the server has to prove, with --tls.
    #[arg(long, default_value = load::TEST_NAME)]
    name: String,
    /// The server gives each request's X-Request-Id back: an answer with another is a wrong one.
    #[arg(long)]
    echoed: bool,
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

#[derive(Clone, Copy, ValueEnum)]
enum How {
    /// HTTP/1.1, a new connection for each request
    New,
    /// HTTP/1.1 on kept connections
    Kept,
    /// HTTP/2
    Http2,
    /// A message on a WebSocket
    Websocket,
}

impl From<How> for Protocol {
    fn from(how: How) -> Self {
        match how {
            How::New => Self::NewConnections,
            How::Kept => Self::KeepAlive,
            How::Http2 => Self::Http2,
            How::Websocket => Self::WebSocket,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let load = Load::start(Plan {
        address: arguments.address,
        path: arguments.path,
        clients: arguments.clients,
        pause: Duration::from_millis(arguments.pause_ms),
        timeout: Duration::from_millis(arguments.timeout_ms),
        protocol: arguments.by.into(),
        tls: arguments.tls.map(|file| Tls::trusting(&file, &arguments.name)).transpose()?,
        echoes: arguments.echoed,
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
