//! The tables.

use load::{Failure, Tally};
use tests::loads::KINDS;

use crate::bed::Counted;

/// What was counted of one who switched.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) counted: Counted,
}

/// Tells of one on standard error, as soon as it is counted.
pub(crate) fn tell(Row { name, counted }: &Row) {
    eprintln!("{name}: {} switches", counted.switches);
    for (kind, (near, far)) in KINDS.iter().zip(counted.near.iter().zip(&counted.far)) {
        eprintln!("  {kind}: {}; 20 ms away {}", told(near), told(far));
    }
    for tally in counted.near.iter().chain(&counted.far) {
        for (failure, text) in &tally.examples {
            eprintln!("  the first {failure}: {text}");
        }
    }
}

/// Two tables of all: without a delay, and 20 ms away.
pub(crate) fn print(rows: &[Row]) {
    for (where_from, of) in [("no delay", near as fn(&Counted) -> &[Tally]), ("20 ms RTT", far)] {
        println!("| failed, {where_from} | switches | requests | {} |", KINDS.join(" | "));
        println!("|{}", " --- |".repeat(KINDS.len() + 3));
        for Row { name, counted } in rows {
            let tallies = of(counted);
            let requests: u64 = tallies.iter().map(Tally::requests).sum();
            let cells: Vec<String> = tallies.iter().map(cell).collect();
            let switches = counted.switches;
            println!("| {name} | {switches} | {requests} | {} |", cells.join(" | "));
        }
        println!();
    }
}

fn near(counted: &Counted) -> &[Tally] {
    &counted.near
}

fn far(counted: &Counted) -> &[Tally] {
    &counted.far
}

/// `0 of 1000; 4 sent again`.
fn told(tally: &Tally) -> String {
    let told = format!("{} of {}", cell(tally), tally.requests());
    match tally.sent_again {
        0 => told,
        again => format!("{told}; {again} sent again"),
    }
}

/// `2 reset, 1 timeout`.
fn cell(tally: &Tally) -> String {
    let kinds = Failure::ALL.into_iter().map(|kind| (kind, tally.failed_by(kind)));
    let kinds: Vec<String> =
        kinds.filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{n} {kind}")).collect();
    if kinds.is_empty() { "0".to_owned() } else { kinds.join(", ") }
}
