//! A process's own view of the file system, made by the process itself: mount_setattr(2).
//!
//! All that is mounted becomes read-only. What the app may write is taken aside before, as mounts
//! that are nowhere yet, and put into its place afterwards, so that it never has to be made writable
//! again.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::fork::{Fault, Step};

/// Programs in the app's own folders have no rights of their own, and devices there are none.
const HARMLESS: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

const SHARED_MEMORY: &CStr = c"/dev/shm";

/// The mounts of a process to be made.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    spots: Vec<Spot>,
    /// Those of the spots, while they are nowhere: as many.
    trees: Vec<RawFd>,
    has_shared_memory: bool,
}

#[derive(Debug)]
struct Spot {
    from: CString,
    at: CString,
    is_writable: bool,
}

impl Mounts {
    pub(super) fn new() -> Self {
        Self { has_shared_memory: Path::new("/dev/shm").is_dir(), ..Self::default() }
    }

    /// The folder `from` is to be seen at `at`, over what is there. Those that lie in others come
    /// after them.
    pub(super) fn put(&mut self, from: &Path, at: &Path, is_writable: bool) -> io::Result<()> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
        self.spots.push(Spot { from: text(from)?, at: text(at)?, is_writable });
        self.trees.push(-1);
        Ok(())
    }

    /// In the child, while it is root still.
    pub(super) fn make(&mut self) -> Result<(), Fault> {
        own_namespace()?;
        for (spot, tree) in self.spots.iter().zip(&mut self.trees) {
            *tree = take_aside(spot)?;
        }
        let flags = libc::AT_RECURSIVE;
        set(libc::AT_FDCWD, c"/", flags, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID)
            .map_err(|Fault { error, .. }| Fault { step: Step::ReadOnly, error })?;
        if self.has_shared_memory {
            mount_shared_memory()?;
        }
        for (spot, tree) in self.spots.iter().zip(&self.trees) {
            put_in_place(*tree, spot)?;
        }
        Ok(())
    }
}

fn own_namespace() -> Result<(), Fault> {
    let flags = libc::MS_REC | libc::MS_SLAVE;
    let none = std::ptr::null();
    // What the machine unmounts goes here, too; what is mounted here stays here.
    // SAFETY: the calls take numbers and a path that ends with a zero byte.
    let made = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) == 0
    };
    if made { Ok(()) } else { Err(Step::Namespace.fault()) }
}

/// The folder as a mount that is nowhere yet.
fn take_aside(spot: &Spot) -> Result<RawFd, Fault> {
    let flags = libc::OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: the path ends with a zero byte; the call gives a new descriptor or -1.
    let tree =
        unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, spot.from.as_ptr(), flags) };
    let Some(tree) = RawFd::try_from(tree).ok().filter(|tree| *tree >= 0) else {
        return Err(Step::Folders.fault());
    };
    let read_only = if spot.is_writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    set(tree, c"", libc::AT_EMPTY_PATH, HARMLESS | read_only)?;
    Ok(tree)
}

fn put_in_place(tree: RawFd, spot: &Spot) -> Result<(), Fault> {
    // SAFETY: the descriptor is a mount's, and the paths end with a zero byte. It is used no more
    // after it was closed.
    let moved = unsafe {
        let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
        let (from, at) = (c"".as_ptr(), spot.at.as_ptr());
        libc::syscall(libc::SYS_move_mount, tree, from, libc::AT_FDCWD, at, flags)
    };
    if moved != 0 {
        return Err(Step::Folders.fault());
    }
    // SAFETY: as above.
    unsafe { libc::close(tree) };
    Ok(())
}

fn mount_shared_memory() -> Result<(), Fault> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let (kind, data) = (c"tmpfs".as_ptr(), c"mode=1777".as_ptr().cast());
    // SAFETY: all texts end with a zero byte.
    match unsafe { libc::mount(kind, SHARED_MEMORY.as_ptr(), kind, flags, data) } {
        0 => Ok(()),
        _ => Err(Step::Folders.fault()),
    }
}

fn set(at: RawFd, path: &CStr, flags: libc::c_int, attributes: u64) -> Result<(), Fault> {
    let change =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let size = size_of_val(&change);
    let change = &raw const change;
    // SAFETY: the path ends with a zero byte, and the structure has the size that is given.
    match unsafe { libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, change, size) }
    {
        0 => Ok(()),
        _ => Err(Step::Folders.fault()),
    }
}
