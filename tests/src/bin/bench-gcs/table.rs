//! The table of figures.

pub(crate) use tests::sample::{Sample, shown};

pub(crate) fn head() {
    println!("| what | median | runs | min to max | peer in the same run |");
    println!("| --- | --- | --- | --- | --- |");
}

/// The line of a sample.
pub(crate) fn sample_row(sample: &Sample, what: &str, unit: &str, peer: &str) {
    let median = format!("{} {unit}", shown(sample.median()));
    row(what, &median, sample.runs(), &sample.range(), peer);
}

/// A line of the table.
pub(crate) fn row(what: &str, figure: &str, runs: usize, range: &str, peer: &str) {
    println!("| {what} | {figure} | {runs} | {range} | {peer} |");
}
