//! One run of a tool, from its start until all hosts answer with the new version.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::host::Host;
use crate::site::Site;

/// How often a host is asked: the error of a figure.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// How much time a fleet is left between two questions to its hosts: those of a large one would take
/// the processors' time from who is measured.
const ASK_APART: Duration = Duration::from_micros(2500);

/// How long one may think about it.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How long a tool may take, and all hosts after it.
const LIMIT: Duration = Duration::from_secs(600);

/// What was seen of a run, in seconds since its start.
pub(crate) struct Run {
    /// Every host had answered with the new version.
    pub(crate) served: f64,
    /// The command had ended.
    pub(crate) ended: f64,
    /// What it had printed by when.
    pub(crate) lines: Vec<(f64, String)>,
}

/// What all hosts are to answer with in the end, and where.
pub(crate) struct Wanted<'a> {
    pub(crate) hosts: &'a [Host],
    pub(crate) port: u16,
    pub(crate) says: &'a str,
}

impl Wanted<'_> {
    /// Waits until they do, and gives when the last of them did.
    pub(crate) fn served(&self, given_up: &AtomicBool) -> anyhow::Result<Instant> {
        let began = Instant::now();
        let pause = ASK_EVERY.max(ASK_APART.mul_f64(self.hosts.len() as f64));
        let one = |host: &Host| loop {
            if answers(host.place.address, self.port, self.says) {
                return Ok(Instant::now());
            }
            ensure!(!given_up.load(Ordering::Relaxed), "{}: the tool has failed", host.name);
            ensure!(began.elapsed() < LIMIT, "{} does not answer `{}`", host.name, self.says);
            thread::sleep(pause);
        };
        thread::scope(|scope| {
            let asking: Vec<_> =
                self.hosts.iter().map(|host| scope.spawn(move || one(host))).collect();
            let mut last = began;
            for asks in asking {
                last = last.max(asks.join().ok().context("a thread that asks has panicked")??);
            }
            Ok(last)
        })
    }
}

/// Whether the host's app answers a new connection with this.
fn answers(host: Ipv4Addr, port: u16, says: &str) -> bool {
    let ask = || {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::from((host, port)), ANSWER_WITHIN)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    // While it is stopped it refuses or resets: it is asked again.
    ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200 ") && text.contains(says))
}

/// Runs a tool's command where the deployer is.
pub(crate) fn run(site: &Site, mut command: Command, wanted: &Wanted) -> anyhow::Result<Run> {
    let said = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(said.path())?);
    let given_up = AtomicBool::new(false);
    thread::scope(|scope| {
        let began = Instant::now();
        let asking = scope.spawn(|| wanted.served(&given_up));
        let followed = follow(site, command, began, said.path());
        given_up.store(followed.is_err(), Ordering::Relaxed);
        let served = asking.join().ok().context("the thread that asks has panicked")?;
        let (lines, ended) = followed?;
        let served = served?.duration_since(began).as_secs_f64();
        Ok(Run { served, ended, lines })
    })
}

type Followed = (Vec<(f64, String)>, f64);

fn follow(site: &Site, command: Command, began: Instant, said: &Path) -> anyhow::Result<Followed> {
    let mut child = site.spawn(command)?;
    let output = child.stdout.take().context("its output is piped")?;
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines() {
        lines.push((began.elapsed().as_secs_f64(), line?));
    }
    let status = child.wait()?;
    let ended = began.elapsed().as_secs_f64();
    if !status.success() {
        let printed: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        bail!("{status}:\n{}\n{}", printed.join("\n"), std::fs::read_to_string(said)?);
    }
    Ok((lines, ended))
}
