//! The app that the tests deploy, in Rust. Its mode, from `TEST_MODE` or the first argument, says
//! how it gets its port and how it misbehaves:
//!
//! | mode | what it does |
//! | --- | --- |
//! | `engineer` | links the library (the default) |
//! | `listen-fds` | takes `LISTEN_FDS` by itself, says that it is ready, and ends as hyper alone does |
//! | `listen-fds-soft` | the same with the library's end |
//! | `reuseport` | binds `PORT` with `SO_REUSEPORT` by itself, and ends as hyper alone does |
//! | `reuseport-soft`, `reuseport-soft:<ms>` | the same with the library's end, binding that late |
//! | `bind` | just binds `PORT` |
//! | `worker` | has no port |
//! | `exit`, `exit:<code>` | ends at once, with 3 or that code, and some lines on stderr |
//! | `never-ready`, `never-ready:<ms>` | links the library, but serves never, or that late |
//! | `crash-after:<ms>` | links the library, and exits with 3 so long after it was ready |
//! | `unwell-after:<ms>` | links the library, and `/health` answers 500 so long after it was ready |
//! | `eats:<mb>` | links the library, and has that much memory before it serves |
//!
//! `GET /` says who answers (`TEST_TAG` is its `version`), `/slow?ms=N` answers after that time,
//! `/health` at once, `/env?name=TEST_X` with that variable, `/eat?mb=N` when it has that much more
//! memory, `/spin?ms=N` when a core was busy for that time, and `/ws` is a WebSocket that answers each
//! message. With `TEST_CLOCK` it prints the time of its steps. It speaks HTTP/1.1 and HTTP/2, and
//! both over TLS on another port (see `ports`).

mod answer;
mod clock;
mod lines;
mod ports;
mod sockets;
mod soft;
mod stock;
mod websocket;

use std::env;
use std::io;
use std::process::{self, ExitCode};
use std::str::FromStr;
use std::time::Duration;

use answer::App;
use ports::Port;

const EXIT_CODE: u8 = 3;

#[derive(Clone, Debug)]
enum Mode {
    Engineer,
    ListenFds(End),
    Reuseport(End, Duration),
    Bind,
    Worker,
    Exit(u8),
    NeverReady(Option<Duration>),
    CrashAfter(Duration),
    UnwellAfter(Duration),
    Eats(usize),
}

/// How an app without the library's sockets ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Stock,
    Soft,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let number = || value.map(u64::from_str).transpose();
        let number = number().map_err(|error| format!("mode {text}: {error}"))?;
        match (name, number) {
            ("engineer", None) => Ok(Self::Engineer),
            ("listen-fds", None) => Ok(Self::ListenFds(End::Stock)),
            ("listen-fds-soft", None) => Ok(Self::ListenFds(End::Soft)),
            ("reuseport", None) => Ok(Self::Reuseport(End::Stock, Duration::ZERO)),
            ("reuseport-soft", late) => {
                let late = Duration::from_millis(late.unwrap_or_default());
                Ok(Self::Reuseport(End::Soft, late))
            }
            ("bind", None) => Ok(Self::Bind),
            ("worker", None) => Ok(Self::Worker),
            ("exit", None) => Ok(Self::Exit(EXIT_CODE)),
            ("exit", Some(code @ 0..=255)) => Ok(Self::Exit(code as u8)),
            ("never-ready", late) => Ok(Self::NeverReady(late.map(Duration::from_millis))),
            ("crash-after", Some(ms)) => Ok(Self::CrashAfter(Duration::from_millis(ms))),
            ("unwell-after", Some(ms)) => Ok(Self::UnwellAfter(Duration::from_millis(ms))),
            ("eats", Some(mb)) => Ok(Self::Eats(mb as usize)),
            _ => Err(format!("there is no mode {text}")),
        }
    }
}

fn main() -> ExitCode {
    let chosen = env::var("TEST_MODE").ok().or_else(|| env::args().nth(1));
    let chosen = chosen.unwrap_or_else(|| "engineer".to_owned());
    let app = App::new(&chosen);
    clock::tell("main");
    println!("starting version {} release {} mode {chosen}", app.version, app.release);
    lines::begin();
    match chosen.parse() {
        Ok(Mode::Exit(code)) => {
            for line in 1..=3 {
                eprintln!("line {line} of 3 about why this release cannot start");
            }
            ExitCode::from(code)
        }
        Ok(mode) => match run(mode, app) {
            Ok(()) => {
                println!("finished");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("failed: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(64)
        }
    }
}

fn run(mode: Mode, app: App) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let terminated = engineer::terminated();
        let announced = tokio::spawn(async {
            terminated.await;
            clock::tell("sigterm");
            println!("got SIGTERM");
        });
        serve(mode, app).await?;
        announced.await.map_err(io::Error::other)
    })
}

async fn serve(mode: Mode, app: App) -> io::Result<()> {
    match mode {
        Mode::Engineer => serve_engineer(app).await,
        Mode::ListenFds(end) => {
            let ports = ports::open(sockets::handed)?;
            engineer::ready()?;
            end.serve(ports, app).await
        }
        Mode::Reuseport(end, late) => {
            tokio::time::sleep(late).await;
            end.serve(ports::open(|address| sockets::bind(address, true))?, app).await
        }
        Mode::Bind => {
            End::Stock.serve(ports::open(|address| sockets::bind(address, false))?, app).await
        }
        Mode::Worker => {
            let terminated = engineer::terminated();
            engineer::ready()?;
            println!("ready");
            terminated.await;
            Ok(())
        }
        Mode::NeverReady(late) => {
            let late = tokio::time::sleep(late.unwrap_or(Duration::MAX));
            tokio::select! {
                () = late => serve_engineer(app).await,
                () = engineer::terminated() => Ok(()),
            }
        }
        Mode::CrashAfter(after) => crash_after(after, app).await,
        Mode::UnwellAfter(after) => {
            answer::be_well_for(after);
            serve_engineer(app).await
        }
        Mode::Eats(mb) => {
            answer::keep_memory(mb);
            serve_engineer(app).await
        }
        Mode::Exit(code) => Err(io::Error::other(format!("mode exit:{code} has no server"))),
    }
}

impl End {
    async fn serve(self, ports: Vec<Port>, app: App) -> io::Result<()> {
        match self {
            Self::Stock => stock::serve(ports, app).await,
            Self::Soft => soft::serve(ports, app).await,
        }
    }
}

async fn serve_engineer(app: App) -> io::Result<()> {
    soft::serve(ports::open(engineer::listen)?, app).await
}

async fn crash_after(after: Duration, app: App) -> io::Result<()> {
    let ports = ports::open(engineer::listen)?;
    // Said here already, since the time counts from it; that it is said twice does no harm.
    engineer::ready()?;
    tokio::select! {
        served = soft::serve(ports, app) => served,
        () = tokio::time::sleep(after) => {
            eprintln!("crashing {} ms after it was ready", after.as_millis());
            process::exit(EXIT_CODE.into());
        }
    }
}
