//! What the agent adds to an app's own start-up, by the app's own clock.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use deploy::log_line::LogLine;
use tempfile::TempDir;
use tests::agent::Life;
use tests::instance::Instance;

use crate::app;

const SWITCHES: u64 = 50;

/// For so long the old version's queue must have been empty (`QUEUE_EMPTY_FOR` in
/// `agentd/src/run/watcher.rs`).
const QUEUE_EMPTY_MS: f64 = 500.0;

/// When versions did what, in microseconds: by release, and by what the app calls it.
type Clock = BTreeMap<(u64, String), f64>;

/// Measures without load: what connections take to end is theirs.
pub(crate) fn measure() -> anyhow::Result<()> {
    let built = TempDir::new()?;
    let app = app::all().next().context("no app")?;
    let setup = app.setup(&built, Life::Alone)?;
    let instance = Instance::start(&setup)?;
    for _ in 0..SWITCHES {
        let release = instance.publish()?;
        instance.switched(release)?;
        instance.drained_to(0)?;
    }
    let clock = clock(&instance.lines()?)?;
    let at = |release: u64, what: &str| {
        let time = clock.get(&(release, what.to_owned()));
        time.with_context(|| format!("v{release} does not tell when it was at {what}"))
    };
    let windows = (setup.health_window + setup.settle).as_secs_f64() * 1e3 + QUEUE_EMPTY_MS;
    let (mut own, mut added) = (Vec::new(), Vec::new());
    for release in 2..=SWITCHES {
        let (main, ready) = (at(release, "main")?, at(release, "ready")?);
        own.push((ready - main) / 1e3);
        added.push((at(release - 1, "sigterm")? - ready) / 1e3 - windows);
    }
    println!("| what, of {} switches without load | median | min to max |", own.len());
    println!("| --- | --- | --- |");
    row("the app's own start-up, `main` to ready", own)?;
    row("ready to the old version's `SIGTERM`, less the windows", added)
}

fn clock(lines: &[LogLine]) -> anyhow::Result<Clock> {
    let mut clock = Clock::new();
    for line in lines {
        if let Some((what, time)) = line.text.strip_prefix("clock ").and_then(|l| l.split_once(' '))
        {
            clock.insert((line.release, what.to_owned()), time.parse()?);
        }
    }
    Ok(clock)
}

fn row(what: &str, mut figures: Vec<f64>) -> anyhow::Result<()> {
    ensure!(!figures.is_empty(), "no switch was measured");
    figures.sort_by(f64::total_cmp);
    let (min, max) = (figures[0], figures[figures.len() - 1]);
    println!("| {what} | {:.1} ms | {min:.1} to {max:.1} |", figures[figures.len() / 2]);
    Ok(())
}
