//! A file on its way to its slot.
//!
//! Its writer holds a lock (`flock`) on it. The kernel lets go of the lock when the process ends,
//! however it ends, so a file that can be locked has no writer any more and is rubbish.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::id::Id;

/// A new file, removed when this is dropped. A slot that it was linked to keeps it.
pub(super) struct Temp {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl Temp {
    /// Makes one in `folder`, readable by the owner alone: it may come to hold secrets.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        loop {
            let path = folder.join(Id::random().to_string());
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            let temp = Self { path, file };
            temp.file.lock()?;
            // Somebody who cleaned up may have seen the file before it was locked.
            if temp.file.metadata()?.nlink() > 0 {
                return Ok(temp);
            }
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // Harmless: the next one to open the bucket removes it.
            tracing::debug!(path = %self.path.display(), %error, "a temporary file stays");
        }
    }
}

/// Removes what dead writers left in `folder`. Gives how many files that were.
pub(super) fn clean(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match remove_if_dead(&path) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn remove_if_dead(path: &Path) -> io::Result<bool> {
    // The mark of an erasure: it was made to be renamed at once. A living eraser makes another.
    if fs::symlink_metadata(path)?.file_type().is_symlink() {
        return fs::remove_file(path).map(|()| true);
    }
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => fs::remove_file(path).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_writers_file_is_removed_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let living = Temp::create(folder.path()).unwrap();
        fs::write(folder.path().join("dead"), "half").unwrap();
        assert_eq!(clean(folder.path()).unwrap(), 1);
        assert!(living.path.exists());
        drop(living);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
