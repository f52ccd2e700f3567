//! Measures what the README says, each figure beside a peer in the same run where there is one.
//! Run it by `tests/bench`, which builds everything first.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use tests::engr::{Place, Transcript, binary};

/// How often each thing is done; the README asks for at least ten.
const RUNS: usize = 12;
const STARTS: usize = 40;

/// How long an idle agent is watched.
const IDLE_FOR: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<()> {
    println!("{}\n", machine());
    println!("| what | median | min to max | peer in the same run |");
    println!("| --- | --- | --- | --- |");
    let fleet = Fleet::start()?;
    switches(&fleet)?;
    starts(&fleet)?;
    idle(&fleet)?;
    drop(fleet);
    publish_a_large_binary()
}

/// Figures of one thing, in one unit.
struct Sample(Vec<f64>);

impl Sample {
    fn of(runs: usize, mut once: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<Self> {
        let mut figures = (0..runs).map(|_| once()).collect::<anyhow::Result<Vec<_>>>()?;
        figures.sort_by(f64::total_cmp);
        Ok(Self(figures))
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    fn row(&self, what: &str, unit: &str, peer: &str) {
        let (min, max) = (self.0[0], self.0[self.0.len() - 1]);
        println!("| {what} | {:.3} {unit} | {min:.3} to {max:.3} | {peer} |", self.median());
    }
}

/// A local fleet of 3 whose app takes 20 ms until it is ready, with short windows after that: they
/// are settings, not costs.
struct Fleet(Place);

impl Fleet {
    fn start() -> anyhow::Result<Self> {
        let place = Place::new();
        let app = binary("test-app");
        let config = serde_json::json!({"apps": {"hello": {
            "project": "local", "port": free_port()?, "instance-count": 3, "settle": "100ms",
            "rollout": {"canary": 0},
            "build": {"command": format!("cp '{}' app", app.display()), "output": "app"},
            "args": ["never-ready:20"],
        }}});
        place.write("engr.json", &config.to_string());
        let fleet = Self(place);
        succeeded(&fleet.0.engr(&["hello", "deploy", "--json"]))?;
        Ok(fleet)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let ended = self.0.engr(&["hello", "destroy-app", "--yes", "hello", "--bucket"]);
        if ended.code != Some(0) {
            eprintln!("the fleet could not be removed:\n{ended}");
        }
    }
}

fn succeeded(run: &Transcript) -> anyhow::Result<Value> {
    ensure!(run.code == Some(0), "a command failed:\n{run}");
    Ok(run.result())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn switches(fleet: &Fleet) -> anyhow::Result<()> {
    let sample = Sample::of(RUNS, || {
        let result = succeeded(&fleet.0.engr(&["hello", "restart", "--json"]))?;
        result["publish_to_last_switch_seconds"].as_f64().context("no time in the result")
    })?;
    sample.row(
        "publish to last switch, fleet of 3, app ready in 20 ms (of it 0.2 s health window)",
        "s",
        "-",
    );
    Ok(())
}

fn starts(fleet: &Fleet) -> anyhow::Result<()> {
    let git = |args: &'static [&'static str]| {
        let mut git = fleet.0.command("git");
        git.args(args);
        git
    };
    ensure!(timed(&mut git(&["init", "-q"])).is_ok(), "git is missing");
    let engr = |args: &'static [&'static str]| {
        let mut engr = fleet.0.command(binary("engr"));
        engr.args(args);
        engr
    };
    for (what, mut ours, peer, mut theirs) in [
        ("`engr --version`", engr(&["--version"]), "`git --version`", git(&["--version"])),
        ("`engr hello status`", engr(&["hello", "status"]), "`git status`", git(&["status"])),
    ] {
        timed(&mut ours)?;
        timed(&mut theirs)?;
        let mut others = Vec::new();
        let sample = Sample::of(STARTS, || {
            others.push(timed(&mut theirs)?);
            timed(&mut ours)
        })?;
        others.sort_by(f64::total_cmp);
        let peer = format!("{peer} {:.1} ms", others[others.len() / 2]);
        sample.row(what, "ms", &peer);
    }
    Ok(())
}

/// Wall time of a whole process, in milliseconds.
fn timed(command: &mut Command) -> anyhow::Result<f64> {
    let began = Instant::now();
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let took = began.elapsed();
    ensure!(status.success(), "{command:?} failed");
    Ok(took.as_secs_f64() * 1e3)
}

fn idle(fleet: &Fleet) -> anyhow::Result<()> {
    let status = succeeded(&fleet.0.engr(&["hello", "status", "--json"]))?;
    let instances = status["instances"].as_array().context("no instances")?;
    let pids: Vec<u64> = instances.iter().filter_map(|i| i["agent_pid"].as_u64()).collect();
    let before = pids.iter().map(|pid| cpu_nanos(*pid)).collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::sleep(IDLE_FOR);
    let mut cpu = pids.iter().zip(before).map(|(pid, before)| {
        let nanos = cpu_nanos(*pid)? - before;
        Ok(100.0 * nanos as f64 / IDLE_FOR.as_nanos() as f64)
    });
    Sample::of(pids.len(), || cpu.next().context("an agent too few")?)?.row(
        "CPU of one idle `agentd`, of a core",
        "%",
        "-",
    );
    let mut memory = pids.iter().map(|pid| pss_kib(*pid).map(|kib| kib as f64 / 1024.0));
    Sample::of(pids.len(), || memory.next().context("an agent too few")?)?.row(
        "PSS of one `agentd`",
        "MiB",
        "-",
    );
    Ok(())
}

/// Time on a core of all threads, those that have ended too, in nanoseconds.
fn cpu_nanos(pid: u64) -> anyhow::Result<u128> {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(i32::try_from(pid)?))?;
    Ok(Duration::from(nix::time::clock_gettime(clock)?).as_nanos())
}

fn pss_kib(pid: u64) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// The Go compiler itself is the large program; each run has other last bytes, so that each run
/// packs and uploads it.
fn publish_a_large_binary() -> anyhow::Result<()> {
    let place = Place::new();
    let built = place
        .command("go")
        .args(["build", "-trimpath", "-ldflags=-s -w"])
        .args(["-o", "big", "cmd/compile"])
        .env("CGO_ENABLED", "0")
        .status();
    ensure!(
        built.context("go is missing: run `tests/run` once")?.success(),
        "go cannot build cmd/compile"
    );
    let config = serde_json::json!({"apps": {"big": {
        "project": "local", "server": false, "instance-count": 1,
        "build": {"command": "cp big out && date +%s%N >> out", "output": "out"},
    }}});
    place.write("engr.json", &config.to_string());
    let mut gzip = Vec::new();
    let sample = Sample::of(RUNS, || {
        gzip.push(timed(place.command("tar").args(["-czf", "big.tar.gz", "big"]))? / 1e3);
        let run = place.engr(&["big", "deploy", "--detach", "--json"]);
        succeeded(&run)?;
        let phases = run.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = phases.filter(|event| {
            matches!(event["phase"].as_str(), Some("archive" | "upload" | "publish"))
        });
        Ok(ours.filter_map(|event| event["seconds"].as_f64()).sum())
    })?;
    gzip.sort_by(f64::total_cmp);
    let size = megabytes(&place.path().join("big"))?;
    let what = format!("archive, upload and publish a Go binary of {size:.1} MB (`cmd/compile`)");
    sample.row(&what, "s", &format!("`tar -cz` of it {:.3} s", gzip[gzip.len() / 2]));
    let ended = place.engr(&["big", "destroy-app", "--yes", "big", "--bucket"]);
    ensure!(ended.code == Some(0), "the fleet could not be removed:\n{ended}");
    Ok(())
}

fn megabytes(path: &Path) -> anyhow::Result<f64> {
    Ok(fs::metadata(path)?.len() as f64 / 1e6)
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores ({model}), Linux {}, {RUNS} runs", kernel.trim())
}
