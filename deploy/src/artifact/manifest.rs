//! What an artifact says of itself.

use serde::{Deserialize, Serialize};

/// The manifest's path in the archive, and in an unpacked release.
pub const MANIFEST_PATH: &str = ".engr/manifest.json";

/// The first entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// The path of the executable in the archive.
    pub executable: String,
    /// Which machine it runs on: `amd64` or `arm64`.
    pub arch: String,
}
