//! What a supervisor costs, and how soon it has an app back that was killed: Engineer's agent beside
//! s6, runit and supervisord in one run. Run it by `tests/bench-supervise`, which brings them.

mod engineer;
mod peer;
mod program;

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;

use program::App;

/// Measures supervisors.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each app is killed.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// How many switches the agent goes through, to see whether it grows.
    #[arg(long, default_value_t = 0)]
    switches: u64,
}

/// Between an app's start and its end: none of the supervisors takes it for a crash loop then.
pub(crate) const LIVES_FOR: Duration = Duration::from_millis(1500);

/// One supervisor, and what it needs of the memory.
pub(crate) struct Measured {
    name: &'static str,
    /// From the app's kill to the next one's `main`, in milliseconds.
    back: Vec<f64>,
    /// Of all its processes, in kilobytes.
    pss: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!("| supervisor | app killed to the next one's `main`, median | min to max | PSS |");
    println!("| --- | --- | --- | --- |");
    row(engineer::measure(arguments.kills)?)?;
    for peer in peer::ALL {
        match peer.measure(arguments.kills) {
            Ok(measured) => row(measured)?,
            Err(error) => eprintln!("{}: not measured: {error:#}", peer.name),
        }
    }
    if arguments.switches > 0 {
        engineer::grow(arguments.switches)?;
    }
    Ok(())
}

fn row(measured: Measured) -> anyhow::Result<()> {
    let Measured { name, mut back, pss } = measured;
    ensure!(!back.is_empty(), "{name}: nothing was measured");
    back.sort_by(f64::total_cmp);
    let (min, max) = (back[0], back[back.len() - 1]);
    let pss = pss as f64 / 1000.0;
    println!("| {name} | {:.1} ms | {min:.1} to {max:.1} | {pss:.1} MB |", back[back.len() / 2]);
    Ok(())
}

/// Kills the app's process, and gives how long it took until the next one was in `main`.
pub(crate) fn kill(app: &App) -> anyhow::Result<f64> {
    let (pid, _) = app.newest().context("the app does not run")?;
    std::thread::sleep(LIVES_FOR);
    let at = program::now_micros();
    program::kill(pid)?;
    let (_, began) = app.after(pid)?;
    Ok((began - at) / 1e3)
}
