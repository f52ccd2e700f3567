use std::path::Path;
use super::Manifest;
use crate::Digest;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct UnpackError;
/// x
pub fn unpack(_archive: &Path, _expected: &Digest, _to: &Path) -> Result<Manifest, UnpackError> { todo!() }
