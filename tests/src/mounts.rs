//! File systems that fail on purpose, seen by the thread that makes them and by what it starts.
//!
//! They take root. They go with the last process that sees them, however a test ends.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// The mounts of this thread.
#[derive(Debug)]
pub struct Mounts(());

impl Mounts {
    /// From now on this thread mounts for itself. None, and why, where it may not.
    pub fn of_this_thread() -> Option<Self> {
        if !geteuid().is_root() {
            println!("skipped: only root may mount, and modes alone do not stop everybody");
            return None;
        }
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            println!("skipped: no mounts of one's own are allowed here: {error}");
            return None;
        }
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
        Some(Self(()))
    }

    /// A new file system at the folder, with room for so many bytes.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn small_disk(&self, at: &Path, bytes: u64) -> Mounted {
        let size = format!("size={bytes}");
        mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), Some(&*size)).expect("a tmpfs");
        Mounted(at.to_owned())
    }

    /// Another file instead of the one at `at`.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn file(&self, at: &Path, instead: &Path) -> Mounted {
        let flags = MsFlags::MS_BIND;
        mount(Some(instead), at, None::<&str>, flags, None::<&str>).expect("a bind mount");
        Mounted(at.to_owned())
    }

    /// Nothing can be written below the folder while this is held.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn read_only(&self, folder: &Path) -> Mounted {
        let flags = MsFlags::MS_BIND;
        mount(Some(folder), folder, None::<&str>, flags, None::<&str>).expect("a bind mount");
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, folder, None::<&str>, flags, None::<&str>).expect("read-only");
        Mounted(folder.to_owned())
    }
}

/// A mount that goes with this value.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What still uses it keeps it, unseen.
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("left mounted: {} ({error})", self.0.display());
        }
    }
}
