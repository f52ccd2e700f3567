//! From the publish to the last switch.
//!
//! An agent that nobody has woken sees a publish at its next poll, which is up to 5 s away. A claim
//! wakes it, too at its next poll: a deploy that builds for longer finds all of them awake.

use std::thread::sleep;
use std::time::Duration;

use deploy::store::gcs::POLL_INTERVAL;
use tests::relay::Shape;

use crate::fleet::Fleet;
use crate::operations::{CLASS_A, CLASS_B, Operations};
use crate::place::{DELAY, Service};
use crate::table::{Sample, row, sample_row, shown};

const RUNS: u8 = 5;

/// Longer than an agent sleeps, with the tenth by which it may sleep longer.
const LONG_BUILD: Duration = Duration::from_secs(6);

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
    long: Sample,
    short: Sample,
    rollback: Sample,
    /// Of all the long ones.
    operations: Operations,
}

impl Times {
    fn of(service: Option<&Service>) -> anyhow::Result<Self> {
        let mut fleet = Fleet::start(service, 8080)?;
        let asleep = |run| {
            if service.is_some() {
                pause(run);
            }
        };
        let runs = |once: &mut dyn FnMut(u8) -> anyhow::Result<f64>| {
            Ok::<_, anyhow::Error>(Sample::new((0..RUNS).map(once).collect::<Result<_, _>>()?))
        };
        let short = runs(&mut |run| {
            asleep(run);
            fleet.deploy()
        })?;
        let rollback = runs(&mut |run| {
            asleep(run);
            fleet.rollback()
        })?;
        if service.is_some() {
            fleet.build_for(LONG_BUILD);
        }
        let operations = || {
            let counts = service.map(|service| service.server.stats().counts());
            Operations::of(&counts.unwrap_or_default())
        };
        let before = operations();
        let long = runs(&mut |_| fleet.deploy())?;
        let operations = operations().less(before);
        Ok(Self { long, short, rollback, operations })
    }

    fn rows(&self, rtt: &str, folder: &Self) {
        for (what, sample, peer) in [
            ("`deploy` with a build of 6 s", &self.long, &folder.long),
            ("`deploy` with a build of 1 s", &self.short, &folder.short),
            ("`rollback`", &self.rollback, &folder.rollback),
        ] {
            let what = format!("{what}: publish to last of 3 switches, {rtt} RTT");
            let peer = format!("a folder for a bucket {} s", shown(peer.median()));
            sample_row(sample, &what, "s", &peer);
        }
        let [a, b] = self.operations.of_one(RUNS);
        let dollars = a * CLASS_A + b * CLASS_B;
        let what = format!("operations of a `deploy` with a build of 6 s, 3 instances, {rtt} RTT");
        let figure = format!("{a:.0} of class A, {b:.0} of class B");
        row(&what, &figure, RUNS.into(), "", &format!("${dollars:.6}"));
    }
}

/// Other moments between the polls for each run: one run ends with a poll, so without this the next
/// would always begin so long after it.
fn pause(run: u8) {
    sleep(POLL_INTERVAL.mul_f64((f64::from(run) + 0.5) / f64::from(RUNS)));
}
