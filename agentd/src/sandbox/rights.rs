//! The app's user, and the end of all other rights: capabilities(7), credentials(7).
//!
//! The order is the kernel's: the bounding set can only be cut by who has `CAP_SETPCAP`, groups must
//! go before the user, the one capability that is kept must be taken over the change of user, and no
//! new privileges come last.

use std::fs;
use std::io;

use crate::fork::{Fault, Step};

use super::User;

/// To bind ports below 1024 (linux/capability.h).
const NET_BIND_SERVICE: u32 = 10;

/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits, as two halves.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Who a process to be made is.
#[derive(Debug)]
pub(super) struct Rights {
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
    binds_low_ports: bool,
    /// The highest capability that this kernel knows.
    last_capability: u32,
}

impl Rights {
    pub(super) fn prepare(user: &User, binds_low_ports: bool) -> io::Result<Self> {
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
        Ok(Self {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
            binds_low_ports,
            last_capability: last.trim().parse().map_err(io::Error::other)?,
        })
    }

    /// In the child: becomes the user, with no other right.
    pub(super) fn take(&self) -> Result<(), Fault> {
        self.cut_bounds()?;
        if self.binds_low_ports {
            control(libc::PR_SET_KEEPCAPS, 1, 0)?;
        }
        self.become_user()?;
        self.keep_one_capability()?;
        if self.binds_low_ports {
            let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
            control(libc::PR_CAP_AMBIENT, raise, NET_BIND_SERVICE.into())?;
        }
        Ok(())
    }

    fn cut_bounds(&self) -> Result<(), Fault> {
        for capability in 0..=self.last_capability {
            if !(self.binds_low_ports && capability == NET_BIND_SERVICE) {
                control(libc::PR_CAPBSET_DROP, capability.into(), 0)?;
            }
        }
        Ok(())
    }

    fn become_user(&self) -> Result<(), Fault> {
        let (uid, gid) = (self.uid, self.gid);
        // The kernel's own calls: the C library's tell its other threads, which are not there.
        // SAFETY: the calls take numbers, and an array with the length that is given.
        let became = unsafe {
            libc::syscall(libc::SYS_setgroups, self.groups.len(), self.groups.as_ptr()) == 0
                && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
                && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
        };
        if became { Ok(()) } else { Err(Step::User.fault()) }
    }

    fn keep_one_capability(&self) -> Result<(), Fault> {
        let kept = if self.binds_low_ports { 1 << NET_BIND_SERVICE } else { 0 };
        let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
        let low = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
        let high = CapabilitySets { effective: 0, permitted: 0, inheritable: 0 };
        let sets = [low, high];
        // SAFETY: version 3 reads a header and two sets.
        let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
        if set == 0 { Ok(()) } else { Err(Step::Rights.fault()) }
    }
}

/// In the child: nothing that it executes gives it rights that it does not have.
pub(super) fn no_new_privileges() -> Result<(), Fault> {
    control(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

fn control(option: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> Result<(), Fault> {
    // SAFETY: these options take numbers.
    match unsafe { libc::prctl(option, first, second, 0, 0) } {
        0 => Ok(()),
        _ => Err(Step::Rights.fault()),
    }
}
