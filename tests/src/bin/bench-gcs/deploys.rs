//! From the publish to the last switch.

use tests::relay::Shape;

use crate::fleet::Fleet;
use crate::place::{DELAY, Service};
use crate::table::{Sample, shown};

const RUNS: usize = 7;

pub(crate) fn measure() -> anyhow::Result<()> {
    // The same fleet on a folder, whose agents are told of a change by the kernel.
    let folder = Times::of(None)?;
    let near = Service::near()?;
    Times::of(Some(&near))?.rows("0 ms", &folder);
    drop(near);
    let far = Service::far(Shape::delay(DELAY))?;
    Times::of(Some(&far))?.rows("20 ms", &folder);
    Ok(())
}

struct Times {
    deploy: Sample,
    rollback: Sample,
}

impl Times {
    fn of(service: Option<&Service>) -> anyhow::Result<Self> {
        let mut fleet = Fleet::start(service)?;
        let deploy = Sample::of(RUNS, || fleet.deploy())?;
        let rollback = Sample::of(RUNS, || fleet.rollback())?;
        Ok(Self { deploy, rollback })
    }

    fn rows(&self, rtt: &str, folder: &Self) {
        for (what, sample, peer) in [
            ("`deploy` of a small Go app", &self.deploy, &folder.deploy),
            ("`rollback`, agents polling every 5 s", &self.rollback, &folder.rollback),
        ] {
            let what = format!("{what}: publish to last of 3 switches, {rtt} RTT");
            let peer = format!("a folder for a bucket {} s", shown(peer.median()));
            sample.row(&what, "s", &peer);
        }
    }
}
