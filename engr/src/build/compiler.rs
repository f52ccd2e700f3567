//! Runs a compiler and whatever it starts, and lets none of it outlive the build.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::failed;
use crate::failure::{CommandResult, Exit, Failure, OrFail};
use crate::interrupt::{Interrupt, interrupted};

/// How long an interrupted compiler may take to clean up after itself.
const TERM_WAIT: Duration = Duration::from_secs(2);
/// How long a killed one is waited for. (Where nobody reaps orphans, their group never ends.)
const KILL_WAIT: Duration = Duration::from_secs(1);

/// What runs compilers for one build.
///
/// Each gets a process group of its own. Ctrl-C therefore reaches `engr` alone, which ends the
/// whole group, grandchildren too, and so does a build that is dropped because the source changed
/// again. Temporary files lie in the build's own folder, and go with it however it ends.
pub struct Compiler {
    temporary: PathBuf,
}

impl Compiler {
    /// One whose programs keep their temporary files under `scratch`.
    pub fn new(scratch: &Path) -> CommandResult<Self> {
        let temporary = scratch.join("tmp");
        std::fs::create_dir(&temporary)
            .or_fail(Exit::Internal, "cannot make a folder for temporary files")?;
        Ok(Self { temporary })
    }

    /// A command of this build in `folder`: no input, and its output is diagnostics.
    pub fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> CommandResult<Command> {
        let stderr = io::stderr().as_fd().try_clone_to_owned();
        let stderr = stderr.or_fail(Exit::Internal, "cannot pass standard error on")?;
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .env("TMPDIR", &self.temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::from(stderr))
            .stderr(Stdio::inherit())
            .process_group(0);
        Ok(command)
    }

    /// Runs it to its end.
    pub async fn run(&self, command: Command) -> CommandResult<ExitStatus> {
        Ok(self.output(command).await?.0)
    }

    /// Runs it to its end, and gives what it wrote to a piped standard output.
    pub async fn output(&self, mut command: Command) -> CommandResult<(ExitStatus, Vec<u8>)> {
        // Heard from before the start on: no signal falls between.
        let interrupt = Interrupt::new()?;
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| not_started(&program, error))?;
        let mut group = Group { child };
        tokio::select! {
            ended = group.ended() => {
                ended.or_fail(Exit::Internal, format!("cannot wait for {program}"))
            }
            () = interrupt.raised() => {
                Err(interrupted())
            }
        }
    }
}

fn not_started(program: &str, error: io::Error) -> Failure {
    if error.kind() != io::ErrorKind::NotFound {
        return Failure::new(
            Exit::BuildFailed,
            anyhow::Error::new(error).context(format!("cannot run {program}")),
        );
    }
    let failure = failed(format_args!("{program} is not installed, or not in PATH"));
    match program {
        "go" => failure.hint("install Go: https://go.dev/dl"),
        "cargo" | "rustc" => failure.hint("install Rust: https://rustup.rs"),
        _ => failure,
    }
}

/// A process group that ends with this value.
struct Group {
    child: Child,
}

impl Group {
    async fn ended(&mut self) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut output = Vec::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_end(&mut output).await?;
        }
        Ok((self.child.wait().await?, output))
    }
}

impl Drop for Group {
    /// Ends the whole group, and waits until it is gone: the build's folder goes next, and nobody
    /// may write there any more.
    fn drop(&mut self) {
        // No id: it has been waited for, and the number may be another's by now.
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return };
        let group = Pid::from_raw(id);
        // `make` and its like take half-written files away on the first, and not on the second.
        for (signal, patience) in [(Signal::SIGTERM, TERM_WAIT), (Signal::SIGKILL, KILL_WAIT)] {
            // Gone already is as good as ended.
            let _ = killpg(group, signal);
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                // Reaps the leader, which would keep the group alive.
                let leader_ended = !matches!(self.child.try_wait(), Ok(None));
                if leader_ended && killpg(group, None).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}
