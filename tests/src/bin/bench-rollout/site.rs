//! The networks: hosts and a cloud in one, and a deployer whose way there is short or long.
//!
//! ```text
//!   deployer ══ link of 20 ms, 20 Mbit/s, or none ══╗
//!                                                   ║
//!      cloud (Cloud Storage) ───────────── bridge, this process
//!      host 1: sshd, runit, agent, app ─────┤   asks all hosts for their version
//!      host 2: …                       ─────┘
//! ```
//!
//! Each is a thread in a network of its own. All of them go with the process.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context;
use gcs_server::{Options, Server};
use tests::relay::{Far, Link, Shape, ip};

/// How the deployer reaches the hosts and the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Line {
    /// As the hosts reach each other.
    None,
    /// 20 ms there and back, 20 Mbit/s each way, which all that the deployer does shares.
    Office,
}

impl Line {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Office => "20 ms, 20 Mbit/s",
        }
    }
}

/// How long the slowest of home routers let packets wait is another matter.
const OFFICE: Shape = Shape {
    delay: Duration::from_millis(10),
    rate: Some(20_000_000),
    queue: Duration::from_millis(100),
};

const BRIDGE: &str = "bridge0";
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLOUD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const DEPLOYER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

enum Deployer {
    Beside(Place),
    Away(Link),
}

/// One place of the network.
pub(crate) struct Place {
    /// The end of its cable at the bridge.
    cable: String,
    network: Far,
    pub(crate) address: Ipv4Addr,
}

/// All of them. Fields go in this order: the server before its network.
pub(crate) struct Site {
    pub(crate) server: Server,
    deployer: Deployer,
    _cloud: Place,
    _bridge: Bridge,
}

struct Bridge;

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Err(error) = ip(&["link", "delete", BRIDGE]) {
            eprintln!("the bridge stays: {error:#}");
        }
    }
}

impl Site {
    /// Makes the networks, and a Cloud Storage with its buckets in `dir`.
    pub(crate) fn new(line: Line, dir: PathBuf) -> anyhow::Result<Self> {
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        let bridge = Bridge;
        ip(&["address", "add", &format!("{ROUTER}/16"), "dev", BRIDGE])?;
        ip(&["link", "set", BRIDGE, "up"])?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("packets are not forwarded")?;
        let cloud = Place::new("cloud0", CLOUD)?;
        let options = Options { address: CLOUD, ..Options::new(dir) };
        let server = cloud.network.run(move || Server::start(options))??;
        let deployer = match line {
            Line::None => Deployer::Beside(Place::new("deployer0", DEPLOYER)?),
            Line::Office => {
                let link = Link::new(OFFICE)?;
                let near = link.near.to_string();
                link.at_far(move || ip(&["route", "add", "default", "via", &near]))??;
                Deployer::Away(link)
            }
        };
        Ok(Self { server, deployer, _cloud: cloud, _bridge: bridge })
    }

    /// Starts a command where the deployer is.
    pub(crate) fn spawn(&self, mut command: Command) -> anyhow::Result<Child> {
        match &self.deployer {
            Deployer::Beside(place) => place.spawn(command),
            Deployer::Away(link) => {
                let named = format!("{}", command.get_program().display());
                let spawned = link.at_far(move || command.spawn())?;
                spawned.with_context(|| format!("{named} cannot be run"))
            }
        }
    }

    /// What the deployer has sent by now, in bytes with the heads of TCP and IP. None: nobody
    /// counts it without a line.
    pub(crate) fn sent(&self) -> Option<u64> {
        match &self.deployer {
            Deployer::Beside(_) => None,
            // The deployer is at the far end.
            Deployer::Away(link) => Some(link.carried().down.bytes),
        }
    }
}

impl Place {
    /// A network with a cable to the bridge, whose end there has this name.
    pub(crate) fn new(name: &str, address: Ipv4Addr) -> anyhow::Result<Self> {
        let network = Far::new().context("no network of one's own is allowed here")?;
        let (end, here) = (name.to_owned(), std::process::id().to_string());
        network.run(move || {
            ip(&["link", "set", "lo", "up"])?;
            let pair = ["link", "add", "eth0", "type", "veth", "peer", "name", &end, "netns"];
            ip(&[&pair[..], &[&here]].concat())?;
            ip(&["address", "add", &format!("{address}/16"), "dev", "eth0"])?;
            ip(&["link", "set", "eth0", "up"])?;
            ip(&["route", "add", "default", "via", &ROUTER.to_string()])
        })??;
        ip(&["link", "set", name, "master", BRIDGE])?;
        ip(&["link", "set", name, "up"])?;
        Ok(Self { cable: name.to_owned(), network, address })
    }

    /// Runs something there.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        self.network.run(run)
    }

    /// Starts a command there.
    pub(crate) fn spawn(&self, mut command: Command) -> anyhow::Result<Child> {
        let named = format!("{}", command.get_program().display());
        self.run(move || command.spawn())?.with_context(|| format!("{named} cannot be run"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The kernel would remove it with the network, some time after that has gone: too late for
        // the next cable of the same name.
        if let Err(error) = ip(&["link", "delete", &self.cable]) {
            eprintln!("the cable {} stays: {error:#}", self.cable);
        }
    }
}
