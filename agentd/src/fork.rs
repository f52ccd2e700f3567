//! Makes a process that is about to become the app, in its cgroup from its first moment on.
//!
//! `CLONE_INTO_CGROUP` puts it there at once. Joining later, by a write to `cgroup.procs`, leaves a
//! moment in which it is elsewhere, and waits for all processors: 7 ms on an idle machine, against
//! 0.2 ms. The same call starts it without the agent's signal handlers, so that none of them ever
//! runs in it. Where a sandbox around the agent forbids `clone3` (containers do), a plain fork is the
//! way.
//!
//! Between fork and exec only one thread is there, and whatever lock another one held stays locked:
//! what runs there may make system calls, and neither allocate nor wait.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use crate::cgroup::Group;

/// `CLONE_CLEAR_SIGHAND` and `CLONE_INTO_CGROUP` of linux/sched.h; they do not fit libc's type.
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Signals have the numbers 1 to 64.
const SIGNAL_MAX: libc::c_int = 64;

/// More than the kernel's `struct sigaction` has on any machine.
const SIGACTION_WORDS: usize = 8;

/// What a process was doing on its way to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Joining its cgroup.
    Join,
    /// Making its own view of the file system.
    Namespace,
    /// Making that read-only.
    ReadOnly,
    /// Putting its own folders there.
    Folders,
    /// Setting its limits.
    Limits,
    /// Taking its user and groups.
    User,
    /// Giving rights up.
    Rights,
    /// Seeing to what it inherits: signals, descriptors.
    Inherited,
    /// Becoming the program.
    Exec,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Join,
        Self::Namespace,
        Self::ReadOnly,
        Self::Folders,
        Self::Limits,
        Self::User,
        Self::Rights,
        Self::Inherited,
        Self::Exec,
    ];

    fn words(self) -> &'static str {
        match self {
            Self::Join => "join its cgroup",
            Self::Namespace => "have a view of the file system of its own",
            Self::ReadOnly => "have the system read-only",
            Self::Folders => "have its own folders",
            Self::Limits => "have its limits set",
            Self::User => "become its user",
            Self::Rights => "give up rights",
            Self::Inherited => "put in order what it inherits",
            Self::Exec => "become the program",
        }
    }

    /// The fault of this step that `errno` has the reason of.
    pub fn fault(self) -> Fault {
        Fault { step: self, error: io::Error::last_os_error() }
    }
}

/// Why a process did not become the app.
#[derive(Debug, thiserror::Error)]
#[error("it cannot {step}")]
pub struct Fault {
    /// What it was doing.
    pub step: Step,
    /// What the kernel said.
    #[source]
    pub error: io::Error,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Makes a process, in `group` if there is one, in which `become_app` runs, and gives its number
/// when it has become another program. It has the default reaction to every signal, and none is
/// blocked. Its descriptors from 3 to below `3 + handed` are the caller's to use.
///
/// # Errors
/// What `become_app` came back with, or why there is no process at all ([`Step::Exec`]). No process
/// is left then.
///
/// # Safety
/// `become_app` runs between fork and exec: it must not allocate, nor take a lock.
pub unsafe fn fork(
    group: Option<&Group>,
    handed: usize,
    become_app: &mut dyn FnMut() -> Fault,
) -> Result<u32, Fault> {
    let none = |error: io::Error| Fault { step: Step::Exec, error };
    let (mut told, tells) = io::pipe().map_err(none)?;
    let tells = above(&OwnedFd::from(tells), handed).map_err(none)?;
    let door =
        group.map(Group::door).transpose().map_err(|error| Fault { step: Step::Join, error });
    let door = door?;
    let mut before = SigSet::empty();
    let all = SigSet::all();
    // Until it has its own reactions, it hears of no signal.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&all), Some(&mut before))
        .map_err(|error| none(error.into()))?;
    // SAFETY: the child makes system calls only, as the caller promises for its closure.
    let made = match unsafe { clone_into(group) } {
        // SAFETY: as above.
        Err(error) if is_forbidden(&error) => unsafe { plain_fork() }.map(|pid| (pid, true)),
        made => made.map(|pid| (pid, false)),
    };
    if let Ok((0, joins)) = made {
        let door = door.as_ref().filter(|_| joins);
        let fault = match clear(door) {
            Ok(()) => become_app(),
            Err(fault) => fault,
        };
        leave(&tells, &fault);
    }
    let restored = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    let (pid, _) = made.map_err(none)?;
    restored.map_err(|error| none(error.into()))?;
    drop(tells);
    let mut said = Vec::new();
    told.read_to_end(&mut said).map_err(none)?;
    let Some((step, code)) = said.split_first() else { return Ok(pid.cast_unsigned()) };
    // It has ended, and nobody else knows it.
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)
        .map_err(|error| none(error.into()))?;
    let step = Step::ALL.get(usize::from(*step)).copied().unwrap_or(Step::Exec);
    let code = code.try_into().map_or(libc::EIO, i32::from_ne_bytes);
    Err(Fault { step, error: io::Error::from_raw_os_error(code) })
}

/// A copy of the descriptor that does not lie among those that are handed over.
fn above(descriptor: &OwnedFd, handed: usize) -> io::Result<OwnedFd> {
    let lowest = RawFd::try_from(3 + handed).map_err(io::Error::other)?;
    let copy = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// A sandbox around the agent does not let it call `clone3`.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// # Safety
/// The child has only this thread: it may make system calls, and no more.
unsafe fn clone_into(group: Option<&Group>) -> io::Result<libc::pid_t> {
    // SAFETY: all its fields are numbers, and zero means none of each.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLEAR_SIGHAND;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = group {
        args.flags |= INTO_CGROUP;
        args.cgroup = group.as_fd().as_raw_fd() as u64;
    }
    // SAFETY: the structure has the size that is given; without a stack the child goes on with a
    // copy of this one.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    match libc::pid_t::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
/// As [`clone_into`].
unsafe fn plain_fork() -> io::Result<libc::pid_t> {
    // SAFETY: as the caller promises.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

/// In the child: in its cgroup, with the default reaction to each signal, and none blocked.
fn clear(door: Option<&OwnedFd>) -> Result<(), Fault> {
    if let Some(door) = door {
        // SAFETY: the descriptor is open, and the text has one byte.
        if unsafe { libc::write(door.as_raw_fd(), c"0".as_ptr().cast(), 1) } != 1 {
            return Err(Step::Join.fault());
        }
    }
    // The kernel's own call: the C library hides two signals, which may be ignored all the same.
    let default = [0_u64; SIGACTION_WORDS];
    for signal in 1..=SIGNAL_MAX {
        let none: *const u64 = std::ptr::null();
        // SIGKILL and SIGSTOP are refused, and need nothing.
        // SAFETY: the structure is larger than the kernel's, in which zeroes mean the default; the
        // set of signals has 8 bytes.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8) };
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|error| Fault { step: Step::Inherited, error: error.into() })
}

/// In the child: tells the agent, and ends.
fn leave(tells: &OwnedFd, fault: &Fault) -> ! {
    let code = fault.error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
    let said = [fault.step as u8, code[0], code[1], code[2], code[3]];
    // SAFETY: the descriptor is open, and the text has the length that is given. If the agent is
    // gone there is nobody to tell. `_exit` runs nothing of the agent's.
    unsafe {
        libc::write(tells.as_raw_fd(), said.as_ptr().cast(), said.len());
        libc::_exit(127)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{Delegated, tests::OwnCgroup};
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    fn exec(script: &std::ffi::CStr) -> Fault {
        let args = [c"sh".as_ptr(), c"-c".as_ptr(), script.as_ptr(), std::ptr::null()];
        // SAFETY: the texts end with a zero byte, and the array with a null pointer.
        unsafe { libc::execv(c"/bin/sh".as_ptr(), args.as_ptr()) };
        Step::Exec.fault()
    }

    #[test]
    fn it_becomes_the_program_with_nothing_of_the_agents_signals() {
        let script = c"grep -q 'SigIgn:.0000000000000000' /proc/self/status || exit 1
            grep -q 'SigBlk:.0000000000000000' /proc/self/status || exit 2; exit 7";
        // SAFETY: the closure makes one system call.
        let pid = unsafe { fork(None, 0, &mut || exec(script)) }.unwrap();
        let pid = Pid::from_raw(pid.cast_signed());
        assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 7));
    }

    #[test]
    fn its_fault_comes_back_and_no_process_stays() {
        let mut child = 0;
        let mut fails =
            || Fault { step: Step::User, error: io::Error::from_raw_os_error(libc::EPERM) };
        // SAFETY: the closure does nothing.
        let fault = unsafe { fork(None, 40, &mut fails) }.unwrap_err();
        assert_eq!((fault.step, fault.error.raw_os_error()), (Step::User, Some(libc::EPERM)));
        assert_eq!(fault.to_string(), "it cannot become its user");
        let flags = libc::WNOHANG | libc::__WNOTHREAD;
        // SAFETY: the pointer is to a local.
        let waited = unsafe { libc::waitpid(-1, &raw mut child, flags) };
        assert_eq!(waited, -1, "this thread has no child");
        for (at, step) in Step::ALL.iter().enumerate() {
            assert_eq!(at, usize::from(*step as u8));
        }
    }

    #[test]
    fn it_lives_in_a_group_that_was_killed_before() {
        let Some(own) = OwnCgroup::new() else { return };
        let delegated = Delegated::take(own.path()).unwrap();
        for _ in 0..3 {
            let group = delegated.new_group(1).unwrap();
            // SAFETY: the closure makes one system call.
            let pid = unsafe { fork(Some(&group), 0, &mut || exec(c"exit 7")) }.unwrap();
            let pid = Pid::from_raw(pid.cast_signed());
            assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 7));
            group.kill().unwrap();
        }
    }

    #[test]
    fn it_is_in_its_group_from_the_start_by_either_way() {
        let Some(own) = OwnCgroup::new() else { return };
        let group = Delegated::take(own.path()).unwrap().group(1).unwrap();
        let script = c"grep -q ^0::.*/app-1$ /proc/self/cgroup && kill -s USR1 $$";
        // SAFETY: the closure makes one system call.
        let pid = unsafe { fork(Some(&group), 0, &mut || exec(script)) }.unwrap();
        let pid = Pid::from_raw(pid.cast_signed());
        let expected = WaitStatus::Signaled(pid, Signal::SIGUSR1, false);
        assert_eq!(waitpid(pid, None).unwrap(), expected);
        // SAFETY: the child makes system calls only.
        let pid = match unsafe { plain_fork() }.unwrap() {
            0 => {
                let fault = clear(group.door().ok().as_ref()).map_or_else(|f| f, |()| exec(script));
                let tells = above(&OwnedFd::from(std::fs::File::open("/dev/null").unwrap()), 0);
                leave(&tells.unwrap(), &fault)
            }
            pid => Pid::from_raw(pid),
        };
        let expected = WaitStatus::Signaled(pid, Signal::SIGUSR1, false);
        assert_eq!(waitpid(pid, None).unwrap(), expected);
    }
}
