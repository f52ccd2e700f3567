//! Counts the requests that fail in switches, by kind of app, kind of load, and kind of failure, and
//! prints tables. Run it by `tests/bench-switch`, which builds everything, and gives it a network of
//! its own.
//!
//! ```text
//!   app ───▶ an instance under a real agent ─┐          ┌─◀ loads beside it
//!   peer ──▶ nginx, HAProxy, reloaded ────────┴─ bed ────┴─◀ loads at the far end of a relay::Link
//!   clock    what the agent adds to an app's own start-up
//!   table    what was counted
//! ```

mod app;
mod bed;
mod clock;
mod haproxy;
mod nginx;
mod peer;
mod table;

use clap::Parser;

/// Counts the requests that fail in switches.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many switches each app goes through, and reloads each peer.
    #[arg(long, default_value_t = 1000)]
    switches: u64,
    /// How many times the agent is killed meanwhile, at random moments. Its launcher starts it anew.
    #[arg(long, default_value_t = 0)]
    kills: u64,
    /// How many old versions may be on their way out when the next switch begins.
    #[arg(long, default_value_t = 24)]
    overlap: usize,
    /// Only the parts whose name has one of these words: an app's or a peer's name, or `clock`.
    parts: Vec<String>,
}

impl Arguments {
    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| part.contains(wanted))
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!("{}\n", format_args!("{}.", tests::machine::described()));
    let bed = bed::Bed::new()?;
    let mut rows = Vec::new();
    let mut add = |name: &str, counted| {
        let name = match arguments.kills {
            0 => name.to_owned(),
            kills => format!("{name}, the agent killed {kills} times"),
        };
        let row = table::Row { name, counted };
        table::tell(&row);
        rows.push(row);
    };
    for app in app::all().filter(|app| arguments.wants(app.name)) {
        add(app.name, app::measure(&app, &bed, &arguments)?);
    }
    // Peers have no agent to kill.
    let peers = peer::ALL.into_iter().filter(|_| arguments.kills == 0);
    for peer in peers.filter(|peer| arguments.wants(peer.name)) {
        match peer::measure(&peer, &bed, arguments.switches) {
            Ok(counted) => add(peer.name, counted),
            Err(error) => eprintln!("{}: not measured: {error:#}", peer.name),
        }
    }
    table::print(&rows);
    if arguments.kills == 0 && arguments.wants("clock") {
        clock::measure()?;
    }
    Ok(())
}
