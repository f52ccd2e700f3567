//! What a process may use, and what it inherits that is the agent's alone.

use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit};

use crate::fork::{Fault, Step};

/// What files that the app makes may be to others: read.
const UMASK: libc::mode_t = 0o022;

/// The agent may be spared when memory runs out; the app is not.
const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// The right to give more than one has (capabilities(7)). Root in a container may lack it.
const CAP_SYS_RESOURCE: u32 = 24;

/// The limits of a process to be made.
#[derive(Debug)]
pub(super) struct Limits {
    nofile: libc::rlimit,
    resets_oom_score: bool,
}

impl Limits {
    /// With up to `nofile` descriptors, as far as this process may give that many; as many as it may
    /// give come back.
    pub(super) fn prepare(nofile: u64) -> io::Result<(Self, u64)> {
        let may_raise = may_raise()?;
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let most = if may_raise { nofile } else { nofile.min(hard) };
        let nofile = libc::rlimit { rlim_cur: most, rlim_max: most };
        let own: i32 =
            fs::read_to_string(OOM_SCORE_ADJ)?.trim().parse().map_err(io::Error::other)?;
        // Who is likelier than others to be killed may not become less likely without that right.
        Ok((Self { nofile, resets_oom_score: own < 0 || may_raise && own != 0 }, most))
    }

    /// In the child, while it is root still.
    pub(super) fn set(&self) -> Result<(), Fault> {
        // SAFETY: the structure lives through the call; a mask of files cannot fail.
        unsafe {
            libc::umask(UMASK);
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.nofile) != 0 {
                return Err(Step::Limits.fault());
            }
        }
        if self.resets_oom_score { reset_oom_score() } else { Ok(()) }
    }
}

fn may_raise() -> io::Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok());
    let rights = rights.ok_or_else(|| io::Error::other("/proc/self/status has no CapEff"))?;
    Ok(rights >> CAP_SYS_RESOURCE & 1 == 1)
}

fn reset_oom_score() -> Result<(), Fault> {
    // SAFETY: the path ends with a zero byte; the descriptor is this function's own; the text has one
    // byte.
    unsafe {
        let path = c"/proc/self/oom_score_adj".as_ptr();
        let file = libc::open(path, libc::O_WRONLY | libc::O_CLOEXEC);
        if file < 0 {
            return Err(Step::Limits.fault());
        }
        let written = libc::write(file, c"0".as_ptr().cast(), 1);
        let fault = Step::Limits.fault();
        libc::close(file);
        if written == 1 { Ok(()) } else { Err(fault) }
    }
}
