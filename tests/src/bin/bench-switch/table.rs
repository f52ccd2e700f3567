//! The table.

use std::fs;

use load::{Failure, Tally};
use tests::loads::KINDS;

use crate::bed::Counted;

pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{cores} cores ({model}), Linux {}, load {load} at the start.", kernel.trim())
}

pub(crate) fn head() {
    println!("| who | load | switches | failed, no delay | failed, 20 ms RTT |");
    println!("| --- | --- | --- | --- | --- |");
}

pub(crate) fn rows(name: &str, counted: &Counted) {
    for (kind, (near, far)) in KINDS.iter().zip(counted.near.iter().zip(&counted.far)) {
        println!("| {name} | {kind} | {} | {} | {} |", counted.switches, cell(near), cell(far));
    }
    for tally in counted.near.iter().chain(&counted.far) {
        for (failure, text) in &tally.examples {
            eprintln!("{name}: the first {failure}: {text}");
        }
    }
}

/// `3 of 1000: 2 reset, 1 timeout; 4 sent again`.
fn cell(tally: &Tally) -> String {
    let kinds = Failure::ALL.into_iter().map(|kind| (kind, tally.failed_by(kind)));
    let kinds: Vec<String> =
        kinds.filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{n} {kind}")).collect();
    let mut cell = format!("{} of {}", tally.failed(), tally.requests());
    if !kinds.is_empty() {
        cell += &format!(": {}", kinds.join(", "));
    }
    match tally.sent_again {
        0 => cell,
        again => format!("{cell}; {again} sent again"),
    }
}
