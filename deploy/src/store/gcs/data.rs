//! Objects' bytes, by `google-cloud-storage`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use google_cloud_gax::error::Error;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::{RetryPolicy, RetryPolicyExt};
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_gax::retry_state::RetryState;
use google_cloud_storage::client::Storage;
use google_cloud_storage::model_ext::ObjectHighlights;
use google_cloud_storage::read_object::ReadObjectResponse;
use google_cloud_storage::read_resume_policy::{ReadResumePolicyExt, Recommended};
use google_cloud_storage::retry_policy::RetryableErrors;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, timeout};

use super::fault::{Done, Fault};
use super::source::FileSource;
use super::{ANSWER_WITHIN, Gcs, STALL};
use crate::store::{ErrorKind, Expect, Generation, Object, Progress};

/// Files from this size on are uploaded in a session that a broken connection does not end: one
/// round trip more, and nothing is sent twice.
const SESSION_FROM: usize = 1 << 20;

/// How many attempts a session has, and a read's range. Beyond them the whole call is tried again
/// by whoever makes it.
const RESUMES_MAX: u32 = 4;

/// The pause before a session is gone on with; it doubles.
const RESUME_PAUSE: Duration = Duration::from_millis(200);

/// How often a caller is told how far a transfer has come.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The room made at once for what is read into memory; it grows with what comes.
const ROOM_MAX: usize = 1 << 20;

/// Which generation is read.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Live,
    Generation(Generation),
}

/// One attempt: the tries are made by who knows what they mean.
#[derive(Debug)]
struct Once;

impl RetryPolicy for Once {
    fn on_error(&self, _: &RetryState, error: Error) -> RetryResult {
        RetryResult::Permanent(error)
    }
}

impl Gcs {
    async fn storage(&self) -> Done<&Storage> {
        let build = async || {
            let client = Storage::builder()
                .with_endpoint(self.endpoint())
                .with_credentials(self.access.credentials.clone())
                .with_retry_policy(Once)
                .with_read_resume_policy(Recommended.with_attempt_limit(RESUMES_MAX))
                .build();
            client.await.map_err(|error| Fault::invalid(error.to_string()))
        };
        self.storage.get_or_try_init(build).await
    }

    fn resource(&self) -> String {
        format!("projects/_/buckets/{}", self.bucket)
    }
}

/// As the wire has it: the service counts in signed numbers.
fn signed(generation: Generation) -> Done<i64> {
    // No generation that the service has given is beyond it, so none is met.
    i64::try_from(generation.0).map_err(|_| ErrorKind::NotFound.into())
}

fn generation(number: i64) -> Done<Generation> {
    match u64::try_from(number) {
        Ok(number) if number > 0 => Ok(Generation(number)),
        _ => Err(Fault::strange(format!("the generation {number}"))),
    }
}

async fn answer<T>(call: impl Future<Output = google_cloud_storage::Result<T>>) -> Done<T> {
    match timeout(ANSWER_WITHIN, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Fault::no_answer(ANSWER_WITHIN)),
    }
}

async fn next(response: &mut ReadObjectResponse) -> Done<Option<Bytes>> {
    match timeout(STALL, response.next()).await {
        Ok(piece) => Ok(piece.transpose()?),
        Err(_) => Err(Fault::stalled(STALL)),
    }
}

pub(super) async fn read(gcs: &Gcs, name: &str, which: Which) -> Done<Object> {
    let mut request = gcs.storage().await?.read_object(gcs.resource(), name);
    if let Which::Generation(generation) = which {
        request = request.set_generation(signed(generation)?);
    }
    collect(answer(request.send()).await?).await
}

pub(super) async fn read_if_changed(
    gcs: &Gcs,
    name: &str,
    seen: Generation,
) -> Done<Option<Object>> {
    let mut request = gcs.storage().await?.read_object(gcs.resource(), name);
    // To the service 0 means "there is an object": which a read asks anyhow.
    if let Ok(seen @ 1..) = signed(seen) {
        request = request.set_if_generation_not_match(seen);
    }
    let sent = match timeout(ANSWER_WITHIN, request.send()).await {
        Ok(sent) => sent,
        Err(_) => return Err(Fault::no_answer(ANSWER_WITHIN)),
    };
    match sent {
        Err(error) if error.http_status_code() == Some(304) => Ok(None),
        sent => collect(sent?).await.map(Some),
    }
}

async fn collect(mut response: ReadObjectResponse) -> Done<Object> {
    let ObjectHighlights { generation: number, size, .. } = response.object();
    let room = usize::try_from(size).unwrap_or_default().min(ROOM_MAX);
    let mut data = Vec::with_capacity(room);
    while let Some(piece) = next(&mut response).await? {
        data.extend_from_slice(&piece);
    }
    Ok(Object { generation: generation(number)?, data })
}

pub(super) async fn download(
    gcs: &Gcs,
    name: &str,
    to: &Path,
    progress: Progress<'_>,
) -> Done<Generation> {
    let beside = |error| Fault::beside(to, error);
    let request = gcs.storage().await?.read_object(gcs.resource(), name);
    let mut response = answer(request.send()).await?;
    let mut file = tokio::fs::File::create(to).await.map_err(beside)?;
    let mut done = 0;
    while let Some(piece) = next(&mut response).await? {
        file.write_all(&piece).await.map_err(beside)?;
        done += piece.len() as u64;
        progress(done);
    }
    file.flush().await.map_err(beside)?;
    progress(done);
    generation(response.object().generation)
}

fn expectation(expect: Expect) -> Done<Option<i64>> {
    match expect {
        Expect::Absent => Ok(Some(0)),
        Expect::Any => Ok(None),
        // 0 would mean "absent".
        Expect::Generation(Generation(0)) => Err(ErrorKind::Lost.into()),
        Expect::Generation(generation) => {
            signed(generation).map(Some).map_err(|_| ErrorKind::Lost.into())
        }
    }
}

pub(super) async fn write(gcs: &Gcs, name: &str, data: &[u8], expect: Expect) -> Done<Generation> {
    let expected = expectation(expect)?;
    let payload = Bytes::copy_from_slice(data);
    let storage = gcs.storage().await?;
    let request = storage.write_object(gcs.resource(), name, payload);
    let mut request =
        request.with_known_crc32c(crc32c::crc32c(data)).with_resumable_upload_threshold(usize::MAX);
    if let Some(expected) = expected {
        request = request.set_if_generation_match(expected);
    }
    // Megabytes may take longer than an answer.
    let limit = ANSWER_WITHIN + Duration::from_micros(data.len() as u64 * 10);
    match timeout(limit, request.send_unbuffered()).await {
        Ok(Ok(written)) => generation(written.generation),
        Ok(Err(error)) => Err(Fault::from(error).without_object()),
        Err(_) => Err(Fault::no_answer(limit)),
    }
}

pub(super) async fn upload(
    gcs: &Gcs,
    name: &str,
    from: &Path,
    expect: Expect,
    progress: Progress<'_>,
) -> Done<Generation> {
    let beside = |error| Fault::beside(from, error);
    let expected = expectation(expect)?;
    let path = from.to_owned();
    let summed = spawn_blocking(move || checksum(&path)).await;
    let (size, sum) = summed.map_err(Fault::strange)?.map_err(beside)?;
    let file = tokio::fs::File::open(from).await.map_err(beside)?;
    let (source, sent) = FileSource::new(file, size);
    let storage = gcs.storage().await?;
    let mut request = storage
        .write_object(gcs.resource(), name, source)
        .with_known_crc32c(sum)
        .with_resumable_upload_threshold(SESSION_FROM)
        // Only a session's attempts know how far the ones before them came.
        .with_retry_policy(RetryableErrors.with_attempt_limit(RESUMES_MAX))
        .with_backoff_policy(backoff()?);
    if let Some(expected) = expected {
        request = request.set_if_generation_match(expected);
    }
    let upload = request.send_unbuffered();
    tokio::pin!(upload);
    let mut tick = interval(TELL_EVERY);
    let (mut told, mut seen, mut moved) = (0, 0, Instant::now());
    loop {
        tokio::select! {
            written = &mut upload => {
                let written = written.map_err(|error| Fault::from(error).without_object())?;
                progress(size);
                return generation(written.generation);
            }
            _ = tick.tick() => {
                let now = sent.load(Ordering::Relaxed);
                if now != seen {
                    (seen, moved) = (now, Instant::now());
                } else if moved.elapsed() > STALL {
                    return Err(Fault::stalled(STALL));
                }
                // A session that goes back to what arrived is not worth a person's attention.
                if now > told {
                    told = now;
                    progress(told);
                }
            }
        }
    }
}

fn backoff() -> Done<ExponentialBackoff> {
    let backoff = ExponentialBackoffBuilder::new().with_initial_delay(RESUME_PAUSE);
    backoff.build().map_err(|error| Fault::invalid(error.to_string()))
}

/// A file's size and CRC-32C.
fn checksum(path: &Path) -> std::io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let (mut size, mut sum, mut piece) = (0, 0, vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((size, sum)),
            read => {
                sum = crc32c::crc32c_append(sum, &piece[..read]);
                size += read as u64;
            }
        }
    }
}
