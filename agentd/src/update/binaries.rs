//! The agent's own binaries on the disk: `agents/<digest>` in the instance's folder, whole or not at
//! all, and verified each time before one is run.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use deploy::agent_config::InstanceDir;
use deploy::desired_agent::AgentBinary;
use deploy::id::Id;
use deploy::store::{Store, with_tries};
use deploy::{Digest, layout};

use crate::fetch::{FetchError, Incoming, until_reachable};
use crate::memory::sync_folder;

/// How many binaries stay on the disk.
const BINARIES_MAX: usize = 3;

/// The binary of this process, and of which version it is.
///
/// # Errors
/// What `/proc` says.
pub fn own_binary() -> io::Result<AgentBinary> {
    binary_at(Path::new("/proc/self/exe"), env!("CARGO_PKG_VERSION"))
}

/// The binary at `path`, of which it is known to be of this version.
///
/// # Errors
/// When it cannot be read.
pub fn binary_at(path: &Path, version: &str) -> io::Result<AgentBinary> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok(AgentBinary { digest: Digest::of_reader(file)?, size, version: version.to_owned() })
}

/// Where the binaries come from, and where they lie.
#[derive(Clone, Debug)]
pub struct Binaries {
    store: Arc<dyn Store>,
    dir: InstanceDir,
    /// The one that the instance was made with, and where it lies.
    installed: (Digest, PathBuf),
}

impl Binaries {
    /// Those of the instance in `dir`, which was made with the binary `installed` at this path.
    /// [`crate::fetch::Fetcher::new`] was called before.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(
        store: Arc<dyn Store>,
        dir: InstanceDir,
        installed: (Digest, PathBuf),
    ) -> io::Result<Self> {
        fs::create_dir_all(dir.agents())?;
        Ok(Self { store, dir, installed })
    }

    /// Where the binary lies once it was brought.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        match *digest == self.installed.0 {
            true => self.installed.1.clone(),
            false => self.dir.agents().join(digest.to_string()),
        }
    }

    /// Brings the binary, if it is not there whole. While the bucket is away this waits for it.
    ///
    /// # Errors
    /// When it can never be brought: it is not there, its bytes are wrong, or the disk is full.
    pub async fn bring(&self, binary: &AgentBinary) -> Result<(), FetchError> {
        let (path, digest) = (self.path(&binary.digest), binary.digest);
        if digest_of(path.clone()).await.is_ok_and(|found| found == digest) {
            return Ok(());
        }
        until_reachable(async || self.fetch(&digest, &path).await).await
    }

    async fn fetch(&self, digest: &Digest, target: &Path) -> Result<(), FetchError> {
        let incoming = Incoming::new(self.dir.incoming().join(Id::random().to_string()))?;
        let file = incoming.0.join("agentd");
        let name = layout::agent(digest);
        with_tries(async || {
            // What a try before has left.
            let _ = fs::remove_file(&file);
            self.store.download(&name, &file, &|_| {}).await
        })
        .await?;
        let disk = |cause| FetchError::Disk { path: target.to_owned(), cause };
        let found = digest_of(file.clone()).await.map_err(disk)?;
        if found != *digest {
            return Err(FetchError::Agent { expected: *digest, found });
        }
        let put = || {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
            File::open(&file)?.sync_all()?;
            fs::rename(&file, target)?;
            sync_folder(&self.dir.agents())
        };
        put().map_err(disk)
    }

    /// Marks the binary that runs as used now, and removes those used longest ago, but for `keep`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn prune(&self, keep: &[Digest]) -> io::Result<()> {
        let mut found = Vec::new();
        for digest in keep {
            match File::open(self.dir.agents().join(digest.to_string())) {
                Ok(file) => file.set_modified(SystemTime::now())?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for entry in fs::read_dir(self.dir.agents())? {
            let entry = entry?;
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
        found.sort_unstable();
        let excess = found.len().saturating_sub(BINARIES_MAX);
        let kept: Vec<PathBuf> = keep.iter().map(|digest| self.path(digest)).collect();
        let old = found.into_iter().map(|(_, path)| path).filter(|path| !kept.contains(path));
        old.take(excess).try_for_each(fs::remove_file)
    }
}

/// Megabytes are hashed: not on the agent's own thread.
async fn digest_of(path: PathBuf) -> io::Result<Digest> {
    let work = tokio::task::spawn_blocking(move || Digest::of_reader(File::open(path)?));
    match work.await {
        Ok(digest) => digest,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use deploy::store::{Directory, ErrorKind, Expect};

    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        store: Arc<dyn Store>,
        binaries: Binaries,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store: Arc<dyn Store> =
                Arc::new(Directory::open(folder.path().join("bucket")).unwrap());
            let dir = InstanceDir(folder.path().join("app-1"));
            fs::create_dir_all(dir.incoming()).unwrap();
            let installed = (Digest::of(b"installed"), folder.path().join("agentd"));
            let binaries = Binaries::new(store.clone(), dir, installed).unwrap();
            Self { folder, store, binaries }
        }

        /// Puts `content` into the bucket under the name of `named`.
        async fn put(&self, named: &str, content: &str) -> AgentBinary {
            let digest = Digest::of(named.as_bytes());
            let (name, size) = (layout::agent(&digest), named.len() as u64);
            self.store.write(&name, content.as_bytes(), Expect::Any).await.unwrap();
            AgentBinary { digest, size, version: "2".to_owned() }
        }

        fn is_clean(&self) -> bool {
            fs::read_dir(self.binaries.dir.incoming()).unwrap().next().is_none()
        }
    }

    #[tokio::test]
    async fn a_binary_is_brought_whole_and_can_be_run() {
        let place = Place::new();
        let binary = place.put("new", "new").await;
        place.binaries.bring(&binary).await.unwrap();
        let path = place.binaries.path(&binary.digest);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        // Damaged on the disk, it is brought again.
        fs::write(&path, "rot").unwrap();
        place.binaries.bring(&binary).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(place.is_clean());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_what_was_named_is_not_taken() {
        let place = Place::new();
        let binary = place.put("new", "other").await;
        let error = place.binaries.bring(&binary).await.unwrap_err();
        assert!(matches!(error, FetchError::Agent { .. }), "{error}");
        assert!(!place.binaries.path(&binary.digest).exists() && place.is_clean());
        let missing = AgentBinary { digest: Digest::of(b"missing"), ..binary };
        let error = place.binaries.bring(&missing).await.unwrap_err();
        assert!(matches!(error, FetchError::Store(error) if error.kind == ErrorKind::NotFound));
    }

    #[tokio::test]
    async fn the_one_that_it_was_made_with_needs_no_bucket() {
        let place = Place::new();
        let path = place.folder.path().join("agentd");
        fs::write(&path, "installed").unwrap();
        let digest = Digest::of(b"installed");
        assert_eq!(place.binaries.path(&digest), path);
        let binary = AgentBinary { digest, size: 9, version: "1".to_owned() };
        place.binaries.bring(&binary).await.unwrap();
    }

    #[tokio::test]
    async fn the_newest_few_stay_and_what_is_kept() {
        let place = Place::new();
        let mut digests = Vec::new();
        for content in ["a", "b", "c", "d", "e"] {
            let binary = place.put(content, content).await;
            place.binaries.bring(&binary).await.unwrap();
            let file = File::open(place.binaries.path(&binary.digest)).unwrap();
            let age = std::time::Duration::from_secs(100 - digests.len() as u64);
            file.set_modified(SystemTime::now() - age).unwrap();
            digests.push(binary.digest);
        }
        place.binaries.prune(&[digests[0], Digest::of(b"installed")]).unwrap();
        let left = digests.iter().map(|digest| place.binaries.path(digest).exists());
        assert_eq!(left.collect::<Vec<_>>(), [true, false, false, true, true]);
    }

    #[test]
    fn the_own_binary_is_the_one_that_runs() {
        let own = own_binary().unwrap();
        let file = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!((own.digest, own.size), (Digest::of(&file), file.len() as u64));
        assert_eq!(own.version, env!("CARGO_PKG_VERSION"));
    }
}
