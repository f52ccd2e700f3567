//! One of many processes that race for an object's generations.
//!
//! It moves the object forward by compare-and-set until the goal is reached. For each generation
//! that it won it prints a line with the number and what it wrote; at the end, how often it lost.

use std::io::Write;

use anyhow::{Context, bail};
use deploy::store::{Directory, ErrorKind, Expect, Generation, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bucket, object, racer, goal] = &arguments[..] else {
        bail!("usage: store-racer BUCKET OBJECT RACER GOAL");
    };
    let goal = Generation(goal.parse().context("GOAL is a number")?);
    race(&Directory::open(bucket)?, object, racer, goal).await
}

async fn race(
    store: &Directory,
    object: &str,
    racer: &str,
    goal: Generation,
) -> anyhow::Result<()> {
    let (mut attempts, mut lost) = (0_u64, 0_u64);
    loop {
        let expect = match store.read(object).await {
            Ok(live) if live.generation >= goal => break,
            Ok(live) => Expect::Generation(live.generation),
            Err(error) if error.kind == ErrorKind::NotFound => Expect::Absent,
            Err(error) => return Err(error.into()),
        };
        attempts += 1;
        let data = format!("{racer}:{attempts}");
        match store.write(object, data.as_bytes(), expect).await {
            Ok(won) => say(format_args!("won {won} {data}"))?,
            Err(error) if error.kind == ErrorKind::Lost => lost += 1,
            Err(error) => return Err(error.into()),
        }
    }
    say(format_args!("lost {lost}"))
}

/// Prints a line in one write, so that a process that is killed leaves no half of one.
fn say(line: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    std::io::stdout().write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}
