//! Others that go from one version of themselves to the next: by their own reload.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::engr::binary;
use tests::fleet::within;
use tests::loads::Target;

use crate::bed::{Bed, Counted};
use crate::{haproxy, nginx};

/// Where they listen: HTTP/1.1, HTTP/2 without TLS, and TLS.
pub(crate) const HTTP1: u16 = 8090;
pub(crate) const HTTP2: u16 = 8091;
pub(crate) const TLS: u16 = 8453;

/// Where the app behind them has its WebSocket.
pub(crate) const BEHIND: u16 = 8099;

/// How long their old workers may stay: kept open for ever by a WebSocket each, thousands would be
/// left. It is what an agent gives an old version's connections.
pub(crate) const STAY_S: u64 = 5;

/// At the pace of the apps' switches.
const PAUSE: Duration = Duration::from_millis(200);

const REFLECTS_WITHIN: Duration = Duration::from_secs(20);

/// A word that comes while it starts is not heard: it is said again after so long.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// A server that reloads.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    /// What makes it read its configuration again.
    reload: Signal,
    /// The configuration by which it says that it is this release.
    config: fn(release: u64, folder: &Path) -> String,
}

pub(crate) const ALL: [Peer; 2] = [
    Peer {
        name: "nginx, its reload",
        program: "nginx",
        args: &["-e", "stderr", "-c"],
        reload: Signal::SIGHUP,
        config: nginx::config,
    },
    Peer {
        name: "HAProxy, its reload",
        program: "haproxy",
        args: &["-W", "-q", "-f"],
        reload: Signal::SIGUSR2,
        config: haproxy::config,
    },
];

/// A process that ends with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Its workers end with it. It may have ended.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let ended = within(Duration::from_secs(10), || self.0.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

pub(crate) fn measure(peer: &Peer, bed: &Bed, switches: u64) -> anyhow::Result<Counted> {
    let folder = TempDir::new()?;
    let _behind = behind()?;
    let config = folder.path().join("config");
    let write = |release| std::fs::write(&config, (peer.config)(release, folder.path()));
    write(1)?;
    let mut command = Command::new(program(peer.program)?);
    let command = command.args(peer.args).arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
    let log = std::fs::File::create(folder.path().join("log"))?;
    let process = Process(command.stderr(log).spawn()?);
    let told = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let serves = |release| {
        within(REFLECTS_WITHIN, || (released().ok()? == release).then_some(()))
            .with_context(|| format!("it does not come to release {release}: {}", told()))
    };
    serves(1)?;
    let target = |host: IpAddr| Target {
        http1: SocketAddr::new(host, HTTP1),
        http2: SocketAddr::new(host, HTTP2),
        tls: SocketAddr::new(host, TLS),
    };
    bed.loaded(target, || {
        for release in 2..=switches + 1 {
            thread::sleep(PAUSE);
            write(release)?;
            let began = Instant::now();
            while began.elapsed() < REFLECTS_WITHIN {
                kill(Pid::from_raw(process.0.id().cast_signed()), peer.reload)?;
                if within(HEARD_WITHIN, || (released().ok()? == release).then_some(())).is_some() {
                    break;
                }
            }
            serves(release)?;
        }
        Ok(switches)
    })
}

/// The program that `tests/bench-switch` has brought, or the machine's own.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let brought = std::env::var_os("PEERS").map(PathBuf::from).unwrap_or_default();
    let folders = [brought.join("usr/sbin"), PathBuf::from("/usr/sbin")];
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
    found.with_context(|| format!("there is no {name}"))
}

/// The app that has the WebSocket behind a peer.
fn behind() -> anyhow::Result<Process> {
    let mut app = Command::new(binary("test-app"));
    app.env_clear().env("TEST_MODE", "engineer").env("PORT", BEHIND.to_string());
    let app = Process(app.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, BEHIND)).ok();
    within(REFLECTS_WITHIN, listens).context("the app behind it does not listen")?;
    Ok(app)
}

/// Which release the peer says it is.
fn released() -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, HTTP1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").context("no answer")?.1;
    let body: serde_json::Value = serde_json::from_str(body)?;
    ensure!(body["release"].is_u64(), "no release in {body}");
    Ok(body["release"].as_u64().unwrap_or_default())
}
