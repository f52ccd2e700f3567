//! Brings what a release needs onto the disk, whole or not at all.
//!
//! An artifact is downloaded into `incoming/`, checked and unpacked there, synced, and renamed to
//! `artifacts/<digest>`; so what lies there was verified. Nothing in `incoming/` survives the
//! agent's start.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deploy::agent_config::InstanceDir;
use deploy::artifact::{Manifest, UnpackError, unpack};
use deploy::environment::{Environment, EnvironmentError};
use deploy::id::Id;
use deploy::release::{Artifact, Release};
use deploy::store::{ErrorKind, Store, StoreError, with_tries};
use deploy::{Digest, layout};
use tokio::sync::Mutex;

use crate::memory::{sync_folder, write_whole};

/// How many artifacts stay on the disk.
const ARTIFACTS_MAX: usize = 5;

/// How often bytes that do not fit their digest are fetched again.
const DAMAGED_TRIES_MAX: u32 = 3;

/// While the bucket cannot be reached it is tried again after this pause, for ever.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(5);

/// Brings artifacts and environments.
#[derive(Debug)]
pub struct Fetcher {
    store: Arc<dyn Store>,
    dir: InstanceDir,
    /// One artifact is brought by one task at a time: the head start and the release's own fetch
    /// want the same.
    under_way: std::sync::Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
}

/// Why something cannot be brought.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The bucket failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came is not a whole artifact.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// What came is not the environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// What came is another binary of the agent than the one that was named.
    #[error("the agent's bytes have the SHA-256 {found}, not {expected}")]
    Agent {
        /// What was named.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// The disk.
    #[error("cannot write {path}")]
    Disk {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl FetchError {
    fn may_be_damage(&self) -> bool {
        match self {
            Self::Store(error) => error.kind == ErrorKind::Corrupt,
            Self::Unpack(UnpackError::Write { .. }) | Self::Disk { .. } => false,
            Self::Unpack(_) | Self::Environment(_) | Self::Agent { .. } => true,
        }
    }
}

impl Fetcher {
    /// Clears what an earlier life left half done.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(store: Arc<dyn Store>, dir: InstanceDir) -> io::Result<Self> {
        match std::fs::remove_dir_all(dir.incoming()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in [dir.incoming(), dir.artifacts(), dir.environments()] {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self { store, dir, under_way: std::sync::Mutex::default() })
    }

    /// Brings all that the release needs. While the bucket is away this waits for it.
    ///
    /// # Errors
    /// When it can never be brought: it is not there, its bytes are wrong, or the disk is full.
    pub async fn release(&self, release: &Release) -> Result<(), FetchError> {
        until_reachable(async || self.artifact(&release.artifact).await).await?;
        if let Some(digest) = &release.environment {
            until_reachable(async || self.environment(digest).await).await?;
        }
        Ok(())
    }

    /// Brings one artifact, if it is not there.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn artifact(&self, artifact: &Artifact) -> Result<(), FetchError> {
        let digest = artifact.digest;
        let turn = {
            let mut under_way =
                self.under_way.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            under_way.entry(digest).or_default().clone()
        };
        let _turn = turn.lock().await;
        let target = self.artifact_path(&digest);
        if target.exists() {
            return Ok(());
        }
        let incoming = Incoming::new(self.dir.incoming().join(Id::random().to_string()))?;
        let archive = incoming.0.join("archive");
        let name = layout::artifact(&digest);
        with_tries(async || {
            // What a try before has left.
            let _ = std::fs::remove_file(&archive);
            self.store.download(&name, &archive, &|_| {}).await
        })
        .await?;
        let unpacked = incoming.0.join("unpacked");
        let (from, to) = (archive.clone(), unpacked.clone());
        let work = tokio::task::spawn_blocking(move || unpack(&from, &digest, &to));
        match work.await {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let disk = |cause| FetchError::Disk { path: target.clone(), cause };
        std::fs::rename(&unpacked, &target).map_err(disk)?;
        sync_folder(&self.dir.artifacts()).map_err(disk)
    }

    async fn environment(&self, digest: &Digest) -> Result<(), FetchError> {
        let path = self.environment_path(digest);
        if path.exists() {
            return Ok(());
        }
        let name = layout::environment(digest);
        let object = with_tries(async || self.store.read(&name).await).await?;
        Environment::from_object(&object.data, digest)?;
        write_whole(&path, &object.data).map_err(|cause| FetchError::Disk { path, cause })
    }

    /// Where an artifact lies once it was brought.
    pub fn artifact_path(&self, digest: &Digest) -> PathBuf {
        self.dir.artifacts().join(digest.to_string())
    }

    fn environment_path(&self, digest: &Digest) -> PathBuf {
        self.dir.environments().join(digest.to_string())
    }

    /// The environment of a release that was brought. It is checked again: it is small.
    ///
    /// # Errors
    /// When it is not there, or damaged.
    pub fn read_environment(&self, release: &Release) -> Result<Environment, FetchError> {
        let Some(digest) = &release.environment else { return Ok(Environment::default()) };
        let path = self.environment_path(digest);
        let data = std::fs::read(&path).map_err(|cause| FetchError::Disk { path, cause })?;
        Ok(Environment::from_object(&data, digest)?)
    }

    /// The manifest of an artifact that was brought.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_manifest(&self, digest: &Digest) -> io::Result<Manifest> {
        let path = self.artifact_path(digest).join(deploy::artifact::MANIFEST_PATH);
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Marks an artifact as used now, and removes those used longest ago, but for `keep`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn prune(&self, used: &Digest, keep: &[Digest]) -> io::Result<()> {
        let touch = std::fs::File::open(self.artifact_path(used))?;
        touch.set_modified(std::time::SystemTime::now())?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.dir.artifacts())? {
            let entry = entry?;
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
        found.sort_unstable();
        let excess = found.len().saturating_sub(ARTIFACTS_MAX);
        let kept: Vec<PathBuf> = keep.iter().map(|digest| self.artifact_path(digest)).collect();
        let old = found.into_iter().map(|(_, path)| path).filter(|path| !kept.contains(path));
        old.take(excess).try_for_each(|path| self.remove(&path))
    }

    /// Out of its place first: half an artifact must never lie there.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let aside = self.dir.incoming().join(Id::random().to_string());
        std::fs::rename(path, &aside)?;
        std::fs::remove_dir_all(aside)
    }
}

/// A folder of things half done, gone with this value.
pub(crate) struct Incoming(pub(crate) PathBuf);

impl Incoming {
    pub(crate) fn new(path: PathBuf) -> Result<Self, FetchError> {
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(cause) => Err(FetchError::Disk { path, cause }),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "what came in half cannot be removed");
        }
    }
}

/// Whether the bucket is out of reach, for whatever reason: it cannot be used, is gone, or does not
/// know or not allow this instance. All of that is mended elsewhere, and may take long.
fn is_away(error: &FetchError) -> bool {
    let FetchError::Store(error) = error else { return false };
    matches!(
        error.kind,
        ErrorKind::Unavailable
            | ErrorKind::NoBucket
            | ErrorKind::Unauthenticated
            | ErrorKind::Forbidden
    )
}

/// Tries until the bucket can be reached. Damage is tried again a few times: a deployer may be
/// replacing it.
pub(crate) async fn until_reachable(
    mut bring: impl AsyncFnMut() -> Result<(), FetchError>,
) -> Result<(), FetchError> {
    let (mut damaged, mut was_lost) = (0, false);
    loop {
        let error = match bring().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let kind = if let FetchError::Store(error) = &error { Some(error.kind) } else { None };
        was_lost |= kind == Some(ErrorKind::NoBucket);
        // A bucket that was lost is made again first, and then filled from a copy.
        let is_away = is_away(&error) || (was_lost && kind == Some(ErrorKind::NotFound));
        damaged += u32::from(error.may_be_damage());
        if !is_away && (!error.may_be_damage() || damaged == DAMAGED_TRIES_MAX) {
            return Err(error);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "cannot fetch yet");
        let pause = if is_away { UNREACHABLE_PAUSE } else { Duration::from_millis(300) };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    fn failed(kind: ErrorKind) -> FetchError {
        FetchError::Store(StoreError {
            operation: "download",
            object: "artifacts/x".to_owned(),
            bucket: "gs://b".to_owned(),
            kind,
            retry_after: None,
            cause: None,
        })
    }

    /// Brings something whose first tries fail like this. Gives how often it was tried, and whether
    /// it was brought.
    async fn bring(kinds: impl IntoIterator<Item = ErrorKind>) -> (usize, bool) {
        let kinds = RefCell::new(kinds.into_iter());
        let tries = RefCell::new(0);
        let brought = until_reachable(async || {
            *tries.borrow_mut() += 1;
            match kinds.borrow_mut().next() {
                Some(kind) => Err(failed(kind)),
                None => Ok(()),
            }
        });
        let is_brought = brought.await.is_ok();
        (tries.into_inner(), is_brought)
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_waits_for_a_bucket_that_is_away() {
        use ErrorKind::{Forbidden, NoBucket, Unauthenticated, Unavailable};
        let began = Instant::now();
        let hour =
            [Unavailable, Unauthenticated, Forbidden, NoBucket].into_iter().cycle().take(720);
        assert_eq!(bring(hour).await, (721, true));
        assert_eq!(began.elapsed(), Duration::from_secs(3_600));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_will_not_come_unless_the_bucket_was_lost() {
        use ErrorKind::{NoBucket, NotFound, Unavailable};
        assert_eq!(bring([NotFound]).await, (1, false));
        assert_eq!(bring([Unavailable, NotFound]).await, (2, false));
        assert_eq!(bring([NoBucket, NotFound, NotFound]).await, (4, true));
    }

    #[tokio::test(start_paused = true)]
    async fn damage_is_tried_again_a_few_times() {
        assert_eq!(bring([ErrorKind::Corrupt; 2]).await, (3, true));
        assert_eq!(bring([ErrorKind::Corrupt; 3]).await, (3, false));
    }
}
