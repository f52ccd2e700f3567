//! The one way to the bucket.
//!
//! A bucket holds objects by name. Each write of an object makes a new *generation* of it; a write
//! can expect the generation that it replaces, and loses if there is another by then. Older
//! generations stay readable. Two stores behave alike, and [`conformance`] holds them to it:
//! [`Directory`], a folder on one machine, and [`Gcs`], Google Cloud Storage.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub mod conformance;
mod directory;
mod error;
pub mod gcs;
mod look;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod retry;

pub use directory::Directory;
pub use error::{ErrorKind, StoreError};
pub use gcs::Gcs;
pub use look::LastLook;
pub use retry::with_tries;

/// Opens the bucket at `url`: `file:///…`, a [`Directory`], or `gs://…`, a [`Gcs`], for which
/// `access` is asked.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a URL of a kind that is not known, and what `access` or opening fails
/// with.
pub fn open<E: From<StoreError>>(
    url: &str,
    access: impl FnOnce() -> std::result::Result<gcs::Access, E>,
) -> std::result::Result<Arc<dyn Store>, E> {
    match url.starts_with("gs://") {
        true => Ok(Arc::new(Gcs::from_url(url, access()?)?)),
        false => Ok(Arc::new(Directory::from_url(url)?)),
    }
}

/// What every store call gives.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The version number of an object (Google Cloud Storage's word). Grows with every write, and a
/// number is never used twice for one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a write or a delete expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No live object of that name.
    Absent,
    /// Exactly this generation, live.
    Generation(Generation),
    /// Anything.
    Any,
}

/// An object's bytes and which generation they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Which generation.
    pub generation: Generation,
    /// The bytes, checked against the store's own checksum.
    pub data: Vec<u8>,
}

/// What is known of an object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The object's name.
    pub name: String,
    /// The live generation.
    pub generation: Generation,
    /// Its size in bytes.
    pub size: u64,
}

/// Told how many bytes of an upload or download are done, and at its end, the whole size.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// A bucket. Every call's failure is a [`StoreError`], which says whether it may be tried again.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Where the bucket is, for messages: a URL.
    fn url(&self) -> String;

    /// The live generation, whole. [`ErrorKind::NotFound`] when there is none.
    async fn read(&self, name: &str) -> Result<Object>;

    /// The live generation if it is another than `seen`, else `None`.
    async fn read_if_changed(&self, name: &str, seen: Generation) -> Result<Option<Object>>;

    /// One generation, live or not.
    async fn read_generation(&self, name: &str, generation: Generation) -> Result<Object>;

    /// Writes a new generation, whole or not at all, durably. [`ErrorKind::Lost`] when `expect`
    /// does not hold.
    async fn write(&self, name: &str, data: &[u8], expect: Expect) -> Result<Generation>;

    /// The live generation's facts; `None` when there is no live object. A store that can tell
    /// that the object is damaged says so ([`ErrorKind::Corrupt`]).
    async fn stat(&self, name: &str) -> Result<Option<Stat>>;

    /// The live objects whose names start with `prefix`, by name.
    async fn list(&self, prefix: &str) -> Result<Vec<Stat>>;

    /// All kept generations of an object, oldest first. Deletions leave no entry.
    async fn versions(&self, name: &str) -> Result<Vec<Generation>>;

    /// [`Self::write`], from a file.
    async fn upload(
        &self,
        name: &str,
        from: &Path,
        expect: Expect,
        progress: Progress<'_>,
    ) -> Result<Generation>;

    /// [`Self::read`], into the file `to`, which is made or overwritten. What is there after a
    /// failure is not whole.
    async fn download(&self, name: &str, to: &Path, progress: Progress<'_>) -> Result<Generation>;

    /// Takes the live generation away; it and older ones stay readable by number.
    /// [`ErrorKind::Lost`] when `expect` does not hold, and always for [`Expect::Absent`], which no
    /// deletion can meet; [`ErrorKind::NotFound`] for [`Expect::Any`] when there is no live object.
    async fn delete(&self, name: &str, expect: Expect) -> Result<()>;

    /// Removes one generation that is not live, for good: its number is not used again.
    /// [`ErrorKind::NotFound`] when there is no such generation (any longer: an erasure whose answer
    /// was lost is told so when it is tried again), [`ErrorKind::Lost`] when it is the live one.
    ///
    /// What is not live never becomes live again, so a store may look first and remove then.
    async fn erase(&self, name: &str, generation: Generation) -> Result<()>;

    /// Follows one object.
    fn watch(&self, name: &str) -> Result<Box<dyn Watch>>;

    /// The least time between two writes of one object that the store bears for long.
    fn write_interval(&self) -> Duration {
        Duration::ZERO
    }
}

/// Follows one object from its live generation on.
#[async_trait]
pub trait Watch: Send {
    /// The live generation, as soon as it is another than the one that this watch gave last.
    /// Generations that were live only between two calls may be passed over. Waits while there is
    /// no live object. A call that is dropped loses nothing.
    ///
    /// A failure is given once; the next call goes on.
    async fn next(&mut self) -> Result<Object>;

    /// Asks the store so often from now on, while it answers. A store that tells of changes by
    /// itself need not be asked, and does nothing here.
    fn set_interval(&mut self, _interval: Duration) {}

    /// Tells `look` of each answer of the store from now on, whether it is news or not.
    fn tell_looks(&mut self, look: LastLook);
}
