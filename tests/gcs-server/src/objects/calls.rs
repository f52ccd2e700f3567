//! The calls on one object, but for uploads.

use serde_json::Value;

use crate::answer::Answer;
use crate::buckets;
use crate::call::Call;
use crate::params::Params;
use crate::preconditions::Preconditions;
use crate::problem::Done;
use crate::range;
use crate::service::Service;

/// `GET /storage/v1/b/BUCKET/o/OBJECT`
pub(crate) fn get(service: &Service, mut call: Call, bucket: &str, name: &str) -> Done<Value> {
    let mut params = std::mem::take(&mut call.params);
    buckets::projection(&mut params)?;
    let (generation, expected) = which(params)?;
    let version = service.buckets.get(bucket)?.find(name, generation)?;
    expected.check_read(version.generation, version.record.metageneration)?;
    Ok(version.resource(&call.base, bucket))
}

/// `GET /storage/v1/b/BUCKET/o/OBJECT?alt=media`
pub(crate) async fn media(
    service: &Service,
    mut call: Call,
    bucket: &str,
    name: &str,
) -> Done<Answer> {
    let (generation, expected) = which(std::mem::take(&mut call.params))?;
    let bucket = service.buckets.get(bucket)?;
    let version = bucket.find(name, generation)?;
    expected.check_read(version.generation, version.record.metageneration)?;
    let span = call.header("range").map(|header| range::parse(header, version.record.size));
    let span = span.transpose()?;
    let bytes = bucket.read(&version).await?;
    let mut answer = version.headers(Answer::empty(if span.is_some() { 206 } else { 200 }));
    answer.body = match span {
        None => bytes,
        Some(span) => {
            let size = version.record.size;
            let told = format!("bytes {}-{}/{size}", span.start, span.end - 1);
            answer = answer.with("content-range", told);
            bytes.slice(span.start as usize..span.end as usize)
        }
    };
    Ok(answer)
}

/// `PATCH /storage/v1/b/BUCKET/o/OBJECT`
pub(crate) async fn patch(
    service: &Service,
    mut call: Call,
    bucket: &str,
    name: &str,
) -> Done<Value> {
    let mut params = std::mem::take(&mut call.params);
    buckets::projection(&mut params)?;
    let (generation, expected) = which(params)?;
    let changes = call.json()?;
    let patched = service.buckets.get(bucket)?;
    let patched = patched.patch(name, generation, changes, expected, call.now).await?;
    Ok(patched.resource(&call.base, bucket))
}

/// `DELETE /storage/v1/b/BUCKET/o/OBJECT`
pub(crate) async fn delete(
    service: &Service,
    mut call: Call,
    bucket: &str,
    name: &str,
) -> Done<Answer> {
    let (generation, expected) = which(std::mem::take(&mut call.params))?;
    service.buckets.get(bucket)?.delete(name, generation, expected, call.now).await?;
    Ok(Answer::empty(204))
}

/// Which generation is meant, and what is expected of it.
fn which(mut params: Params) -> Done<(Option<u64>, Preconditions)> {
    let generation = params.parsed("generation")?;
    let expected = Preconditions::take(&mut params)?;
    params.finish()?;
    Ok((generation, expected))
}
