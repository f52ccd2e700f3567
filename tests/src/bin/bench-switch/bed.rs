//! The network: a loopback, and a link to clients that are 20 ms away.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Context;
use load::Tally;
use tests::loads::{AllLoads, Target};
use tests::relay::{Link, Shape};

/// Half of a round trip of 20 ms.
const DELAY: Duration = Duration::from_millis(10);

/// Each kind of load has so many clients near, and more that are far, as each answer takes longer.
const NEAR: usize = 3;
const FAR: usize = 8;
const PAUSE: Duration = Duration::from_millis(20);

/// How long the load goes on after the last switch: longer than kept connections stay.
const AFTERWARDS: Duration = Duration::from_secs(8);

pub(crate) struct Bed {
    link: Link,
}

/// What the loads have counted, in the order of [`tests::loads::KINDS`].
pub(crate) struct Counted {
    pub(crate) switches: u64,
    pub(crate) near: Vec<Tally>,
    pub(crate) far: Vec<Tally>,
}

impl Bed {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { link: Link::new(Shape::delay(DELAY)).context("run it by tests/bench-switch")? })
    }

    /// Runs `switches` while all kinds of load are made on both ways to `target`, which listens on
    /// all addresses.
    pub(crate) fn loaded(
        &self,
        target: impl Fn(IpAddr) -> Target,
        switches: impl FnOnce() -> anyhow::Result<u64>,
    ) -> anyhow::Result<Counted> {
        let near = AllLoads::start(target(Ipv4Addr::LOCALHOST.into()), NEAR, PAUSE)?;
        let there = target(self.link.near.into());
        let far = self.link.at_far(move || AllLoads::start(there, FAR, PAUSE))??;
        let switches = switches()?;
        std::thread::sleep(AFTERWARDS);
        Ok(Counted { switches, near: near.stop(), far: far.stop() })
    }
}
