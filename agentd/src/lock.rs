//! The lock file: one agent an instance, one balancer a fleet, and where to find it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;

/// Held by `flock` as long as this lives.
#[derive(Debug)]
pub struct Lock(File);

/// Takes the lock for `what`. Its text is empty from then on, until [`Lock::publish_pid`].
///
/// # Errors
/// When another process holds it, which is named, or the file system refuses.
pub fn take(path: &Path, what: &str) -> anyhow::Result<Lock> {
    let shown = path.display();
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = open.with_context(|| format!("cannot open {shown}"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).with_context(|| format!("cannot read {shown}"))?;
            let pid = pid.trim();
            anyhow::bail!("another {what} runs (process {pid}): it holds {shown}");
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {shown}"));
        }
    }
    file.set_len(0).with_context(|| format!("cannot empty {shown}"))?;
    Ok(Lock(file))
}

impl Lock {
    /// Writes this process's id into the file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn publish_pid(&self) -> anyhow::Result<()> {
        writeln!(&self.0, "{}", std::process::id()).context("cannot write the lock file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_balancer_is_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("balancer.lock");
        let first = take(&path, "balancer").unwrap();
        first.publish_pid().unwrap();
        let refused = take(&path, "balancer").unwrap_err().to_string();
        let pid = std::process::id().to_string();
        assert!(refused.contains(&format!("process {pid}")), "{refused}");
        drop(first);
        take(&path, "balancer").unwrap();
    }
}
