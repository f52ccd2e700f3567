//! Measures what a bucket of Cloud Storage costs, over our own server of it, and prints a table.
//! Run it by `tests/bench-gcs`, which builds everything, and gives it a network of its own.
//!
//! ```text
//!   deploys   publish to last switch ─┐                 ┌─▶ the server, beside it
//!   upload    beside curl, gcloud     ├─▶ place::Bucket ─┤
//!   idle      an agent that polls ────┘                 └─▶ relay::Link ─▶ the server, far away
//!   table     one figure of many runs, and its line
//! ```

mod deploys;
mod fleet;
mod idle;
mod machine;
mod operations;
mod peers;
mod place;
mod table;
mod upload;

fn main() -> anyhow::Result<()> {
    println!("{}\n", machine::described());
    table::head();
    machine::binaries()?;
    deploys::measure()?;
    upload::measure()?;
    idle::measure()
}
