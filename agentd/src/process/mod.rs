//! The app's processes: started with the sockets that they are handed, in a session of their own,
//! and held by descriptors. They live on when the agent dies.
//!
//! - [`ticket`] sees to it that one start makes one process, however often it is carried out.
//! - [`handle`] names a process for good, and signals it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub mod handle;
pub mod ticket;

use ticket::Ticket;

use crate::cgroup::Group;
use crate::fork::{Fault, Step, fork};
use crate::sandbox::Sandbox;

/// The first descriptor that is handed over: `SD_LISTEN_FDS_START` of sd-daemon.h.
const LISTEN_FDS_START: RawFd = 3;

/// How often, and after which pause, an executable that is still held open for writing is tried.
const BUSY_TRIES_MAX: u32 = 25;
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// `LISTEN_PID=`, and room for the largest process id that the kernel gives.
const LISTEN_PID: &str = "LISTEN_PID=0000000000";
const LISTEN_PID_DIGITS: usize = 10;

/// What to start.
#[derive(Debug)]
pub struct Launch {
    /// The executable.
    pub program: PathBuf,
    /// What follows it on the command line.
    pub args: Vec<String>,
    /// The whole environment, but for the socket protocol's own variables.
    pub environment: BTreeMap<OsString, OsString>,
    /// Where it starts.
    pub folder: PathBuf,
    /// The listening sockets to hand over, with their names (`LISTEN_FDNAMES`).
    pub sockets: Vec<(String, OwnedFd)>,
    /// Where its standard output and its standard error go.
    pub output: [OwnedFd; 2],
    /// The ticket that it takes.
    pub ticket: PathBuf,
    /// What it enters.
    pub sandbox: Sandbox,
    /// The cgroup that it is made in.
    pub group: Option<Group>,
}

/// Starts it, in a session of its own, and gives its number. It takes its ticket before it becomes
/// the program; one that cannot become it leaves none.
///
/// # Errors
/// The step that failed, and what the kernel says: [`Step::Exec`] with "Exec format error" for another
/// machine's code, with `AlreadyExists` when another process has taken the ticket.
pub fn start(mut launch: Launch) -> Result<u32, Fault> {
    let failed = |error| Fault { step: Step::Exec, error };
    let mut exec = Exec::prepare(&launch).map_err(failed)?;
    let mut ticket = Ticket::new(&launch.ticket).map_err(failed)?;
    let mut own = Own::prepare(&launch).map_err(failed)?;
    let handed = launch.sockets.len();
    let mut become_app = || match own.take(&mut ticket, &mut launch.sandbox, handed) {
        Ok(()) => Fault { step: Step::Exec, error: exec.run() },
        Err(fault) => fault,
    };
    // A process that another task was forking while the executable was written holds it open for
    // writing until its own exec, a moment later (golang/go#22315 has the whole story).
    let mut tries = 0;
    loop {
        // SAFETY: between fork and exec the closure makes system calls and writes into memory that it
        // owns; it neither allocates nor takes a lock.
        let fault = match unsafe { fork(launch.group.as_ref(), handed, &mut become_app) } {
            Ok(pid) => return Ok(pid),
            Err(fault) => fault,
        };
        if fault.error.kind() == io::ErrorKind::AlreadyExists {
            return Err(fault);
        }
        match std::fs::remove_file(&launch.ticket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        if fault.error.raw_os_error() != Some(libc::ETXTBSY) || tries >= BUSY_TRIES_MAX {
            return Err(fault);
        }
        tries += 1;
        std::thread::sleep(BUSY_PAUSE);
    }
}

/// What a process has of its own: its session, its standard descriptors, its folder.
struct Own {
    folder: CString,
    standard: [OwnedFd; 3],
}

impl Own {
    fn prepare(launch: &Launch) -> io::Result<Self> {
        let [out, err] = &launch.output;
        let null = std::fs::File::open("/dev/null")?;
        let standard = [null.into(), out.try_clone()?, err.try_clone()?];
        Ok(Self { folder: c_string(launch.folder.as_os_str())?, standard })
    }

    /// In the child. The ticket lies where the app cannot come: it is taken before the sandbox is
    /// entered. The folder is the one that the app sees.
    fn take(
        &mut self,
        ticket: &mut Ticket,
        sandbox: &mut Sandbox,
        handed: usize,
    ) -> Result<(), Fault> {
        let failed = |error| Fault { step: Step::Exec, error };
        nix::unistd::setsid().map_err(|error| failed(error.into()))?;
        ticket.take().map_err(failed)?;
        for (from, to) in self.standard.iter().zip(0..) {
            // SAFETY: both are numbers of descriptors.
            if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
                return Err(Step::Inherited.fault());
            }
        }
        sandbox.enter(handed)?;
        // SAFETY: the path ends with a zero byte.
        match unsafe { libc::chdir(self.folder.as_ptr()) } {
            0 => Ok(()),
            _ => Err(Step::Exec.fault()),
        }
    }
}

/// The arguments of `execve`, made before the fork: afterwards nothing may be allocated.
struct Exec {
    program: CString,
    args: Vec<CString>,
    environment: Vec<CString>,
    /// Which of `environment` is [`LISTEN_PID`].
    listen_pid: Option<usize>,
    sockets: Vec<OwnedFd>,
    args_pointers: Vec<*const libc::c_char>,
    environment_pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers point into the `CString`s beside them, which move with them and are not
// changed while they are used.
unsafe impl Send for Exec {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Exec {}

impl Exec {
    fn prepare(launch: &Launch) -> io::Result<Self> {
        let program = c_string(launch.program.as_os_str())?;
        let args = std::iter::once(Ok(program.clone()))
            .chain(launch.args.iter().map(|arg| c_string(OsStr::new(arg))))
            .collect::<io::Result<Vec<_>>>()?;
        let mut environment = launch
            .environment
            .iter()
            .map(|(name, value)| {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                c_string(&pair)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let mut listen_pid = None;
        if !launch.sockets.is_empty() {
            let names: Vec<&str> = launch.sockets.iter().map(|(name, _)| name.as_str()).collect();
            listen_pid = Some(environment.len());
            environment.push(c_string(OsStr::new(LISTEN_PID))?);
            let count = launch.sockets.len();
            environment.push(c_string(OsStr::new(&format!("LISTEN_FDS={count}")))?);
            let names = format!("LISTEN_FDNAMES={}", names.join(":"));
            environment.push(c_string(OsStr::new(&names))?);
        }
        let sockets = launch
            .sockets
            .iter()
            .map(|(_, socket)| above_the_handed(socket, launch.sockets.len()))
            .collect::<io::Result<Vec<_>>>()?;
        let args_pointers = pointers(&args);
        let environment_pointers = pointers(&environment);
        Ok(Self {
            program,
            args,
            environment,
            listen_pid,
            sockets,
            args_pointers,
            environment_pointers,
        })
    }

    /// Becomes the program. Comes back only with the reason why not.
    fn run(&mut self) -> io::Error {
        debug_assert_eq!(self.args.len() + 1, self.args_pointers.len());
        for (socket, target) in self.sockets.iter().zip(LISTEN_FDS_START..) {
            // SAFETY: both are numbers of descriptors; what `target` was is closed, which is
            // std's own only above this range. The copy is not close-on-exec.
            if unsafe { libc::dup2(socket.as_raw_fd(), target) } < 0 {
                return io::Error::last_os_error();
            }
        }
        if let Some(index) = self.listen_pid {
            self.write_pid(index);
        }
        // SAFETY: the arrays end with a null pointer, and all strings with a zero byte.
        unsafe {
            libc::execve(
                self.program.as_ptr(),
                self.args_pointers.as_ptr(),
                self.environment_pointers.as_ptr(),
            );
        }
        io::Error::last_os_error()
    }

    /// Only the child knows its own number, so it is written in here, after the fork: plain
    /// decimal digits, as some apps compare the text.
    fn write_pid(&mut self, index: usize) {
        let mut digits = [0; LISTEN_PID_DIGITS];
        let mut count = 0;
        let mut pid = std::process::id();
        while count == 0 || pid > 0 {
            digits[count] = b'0' + (pid % 10) as u8;
            pid /= 10;
            count += 1;
        }
        let text = self.environment[index].as_ptr().cast_mut().cast::<u8>();
        let start = LISTEN_PID.len() - LISTEN_PID_DIGITS;
        let number = digits[..count].iter().rev().copied().chain([0]);
        for (position, byte) in (start..=LISTEN_PID.len()).zip(number) {
            // SAFETY: the string is `LISTEN_PID` and owned by `self`, which is borrowed mutably;
            // the position lies within it or is its zero byte's, and what is written there ends
            // with a zero byte.
            unsafe { text.add(position).write(byte) };
        }
    }
}

/// A copy of the socket that none of the `dup2`s to the handed range overwrites.
fn above_the_handed(socket: &OwnedFd, count: usize) -> io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, fcntl};
    use std::os::fd::FromRawFd;
    let lowest = LISTEN_FDS_START + RawFd::try_from(count).map_err(io::Error::other)?;
    let copy = fcntl(socket, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a zero byte in an argument"))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Ends what an earlier life of this instance's agent left, where nothing tells how to adopt it:
/// processes that carry the instance's folder in their environment, which only the app's own do.
///
/// # Errors
/// When `/proc` cannot be read, or one may not be ended.
pub fn sweep(marker: &str, value: &OsStr) -> io::Result<u32> {
    let mut wanted = OsString::from(format!("{marker}="));
    wanted.push(value);
    let mut ended = 0;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == std::process::id() as i32 {
            continue;
        }
        // Gone meanwhile, or another user's: not ours in both cases.
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()) {
            match nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) => ended += 1,
                Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Plan;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    fn launch(folder: &Path, program: &str, args: &[&str]) -> (Launch, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let launch = Launch {
            program: program.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            environment: BTreeMap::from([
                ("X".into(), "y".into()),
                ("PATH".into(), "/usr/bin:/bin".into()),
            ]),
            folder: "/".into(),
            sockets: Vec::new(),
            output: [writer.try_clone().unwrap().into(), writer.into()],
            ticket: folder.join("ticket"),
            sandbox: Sandbox::prepare(&Plan { nofile: 1024, confined: None }).unwrap(),
            group: None,
        };
        (launch, reader)
    }

    fn reap(pid: u32) {
        nix::sys::wait::waitpid(Pid::from_raw(pid.cast_signed()), None).unwrap();
    }

    #[test]
    fn the_sockets_come_as_the_protocol_says() {
        let sockets: Vec<_> = ["80", "443"]
            .map(|name| {
                let (ours, theirs) = UnixStream::pair().unwrap();
                (ours, (name.to_owned(), OwnedFd::from(theirs)))
            })
            .into_iter()
            .collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
        let script = r#"test "$LISTEN_PID" = $$ && echo "$LISTEN_FDS $LISTEN_FDNAMES $X" >&3
            echo second >&4; readlink /proc/self/cwd"#;
        let folder = tempfile::tempdir().unwrap();
        let (launch, mut output) = launch(folder.path(), "/bin/sh", &["-c", script]);
        let pid = start(Launch { sockets: theirs, ..launch }).unwrap();
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        assert_eq!(said, "/\n");
        let texts: Vec<String> = ours
            .into_iter()
            .map(|mut socket| {
                let mut text = String::new();
                socket.read_to_string(&mut text).unwrap();
                text
            })
            .collect();
        assert_eq!(texts, ["2 80:443 y\n", "second\n"]);
        let ticket = ticket::taken_by(&folder.path().join("ticket")).unwrap().unwrap();
        assert_eq!(ticket.0, pid);
        reap(pid);
    }

    #[test]
    fn a_start_that_is_carried_out_again_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _output) = launch(folder.path(), "/bin/true", &[]);
        let pid = start(first).unwrap();
        let (second, mut output) = launch(folder.path(), "/bin/echo", &["again"]);
        assert_eq!(start(second).unwrap_err().error.kind(), io::ErrorKind::AlreadyExists);
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
        assert_eq!(ticket::taken_by(&folder.path().join("ticket")).unwrap().unwrap().0, pid);
        reap(pid);
    }

    #[test]
    fn what_cannot_be_executed_says_so_at_once_and_leaves_no_ticket() {
        let folder = tempfile::tempdir().unwrap();
        let (launch, _output) = launch(folder.path(), "/dev/null", &[]);
        assert_eq!(start(launch).unwrap_err().error.raw_os_error(), Some(libc::EACCES));
        assert_eq!(ticket::taken_by(&folder.path().join("ticket")).unwrap(), None);
    }
}
