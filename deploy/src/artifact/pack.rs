use super::Manifest;
use crate::release::Artifact;
use std::path::Path;
/// x
pub struct Packed {
    /// x
    pub artifact: Artifact,
}
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct PackError;
/// x
pub fn pack(
    _manifest: &Manifest,
    _files: &[(String, std::path::PathBuf)],
    _to: &Path,
) -> Result<Packed, PackError> {
    todo!()
}
