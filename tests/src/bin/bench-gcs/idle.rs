//! What an agent costs that has nothing to do, with TLS on.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;
use tests::relay::{Link, Shape};

use crate::fleet::{Fleet, INSTANCES};
use crate::place::{DELAY, Service};
use crate::table::{Sample, row, sample_row, shown};

/// From the deploy until nothing of it goes on.
const SETTLE: Duration = Duration::from_secs(15);

const WATCHED: Duration = Duration::from_secs(60);

/// How many questions `curl` asks over one connection.
const CURL_POLLS: u32 = 20;

pub(crate) fn measure() -> anyhow::Result<()> {
    let service = Service::far_with_tls(Shape::delay(DELAY))?;
    let fleet = Fleet::start(Some(&service), 8080)?;
    // Its agents are told of a change by the kernel, and have no use for TLS.
    let folder = Fleet::start(None, 8081)?;
    let agents = [fleet.agents()?, folder.agents()?];
    sleep(SETTLE);
    let times = || agents.each_ref().map(|pids| of_each(pids, cpu_seconds));
    let (began, wire) = (times(), Wire::now(&service));
    sleep(WATCHED);
    let (ended, wire) = (times(), Wire::now(&service).less(&wire));
    let share = |(began, ended): (&f64, &f64)| 100.0 * (ended - began) / WATCHED.as_secs_f64();
    let shares = |began: Vec<f64>, ended: Vec<f64>| {
        Sample::new(began.iter().zip(&ended).map(share).collect())
    };
    let ([began, folder_began], [ended, folder_ended]) = (began, ended);
    let shares = (shares(began?, ended?), shares(folder_began?, folder_ended?));
    let memory = |of| {
        let [ours, folder] = agents.each_ref().map(|pids| of_each(pids, of));
        anyhow::Ok((Sample::new(ours?), Sample::new(folder?)))
    };
    for (what, (ours, folder), unit) in [
        ("CPU of one idle agent, TLS, a poll in 5 s; of a core", shares, "%"),
        ("PSS of one idle agent, TLS, of several that share the program", memory(pss)?, "MB"),
        ("the same alone on its VM", memory(lone_pss)?, "MB"),
    ] {
        let peer = format!("a folder for a bucket {} {unit}", shown(folder.median()));
        sample_row(&ours, what, unit, &peer);
    }
    rows(&wire, &curl(&service)?)
}

fn of_each(pids: &[i32], get: fn(i32) -> anyhow::Result<f64>) -> anyhow::Result<Vec<f64>> {
    ensure!(pids.len() == INSTANCES, "{} of {INSTANCES} agents", pids.len());
    pids.iter().map(|pid| get(*pid)).collect()
}

/// Time on a core of all of a process's threads.
fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let time = clock_gettime(clock_getcpuclockid(Pid::from_raw(pid))?)?;
    Ok(Duration::from(time).as_secs_f64())
}

/// In megabytes.
fn pss(pid: i32) -> anyhow::Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// The same if no other process shared the agent's program: what it shares with all others, such
/// as the C library, is still shared.
fn lone_pss(pid: i32) -> anyhow::Result<f64> {
    let (mut kib, mut is_own) = (0.0, false);
    for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        let (name, rest) = line.split_once(' ').unwrap_or_default();
        // A mapping begins with its addresses and ends with its file.
        if !name.ends_with(':') {
            is_own = rest.ends_with("/agentd");
        } else if name == if is_own { "Rss:" } else { "Pss:" } {
            kib += rest.trim().trim_end_matches("kB").trim().parse::<f64>()?;
        }
    }
    Ok(kib * 1024.0 / 1e6)
}

/// What has gone over the wire.
#[derive(Clone, Copy)]
struct Wire {
    calls: u64,
    polls: u64,
    connections: u64,
    /// Bytes up and down with TLS, and without TCP and IP.
    bytes: [u64; 2],
    /// With TCP and IP, and packets that only acknowledge.
    packets: [u64; 2],
}

impl Wire {
    fn now(service: &Service) -> Self {
        let carried = service.link.as_ref().map(Link::carried).unwrap_or_default();
        let counts = service.server.stats().counts();
        Self {
            calls: counts.total(),
            polls: counts.of(READ),
            connections: counts.connections,
            bytes: [counts.bytes_in, counts.bytes_out],
            packets: [carried.up.bytes, carried.down.bytes],
        }
    }

    fn less(&self, before: &Self) -> Self {
        let both = |after: [u64; 2], before: [u64; 2]| {
            [after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1])]
        };
        Self {
            calls: self.calls - before.calls,
            polls: self.polls - before.polls,
            connections: self.connections - before.connections,
            bytes: both(self.bytes, before.bytes),
            packets: both(self.packets, before.packets),
        }
    }

    /// What one call takes.
    fn polls(&self) -> Polls {
        let each = |both: [u64; 2]| both.map(|bytes| bytes as f64 / self.calls as f64);
        Polls { bytes: each(self.bytes), packets: each(self.packets) }
    }
}

/// The server's name of a read.
const READ: &str = "objects.get media";

/// What one poll takes, up and down.
struct Polls {
    bytes: [f64; 2],
    packets: [f64; 2],
}

fn rows(idle: &Wire, curl: &Polls) -> anyhow::Result<()> {
    ensure!(idle.polls > 0, "no agent has polled");
    let (runs, ours) = (usize::try_from(idle.polls)?, idle.polls());
    for (what, ours, theirs) in [
        ("bytes of one poll with TLS, without TCP and IP", ours.bytes, curl.bytes),
        ("the same with all of its packets", ours.packets, curl.packets),
    ] {
        let all = |[up, down]: [f64; 2]| format!("{:.0} B", up + down);
        let parts = |[up, down]: [f64; 2]| format!("{up:.0} up, {down:.0} down");
        let peer = format!("`curl` {} ({})", all(theirs), parts(theirs));
        row(what, &all(ours), runs, &parts(ours), &peer);
    }
    let others = idle.calls - idle.polls;
    row("calls of other kinds meanwhile", &others.to_string(), 1, "", "");
    row("connections opened meanwhile", &idle.connections.to_string(), 1, "", "");
    Ok(())
}

/// The same question by `curl`, over one kept connection. What opens it is taken off.
fn curl(service: &Service) -> anyhow::Result<Polls> {
    let object = format!("{}/storage/v1/b/bench-hello/o/state.json", service.server.url());
    let run = |urls: Vec<&str>| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--http1.1", "--cacert"]);
        let curl = curl.arg(service.authorities.as_ref().context("no authorities")?);
        let output = curl.args(urls).output().context("`curl` cannot be run")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`curl`: {}", said.trim());
        Ok(output.stdout)
    };
    let facts = run(vec![&format!("{object}?fields=generation")])?;
    let facts: Value = serde_json::from_slice(&facts)?;
    let generation = facts["generation"].as_str().context("no generation")?;
    let url = format!("{object}?alt=media&ifGenerationNotMatch={generation}");
    let asked = |times: u32| {
        let before = Wire::now(service);
        run((0..times).map(|_| &*url).collect())?;
        // The last packets are still on their way.
        sleep(10 * DELAY);
        anyhow::Ok(Wire::now(service).less(&before))
    };
    let opening = asked(1)?;
    Ok(asked(1 + CURL_POLLS)?.less(&opening).polls())
}
