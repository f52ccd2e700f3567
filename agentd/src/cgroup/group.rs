//! The group of one version: what belongs to it, and its end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Limits, events, processes_in};

/// A cgroup with the processes of one version.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    /// The folder: what a new process is made in.
    folder: File,
}

impl Group {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let folder = File::open(&path)?;
        Ok(Self { path, folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets how much of the machine it may have.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where the controller of a limit is not there; what the kernel
    /// says.
    pub fn limit(&self, limits: &Limits) -> io::Result<()> {
        limits.write(&self.path)
    }

    /// Where a process writes `0` to join it: for kernels and sandboxes without
    /// `CLONE_INTO_CGROUP`. Opened by the agent, whose rights then hold.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn door(&self) -> io::Result<OwnedFd> {
        let file = OpenOptions::new().write(true).open(self.path.join("cgroup.procs"))?;
        Ok(file.into())
    }

    /// The processes in it, and in what the app has made below it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        for path in with_below(&self.path)? {
            match processes_in(&path) {
                Ok(pids) => found.extend(pids),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Whether the process `pid` belongs to it. Zombies do.
    pub fn has(&self, pid: u32) -> bool {
        let mounts = super::place::of(pid);
        mounts.is_ok_and(|place| place.starts_with(&self.path))
    }

    /// Whether any process is left in it. Zombies do not count.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_populated(&self) -> io::Result<bool> {
        events::is_populated(&self.path)
    }

    /// Waits until no process is left in it: the exact end of a version.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn until_empty(&self) -> io::Result<()> {
        events::until_empty(&self.path).await
    }

    /// Kills all processes in it at once; none can fork away (`cgroup.kill`, Linux 5.14). They are
    /// gone when [`Self::until_empty`] says so.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill(&self) -> io::Result<()> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Err(error) if is_gone(&error) => Ok(()),
            killed => killed,
        }
    }

    /// How many of its processes were killed for want of memory, ever: its own limit's or the
    /// machine's. None: the kernel does not count that here.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn oom_kills(&self) -> io::Result<Option<u64>> {
        match fs::read_to_string(self.path.join("memory.events")) {
            Ok(text) => Ok(oom_kills(&text)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes it, and what the app has made below it. It must be empty.
    ///
    /// # Errors
    /// `ResourceBusy` while a process is in it; what else the kernel says.
    pub fn remove(&self) -> io::Result<()> {
        for path in with_below(&self.path)?.into_iter().rev() {
            match fs::remove_dir(&path) {
                Err(error) if is_gone(&error) => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

fn oom_kills(memory_events: &str) -> Option<u64> {
    memory_events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

/// The group and all below it, each before what is below it.
fn with_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![path.to_owned()];
    let mut at = 0;
    while at < found.len() {
        match fs::read_dir(&found[at]) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        found.push(entry.path());
                    }
                }
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
        at += 1;
    }
    Ok(found)
}

/// The group was removed, before or while its file was open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_for_want_of_memory_are_counted() {
        let text = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(oom_kills(text), Some(3));
        assert_eq!(oom_kills(""), None);
    }
}
