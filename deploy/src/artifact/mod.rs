//! An artifact: the app as one deterministic, compressed archive, and back.
//!
//! The archive is a tar of regular files under zstd. The first entry is the manifest
//! ([`Manifest`]), so that an artifact says by itself what it is; then the executable and what the
//! app ships beside it, sorted by path. Owners, times and all modes but the executable bit are the
//! same whoever builds it, so the same files give the same bytes.

mod manifest;
mod pack;
mod unpack;

pub use manifest::Manifest;
pub use pack::{PackError, Packed, pack};
pub use unpack::{UnpackError, unpack};
