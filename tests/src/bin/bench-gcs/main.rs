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

type Part = (&'static str, fn() -> anyhow::Result<()>);

const PARTS: [Part; 4] = [
    ("sizes", machine::binaries),
    ("deploys", deploys::measure),
    ("upload", upload::measure),
    ("idle", idle::measure),
];

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!("{}\n", machine::described());
    table::head();
    for (name, measure) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure()?;
        }
    }
    Ok(())
}
