//! Uploads in one request: the bytes alone, or with metadata before them.

use serde_json::Value;

use super::multipart::Parts;
use crate::call::Call;
use crate::checksums::Claimed;
use crate::objects::Draft;
use crate::preconditions::Preconditions;
use crate::problem::Done;
use crate::service::Service;

/// `uploadType=media`
pub(crate) async fn media(service: &Service, call: Call, bucket: &str) -> Done<Value> {
    let mut draft = Draft::default();
    super::type_from_header(&call, "content-type", &mut draft);
    let body = call.body.clone();
    write(service, call, bucket, draft, &body).await
}

/// `uploadType=multipart`
pub(crate) async fn multipart(service: &Service, call: Call, bucket: &str) -> Done<Value> {
    let parts = Parts::parse(call.header("content-type"), &call.body)?;
    let mut draft = Draft::parse(parts.metadata, bucket)?;
    if let Some(content_type) = parts.content_type {
        draft.texts.entry("contentType".to_owned()).or_insert(content_type);
    }
    merge(&mut draft.claimed, parts.checksums);
    write(service, call, bucket, draft, &parts.media).await
}

async fn write(
    service: &Service,
    mut call: Call,
    bucket: &str,
    mut draft: Draft,
    bytes: &[u8],
) -> Done<Value> {
    let mut params = std::mem::take(&mut call.params);
    crate::buckets::projection(&mut params)?;
    let name = super::name(&mut params, &draft)?;
    let expected = Preconditions::take(&mut params)?;
    params.finish()?;
    if let Some(header) = call.header("x-goog-hash") {
        merge(&mut draft.claimed, Claimed::from_header(header)?);
    }
    let written = service.buckets.get(bucket)?;
    let written = written.write(&name, &draft, bytes, expected, call.now).await?;
    Ok(written.resource(&call.base, bucket))
}

/// What is told last counts.
fn merge(claimed: &mut Claimed, later: Claimed) {
    claimed.crc32c = later.crc32c.or(claimed.crc32c.take());
    claimed.md5 = later.md5.or(claimed.md5.take());
}
