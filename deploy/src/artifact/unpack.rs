use super::Manifest;
use crate::Digest;
use std::path::Path;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct UnpackError;
/// x
pub fn unpack(_archive: &Path, _expected: &Digest, _to: &Path) -> Result<Manifest, UnpackError> {
    todo!()
}
