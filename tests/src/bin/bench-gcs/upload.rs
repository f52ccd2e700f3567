//! A large artifact's way up.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use deploy::store::gcs::bucket::NewBucket;
use deploy::store::gcs::{Access, Gcs};
use deploy::store::{Expect, Store};
use tests::relay::Shape;

use crate::peers::{Curl, Gcloud, Peer};
use crate::place::{DELAY, Service};
use crate::table::{Sample, sample_row, shown};

const RUNS: usize = 5;

const BYTES: usize = 15_000_000;

const BITS_A_SECOND: u64 = 20_000_000;

/// How long the slowest of home routers let packets wait is another matter.
const QUEUE: Duration = Duration::from_millis(100);

pub(crate) const BUCKET: &str = "bench-upload";

pub(crate) fn measure() -> anyhow::Result<()> {
    let shape = Shape { delay: DELAY, rate: Some(BITS_A_SECOND), queue: QUEUE };
    let service = Service::far(shape)?;
    let url = service.server.url().to_owned();
    let file = service.folder().join("file");
    fs::write(&file, noise())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let location = "US".to_owned();
    let new = NewBucket { project: "bench".to_owned(), app: "bench".to_owned(), location };
    runtime.block_on(async { Gcs::new(BUCKET, Access::anonymous(&*url))?.create(&new).await })?;
    let peers: [Box<dyn Peer>; 2] = [Box::new(Curl), Box::new(Gcloud::new()?)];
    let mut peers = peers.map(|peer| (peer, Ok(Vec::new())));
    let mut times = Vec::new();
    for run in 0..RUNS {
        for (peer, times) in &mut peers {
            // One that failed once is not asked again.
            if let Ok(done) = times
                && run < peer.runs()
            {
                match timed(|| peer.upload(&url, &file)) {
                    Ok(seconds) => done.push(seconds),
                    Err(error) => *times = Err(error),
                }
            }
        }
        times.push(timed(|| runtime.block_on(ours(&url, &file)))?);
    }
    let sample = Sample::new(times);
    let others = peers.map(|(peer, times)| match times {
        Ok(times) => {
            let theirs = Sample::new(times).median();
            let more = 100.0 * (sample.median() / theirs - 1.0);
            format!("{} {} s (ours {more:+.1} %)", peer.name(), shown(theirs))
        }
        Err(error) => format!("{}: {error:#}", peer.name()),
    });
    sample_row(&sample, "upload of 15 MB, 20 Mbit/s and 20 ms RTT", "s", &others.join("; "));
    Ok(())
}

/// A new connection for each, as a new `engr` has.
async fn ours(url: &str, file: &Path) -> anyhow::Result<()> {
    let gcs = Gcs::new(BUCKET, Access::anonymous(url))?;
    gcs.upload("ours", file, Expect::Any, &|_| {}).await?;
    Ok(())
}

fn timed(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let began = Instant::now();
    run()?;
    Ok(began.elapsed().as_secs_f64())
}

/// Bytes that nothing makes smaller, the same each time.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::from_fn(|| Some(next())).flatten().take(BYTES).collect()
}
