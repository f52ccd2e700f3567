//! An artifact: the app as one deterministic, compressed archive, and back.
//!
//! The archive is a tar of regular files under zstd. The first entry is the manifest
//! ([`Manifest`]), so that an artifact says by itself what it is; then the executable and what the
//! app ships beside it, sorted by path. Owners, times and all modes but the executable bit are the
//! same whoever builds it, so the same files give the same bytes.
//!
//! The tar is the plainest there is (POSIX ustar, no extensions), so that the reader, which meets
//! bytes that nobody has checked yet, has little to understand and can refuse all else.

mod entry;
mod manifest;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub use entry::{BadPath, UNPACKED_SIZE_MAX};
pub use manifest::{MANIFEST_PATH, Manifest};
pub use pack::{PackError, Packed, pack};
pub use unpack::{UnpackError, unpack};
