//! What a process may use, and what it inherits that is the agent's alone.

use std::fs;
use std::io;

use nix::sys::resource::{Resource, getrlimit};

use crate::fork::{Fault, Step};

/// What files that the app makes may be to others: read.
const UMASK: libc::mode_t = 0o022;

/// The agent may be spared when memory runs out; the app is not.
const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// The right to raise one's limits, as a bit of a set: number 24 of capability.h.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// The limits of a process to be made.
#[derive(Debug)]
pub(super) struct Limits {
    nofile: libc::rlimit,
    resets_oom_score: bool,
}

impl Limits {
    /// With up to `nofile` descriptors, as far as this process may give that many; as many as it may
    /// give come back.
    pub(super) fn prepare(nofile: u64, may_raise: bool) -> io::Result<(Self, u64)> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let most = if may_raise { nofile } else { nofile.min(hard) };
        let nofile = libc::rlimit { rlim_cur: most, rlim_max: most };
        let own: i32 =
            fs::read_to_string(OOM_SCORE_ADJ)?.trim().parse().map_err(io::Error::other)?;
        // Who is likelier than others to be killed may not become less likely without the right to.
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

/// Whether this process may raise limits: root may, except in most containers.
///
/// # Errors
/// When the kernel does not say what this process may.
pub(super) fn may_raise() -> io::Result<bool> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    effective(&status)
        .map(|set| set & CAP_SYS_RESOURCE != 0)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no CapEff in its status"))
}

/// The effective capabilities that `status` tells, proc_pid_status(5).
fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Root in a container often has no right to: the app then gets as many as there are.
    #[test]
    fn who_may_not_raise_limits_gives_what_it_has() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let more = hard + 1;
        assert_eq!(Limits::prepare(more, false).unwrap().1, hard);
        assert_eq!(Limits::prepare(more, true).unwrap().1, more);
        assert_eq!(Limits::prepare(16, false).unwrap().1, 16);
        assert_eq!(effective("Name:\tx\nCapEff:\t0000000001000000\n"), Some(CAP_SYS_RESOURCE));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
