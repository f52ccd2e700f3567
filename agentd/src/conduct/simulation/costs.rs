//! What a rollout asks of the bucket, by the simulation's own counts.

use std::time::{Duration, Instant};

use deploy::rollout::{Rules, Stage};

use super::bucket::Operations;
use super::world::World;
use super::{Pace, Plot};

/// Google's price of a thousand operations of class A (lists and writes) on a bucket of the Standard
/// class in one region, in US dollars (cloud.google.com/storage/pricing).
const CLASS_A_USD: f64 = 0.005;

/// The same of class B (reads).
const CLASS_B_USD: f64 = 0.0004;

/// A good release's way through a fleet of so many.
struct Deploy {
    instances: usize,
    /// From the publish until it serves everywhere, and until it is no longer watched.
    serves_after: Duration,
    done_after: Duration,
    asked: Operations,
}

impl Deploy {
    fn through(instances: usize) -> Self {
        let plot = Plot {
            seed: 1,
            vms: instances,
            publishes: 2,
            rules: Rules::default(),
            is_graceful: true,
            has_faults: false,
            may_be_bad: false,
            has_orders: false,
            is_quick: true,
        };
        let mut world = World::new(plot);
        world.run_until(|world| world.published.len() == 2);
        let (began, before) = (world.now, world.asked());
        world.run_until(World::all_serve);
        let serves_after = world.now - began;
        world.run_until(|world| world.stages.get(&2) == Some(&Stage::Done) && !world.is_active());
        let asked = world.asked().since(before);
        Self { instances, serves_after, done_after: world.now - began, asked }
    }

    /// What it may ask for at the most, by the pace that is set and the time that it took.
    fn most(&self) -> Operations {
        let (all, pace) = (self.instances as u64, Pace::PAID.of(self.instances));
        let times = |every: Duration| (self.done_after.as_secs_f64() / every.as_secs_f64()) as u64;
        let lists = times(pace.list) + 2;
        let report_writes = all * (10 + times(Duration::from_secs(30)));
        Operations {
            lists,
            pages: lists * (all / 1_000),
            report_writes,
            // A beat, a step for each stage and batch, and those who would all be the first.
            rollout_writes: times(Duration::from_secs(5)) + 8 + all / 50,
            looks: all * (times(pace.look) + 2),
            checks: 2 * all,
            report_reads: all + report_writes,
        }
    }
}

impl Operations {
    fn since(self, before: Self) -> Self {
        Self {
            lists: self.lists - before.lists,
            pages: self.pages - before.pages,
            report_writes: self.report_writes - before.report_writes,
            rollout_writes: self.rollout_writes - before.rollout_writes,
            looks: self.looks - before.looks,
            checks: self.checks - before.checks,
            report_reads: self.report_reads - before.report_reads,
        }
    }

    fn is_within(self, most: Self) -> bool {
        self.lists <= most.lists
            && self.pages <= most.pages
            && self.report_writes <= most.report_writes
            && self.rollout_writes <= most.rollout_writes
            && self.looks <= most.looks
            && self.checks <= most.checks
            && self.report_reads <= most.report_reads
    }

    fn usd(self) -> f64 {
        let class_a = self.lists + self.pages + self.report_writes + self.rollout_writes;
        let class_b = self.looks + self.checks + self.report_reads;
        (class_a as f64 * CLASS_A_USD + class_b as f64 * CLASS_B_USD) / 1_000.0
    }
}

#[test]
fn a_rollout_asks_for_no_more_than_its_formula() {
    for instances in [2, 3, 20, 100, 300] {
        let deploy = Deploy::through(instances);
        let (asked, most) = (deploy.asked, deploy.most());
        assert!(asked.is_within(most), "{instances}: {asked:#?}, at most {most:#?}");
    }
}

/// `cargo test -p agentd --lib conduct::simulation::costs -- --ignored --nocapture`
#[test]
#[ignore = "prints figures, and takes a minute"]
fn figures_of_three_a_hundred_and_ten_thousand() {
    for instances in [3, 100, 10_000] {
        let began = Instant::now();
        let deploy = Deploy::through(instances);
        let Operations { lists, pages, report_writes, rollout_writes, .. } = deploy.asked;
        let Operations { looks, checks, report_reads, .. } = deploy.asked;
        println!(
            "{instances} instances: all serve after {:.1} s, done after {:.1} s; class A: {} lists \
             and pages, {report_writes} reports, {rollout_writes} writes of the rollout; class B: \
             {} looks, {report_reads} reports read; ${:.4} (simulated in {:.1} s)",
            deploy.serves_after.as_secs_f64(),
            deploy.done_after.as_secs_f64(),
            lists + pages,
            looks + checks,
            deploy.asked.usd(),
            began.elapsed().as_secs_f64(),
        );
        // Each agent looks at the state every five seconds, and reports every five minutes.
        let month = 30.0 * 86_400.0 * instances as f64;
        let (looks, reports) = (month / 5.0, month / 300.0);
        let usd = (reports * CLASS_A_USD + looks * CLASS_B_USD) / 1_000.0;
        println!("  a month of nothing: {looks:.0} looks, {reports:.0} reports; ${usd:.2}");
        assert!(deploy.asked.is_within(deploy.most()));
    }
}
