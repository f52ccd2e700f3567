//! All buckets, each in a folder of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bucket::{Bucket, data_folder};
use super::facts::Facts;
use crate::problem::{Done, Problem};

/// The buckets of one server.
#[derive(Debug)]
pub(crate) struct Registry {
    root: PathBuf,
    buckets: Mutex<BTreeMap<String, Arc<Bucket>>>,
    /// Buckets are made and removed one by one.
    order: tokio::sync::Mutex<()>,
    /// Keeps other servers away: what is in memory must be what is in the folder.
    _lock: File,
}

impl Registry {
    /// Opens the buckets below `root`.
    pub(crate) async fn open(root: &Path) -> io::Result<Self> {
        let root = root.join("buckets");
        fs::create_dir_all(&root)?;
        let lock = File::open(&root)?;
        lock.try_lock().map_err(|error| {
            io::Error::other(format!("{} is another server's: {error}", root.display()))
        })?;
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_name(&name) {
                buckets.insert(name.clone(), Arc::new(Bucket::open(entry.path(), &name).await?));
            } else if name.ends_with(".new") || name.ends_with(".old") {
                // Half made or half removed, by a server that was killed.
                fs::remove_dir_all(entry.path())?;
            } else {
                return Err(io::Error::other(format!("{} is no bucket", entry.path().display())));
            }
        }
        Ok(Self {
            root,
            buckets: Mutex::new(buckets),
            order: tokio::sync::Mutex::new(()),
            _lock: lock,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Bucket>>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One bucket.
    pub(crate) fn get(&self, name: &str) -> Done<Arc<Bucket>> {
        self.lock().get(name).cloned().ok_or_else(Problem::no_bucket)
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Bucket>> {
        self.lock().values().cloned().collect()
    }

    /// Makes a bucket.
    pub(crate) async fn create(&self, name: &str, facts: &Facts) -> Done<Arc<Bucket>> {
        if !is_name(name) {
            return Err(Problem::invalid(format!("Invalid bucket name: '{name}'")));
        }
        let _order = self.order.lock().await;
        if self.lock().contains_key(name) {
            return Err(Problem::conflict(
                "Your previous request to create the named bucket succeeded and you already own it.",
            ));
        }
        let made = self.make_folder(name, facts).map_err(Problem::broken)?;
        let bucket = Arc::new(Bucket::open(made, name).await.map_err(Problem::broken)?);
        self.lock().insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }

    fn make_folder(&self, name: &str, facts: &Facts) -> io::Result<PathBuf> {
        let aside = self.root.join(format!("{name}.new"));
        let folder = self.root.join(name);
        fs::create_dir_all(&aside)?;
        facts.write(&aside)?;
        fs::rename(aside, &folder)?;
        Ok(folder)
    }

    /// Removes a bucket with no object in it, under a condition on its facts.
    pub(crate) async fn remove(
        &self,
        name: &str,
        check: impl FnOnce(&Facts) -> Done<()>,
    ) -> Done<()> {
        let _order = self.order.lock().await;
        let bucket = self.get(name)?;
        check(&bucket.facts())?;
        if !bucket.is_empty() {
            return Err(Problem::conflict("The bucket you tried to delete is not empty."));
        }
        let aside = self.root.join(format!("{name}.old"));
        fs::rename(self.root.join(name), &aside).map_err(Problem::broken)?;
        self.lock().remove(name);
        fs::remove_dir_all(aside).map_err(Problem::broken)
    }

    /// Where a bucket's bytes lie.
    pub(crate) fn data_folder(&self, name: &str) -> PathBuf {
        data_folder(&self.root.join(name))
    }
}

/// Google's rules for names, without those for names with dots. No name is that of a folder that
/// is being made or removed.
fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let ends = [name.as_bytes().first(), name.as_bytes().last()];
    (3..=63).contains(&name.len())
        && name.bytes().all(inner)
        && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_google_takes() {
        for good in ["abc", "my-bucket_1", "0a0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "ab", "Abc", "-abc", "abc-", "a b c", "abc.old", "../x", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
