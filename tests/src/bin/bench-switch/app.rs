//! Apps under an agent, by the way in which they take their port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::agent::Life;
use tests::apps;
use tests::chance::Chance;
use tests::engr::binary;
use tests::instance::{Instance, Setup};
use tests::loads::Target;

use crate::Arguments;
use crate::bed::{Bed, Counted};

const PORTS: [u16; 2] = [8080, 8443];

/// `net.ipv4.tcp_migrate_req` of this network.
const MIGRATES: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

/// A moment within a switch, or between two.
const KILL_WITHIN: Duration = Duration::from_millis(300);

pub(crate) struct App {
    pub(crate) name: &'static str,
    mode: &'static str,
    in_go: bool,
    /// Whether the kernel may give connections that wait for one socket to another.
    migrates: bool,
}

pub(crate) fn all() -> impl Iterator<Item = App> {
    [
        ("`engineer`, Rust", "engineer", false, false),
        ("`engineer`, Go", "engineer", true, false),
        ("own `LISTEN_FDS`, soft end", "listen-fds-soft", false, false),
        ("own `SO_REUSEPORT`, soft end, `tcp_migrate_req=1`", "reuseport-soft", false, true),
        ("own `SO_REUSEPORT`, soft end, `tcp_migrate_req=0`", "reuseport-soft", false, false),
        ("own `LISTEN_FDS`, hyper's own end", "listen-fds", false, false),
        ("own `LISTEN_FDS`, Go's own end", "listen-fds", true, false),
    ]
    .into_iter()
    .map(|(name, mode, in_go, migrates)| App { name, mode, in_go, migrates })
}

impl App {
    /// What runs it, with windows that are short: they are settings, not costs.
    pub(crate) fn setup(&self, built: &TempDir, life: Life) -> anyhow::Result<Setup> {
        let program: PathBuf = match self.in_go {
            true => apps::build_go(built.path(), "bench").context("run `tests/run` once for Go")?,
            false => binary("test-app"),
        };
        Ok(Setup {
            program,
            mode: self.mode.to_owned(),
            host: Ipv4Addr::UNSPECIFIED.into(),
            ports: PORTS,
            health: SocketAddr::from(([127, 0, 0, 1], 8086)),
            health_window: Duration::from_millis(20),
            settle: Duration::from_millis(20),
            life,
            args: Vec::new(),
            is_worker: false,
        })
    }
}

pub(crate) fn measure(app: &App, bed: &Bed, arguments: &Arguments) -> anyhow::Result<Counted> {
    let migrates = if app.migrates { "1" } else { "0" };
    std::fs::write(MIGRATES, migrates).with_context(|| format!("cannot write {MIGRATES}"))?;
    let built = tempfile::tempdir()?;
    let life = if arguments.kills > 0 { Life::Launched } else { Life::Alone };
    let instance = Instance::start(&app.setup(&built, life)?)?;
    let counted = bed.loaded(
        |host| Target::app(host, PORTS),
        || switches(&instance, arguments).with_context(|| format!("{:#?}", instance.report())),
    )?;
    // Nobody is there any more: what is left of the old versions ends by itself.
    instance.drained_to(0)?;
    Ok(counted)
}

fn switches(instance: &Instance, arguments: &Arguments) -> anyhow::Result<u64> {
    let Arguments { switches, kills, overlap, .. } = *arguments;
    let mut chance = Chance::new();
    let mut killed = 0;
    for switch in 1..=switches {
        // The kills are spread over the switches.
        let killer = (killed * switches < switch * kills).then(|| {
            killed += 1;
            let after = chance.up_to(KILL_WITHIN);
            let agent = instance.report().map(|report| report.agent.pid);
            thread::spawn(move || {
                thread::sleep(after);
                kill_agent(agent)
            })
        });
        let release = instance.publish()?;
        if let Some(killer) = killer {
            killer.join().ok().context("the killer panicked")??;
        }
        instance.switched(release)?;
        instance.drained_to(overlap)?;
        if switch % 100 == 0 {
            eprintln!("{switch} of {switches} switches, {killed} kills");
        }
    }
    Ok(switches)
}

fn kill_agent(agent: Option<u32>) -> anyhow::Result<()> {
    let agent = agent.context("the agent does not say who it is")?;
    Ok(kill(Pid::from_raw(i32::try_from(agent)?), Signal::SIGKILL)?)
}
