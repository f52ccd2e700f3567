//! A bucket in a folder of one machine.
//!
//! ```text
//! <bucket>/
//!   objects/
//!     state.json/
//!       00000000000000000001        the first generation: the bytes and a line that vouches for
//!       00000000000000000002        them (see `frame`)
//!       00000000000000000003 -> deleted
//!       00000000000000000004 -> erased
//!       00000000000000000005
//!     fleet%2Finstances%2Fapp-1/    the name, percent-encoded
//!   tmp/                            files on their way to a slot
//! ```
//!
//! A write fills a file in `tmp`, syncs it, and links it to the next generation's name. `link(2)`
//! lets one process have a name and fails for all others: that is the compare-and-set. There is
//! nothing that a process killed at any point leaves half done: before the link there is only
//! rubbish in `tmp`, which the next one to open the bucket removes; after it the generation is
//! whole. No lock guards the objects.
//!
//! A generation that is erased leaves a link in its slot, renamed over the file: a slot that was
//! free again could be taken a second time, by a writer who had read the folder before.
//!
//! The one exception is the objects under [`crate::layout::FLEET`]. Instances overwrite them for ever, so
//! only their newest generations are kept, and a name that was removed could be taken a second time
//! by a writer who had read the folder before. So their writers hold a `flock` on the folder while
//! they look, link and remove; the kernel lets go of it when the process ends.
//!
//! The folder must be on a file system of this machine, with hard links. Everything in it is for
//! its owner alone, as environments hold secrets.

use std::fs::File;
use std::io;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch::{Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};

use self::bucket::Bucket;
use self::fault::{Done, Fault};
use self::watch::DirectoryWatch;
use super::{
    ErrorKind, Expect, Generation, Object, Progress, Result, Stat, Store, StoreError, Watch,
};

mod bucket;
mod fault;
mod frame;
mod names;
mod slots;
mod temp;
#[cfg(test)]
mod tests;
mod watch;

/// A bucket in a folder.
///
/// What reads small objects is done at once: it takes microseconds, less than to hand it over.
/// What waits for the disk or reads megabytes (writes, [`Store::stat`], whole files) goes to
/// tokio's pool for blocking work, and goes on to its end if the call is dropped.
#[derive(Clone, Debug)]
pub struct Directory {
    bucket: Arc<Bucket>,
}

impl Directory {
    /// Opens the bucket at `root`, and makes it where there is none.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let root = path::absolute(&root).unwrap_or(root);
        let directory = Self { bucket: Arc::new(Bucket { root }) };
        let prepared = directory.bucket.prepare();
        prepared.map_err(|fault| directory.failed("open", "the bucket", fault))?;
        Ok(directory)
    }

    /// Opens the bucket at a `file://` URL, and makes it where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for any other URL, and what [`Self::open`] fails with.
    pub fn from_url(url: &str) -> Result<Self> {
        let path = names::path(url).map_err(|Fault { kind, cause }| StoreError {
            operation: "open",
            object: "the bucket".to_owned(),
            bucket: url.to_owned(),
            kind,
            retry_after: None,
            cause,
        })?;
        Self::open(path)
    }

    fn failed(&self, operation: &'static str, object: &str, fault: Fault) -> StoreError {
        let Fault { kind, cause } = fault;
        let object = object.to_owned();
        StoreError { operation, object, bucket: self.url(), kind, retry_after: None, cause }
    }

    /// Runs `work` where it may block.
    async fn block<T: Send + 'static>(
        &self,
        operation: &'static str,
        name: &str,
        work: impl FnOnce(&Bucket) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let bucket = Arc::clone(&self.bucket);
        let work = spawn_blocking(move || work(&bucket));
        join(work).await.map_err(|fault| self.failed(operation, name, fault))
    }

    /// Runs `work` where it may block, and tells `progress` what it says of it here: the caller's
    /// function is not ours to send elsewhere.
    async fn block_with_progress<T: Send + 'static>(
        &self,
        operation: &'static str,
        name: &str,
        progress: Progress<'_>,
        work: impl FnOnce(&Bucket, &Sender<u64>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let bucket = Arc::clone(&self.bucket);
        let (tell, mut told) = channel(0);
        // The channel ends with the work, and its last value is still seen.
        let work = spawn_blocking(move || work(&bucket, &tell));
        while told.changed().await.is_ok() {
            progress(*told.borrow_and_update());
        }
        join(work).await.map_err(|fault| self.failed(operation, name, fault))
    }
}

#[async_trait]
impl Store for Directory {
    fn url(&self) -> String {
        names::url(&self.bucket.root)
    }

    async fn read(&self, name: &str) -> Result<Object> {
        let failed = |fault| self.failed("read", name, fault);
        let Some((generation, read)) = self.bucket.read_live(name, None).map_err(failed)? else {
            return Err(failed(ErrorKind::NotFound.into()));
        };
        Ok(Object { generation, data: read.map_err(failed)? })
    }

    async fn read_if_changed(&self, name: &str, seen: Generation) -> Result<Option<Object>> {
        let failed = |fault| self.failed("read", name, fault);
        let Some((generation, read)) = self.bucket.read_live(name, Some(seen)).map_err(failed)?
        else {
            return Ok(None);
        };
        Ok(Some(Object { generation, data: read.map_err(failed)? }))
    }

    async fn read_generation(&self, name: &str, generation: Generation) -> Result<Object> {
        let failed = |fault| self.failed("read", name, fault);
        let data = self.bucket.read(name, generation).map_err(failed)?;
        Ok(Object { generation, data })
    }

    async fn write(&self, name: &str, data: &[u8], expect: Expect) -> Result<Generation> {
        let (object, data) = (name.to_owned(), data.to_vec());
        self.block("write", name, move |bucket| {
            bucket.write(&object, expect, |file| {
                frame::write(&data[..], file, |_| {})?;
                Ok(())
            })
        })
        .await
    }

    /// Reads the whole file, to check it.
    async fn stat(&self, name: &str) -> Result<Option<Stat>> {
        let object = name.to_owned();
        self.block("check", name, move |bucket| bucket.verify(&object)).await
    }

    /// The objects are not checked, and of a damaged one the size may be wrong.
    async fn list(&self, prefix: &str) -> Result<Vec<Stat>> {
        self.bucket.list(prefix).map_err(|fault| self.failed("list", prefix, fault))
    }

    async fn versions(&self, name: &str) -> Result<Vec<Generation>> {
        let failed = |fault| self.failed("list the versions of", name, fault);
        let slots = self.bucket.slots(name).map_err(failed)?;
        slots.objects().map_err(|error| failed(error.into()))
    }

    async fn upload(
        &self,
        name: &str,
        from: &Path,
        expect: Expect,
        progress: Progress<'_>,
    ) -> Result<Generation> {
        let (object, path) = (name.to_owned(), from.to_owned());
        self.block_with_progress("upload", name, progress, move |bucket, tell| {
            let from = File::open(&path).map_err(|error| Fault::beside(&path, error))?;
            bucket.write(&object, expect, |file| {
                let size = frame::write(from, file, |done| {
                    tell.send_replace(done);
                })?;
                tell.send_replace(size);
                Ok(())
            })
        })
        .await
    }

    async fn download(&self, name: &str, to: &Path, progress: Progress<'_>) -> Result<Generation> {
        let (object, path) = (name.to_owned(), to.to_owned());
        self.block_with_progress("download", name, progress, move |bucket, tell| {
            let to = File::create(&path).map_err(|error| Fault::beside(&path, error))?;
            let (generation, size) = bucket.copy_live(&object, to, |done| {
                tell.send_replace(done);
            })?;
            tell.send_replace(size);
            Ok(generation)
        })
        .await
    }

    async fn delete(&self, name: &str, expect: Expect) -> Result<()> {
        let object = name.to_owned();
        self.block("delete", name, move |bucket| bucket.delete(&object, expect)).await
    }

    async fn erase(&self, name: &str, generation: Generation) -> Result<()> {
        let object = name.to_owned();
        self.block("erase", name, move |bucket| bucket.erase(&object, generation)).await
    }

    fn watch(&self, name: &str) -> Result<Box<dyn Watch>> {
        let failed = |fault| self.failed("watch", name, fault);
        let slots = self.bucket.slots_made(name).map_err(failed)?;
        Ok(Box::new(DirectoryWatch::new(self.clone(), name, &slots.0)))
    }
}

async fn join<T>(work: JoinHandle<Done<T>>) -> Done<T> {
    match work.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(io::Error::other("the program is ending").into()),
        },
    }
}
