//! The end of a group: `cgroup.events`, which says whether any process is left in it or below it.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const EVENTS: &str = "cgroup.events";

/// Whether any process is left in the group at `path` or below it. A zombie does not count. A group
/// that was removed has none.
pub(super) fn is_populated(path: &Path) -> io::Result<bool> {
    match File::open(path.join(EVENTS)) {
        Ok(mut file) => read(&mut file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits until none is.
pub(super) async fn until_empty(path: &Path) -> io::Result<()> {
    let file = match File::open(path.join(EVENTS)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // The kernel says that it has changed by an exceptional condition (POLLPRI).
    // SAFETY: the file is owned by what it is registered with, and closed after it.
    let mut file = unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY)? };
    loop {
        if !read(file.get_mut())? {
            return Ok(());
        }
        // What changes after the read above is told: the readiness is asked for anew from there.
        file.ready(Interest::PRIORITY).await?.clear_ready();
    }
}

fn read(file: &mut File) -> io::Result<bool> {
    let mut text = String::new();
    file.rewind()?;
    match file.read_to_string(&mut text) {
        Ok(_) => Ok(text.lines().any(|line| line == "populated 1")),
        // The group was removed while the file was open.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}
