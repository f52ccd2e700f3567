//! The app's process here, and all that it starts.

use std::fmt::Display;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::build::Built;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, OrFail};

use super::super::here::Variables;
use super::say;

/// A process group that is killed when this is dropped.
pub(super) struct Running {
    child: Child,
    group: Pid,
    stop_timeout: Duration,
    /// Its executable lies there.
    _built: Built,
}

impl Running {
    /// Starts the app in the folder of `engr.json`.
    pub(super) fn start(
        app: &AppContext,
        built: Built,
        variables: &Variables,
    ) -> CommandResult<Self> {
        let mut command = std::process::Command::new(&built.executable);
        variables.apply(&mut command);
        // A group of its own: Ctrl-C reaches this process alone, which then ends the app in order.
        command
            .args(&app.config.args)
            .current_dir(app.root())
            .stdin(Stdio::null())
            .process_group(0);
        // SAFETY: `prctl` is a plain system call, which may be made between fork and exec.
        unsafe {
            // Nobody else ends it when this process is killed. The thread that forks is this
            // process's only one for it, and lives as long.
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
        let cannot = format!("cannot start {}", built.executable.display());
        let child = Command::from(command).spawn().or_fail(Exit::Internal, &cannot)?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.ok_or_else(|| io::Error::other("it has no id"));
        let group = group.or_fail(Exit::Internal, cannot)?;
        let stop_timeout = app.config.settings().stop_timeout.into();
        Ok(Self { child, group, stop_timeout, _built: built })
    }

    /// Its process.
    pub(super) fn pid(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Whether it has not been seen to end.
    pub(super) fn is_alive(&self) -> bool {
        self.child.id().is_some()
    }

    /// Waits until it has ended; gives how.
    pub(super) async fn ended(&mut self) -> impl Display + use<> {
        let ended = self.child.wait().await;
        // What it has started goes with it.
        self.signal(Signal::KILL);
        match ended {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// `SIGTERM`, and `SIGKILL` when its `stop-timeout` is over.
    pub(super) async fn stop(mut self) {
        self.signal(Signal::TERM);
        if timeout(self.stop_timeout, self.child.wait()).await.is_err() {
            let seconds = self.stop_timeout.as_secs_f64();
            say(format_args!("the app did not end within {seconds} s of SIGTERM: killed"));
        }
        self.signal(Signal::KILL);
        // What was killed ends; a failed wait leaves nothing to do.
        let _ = self.child.wait().await;
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone already is as good as ended.
        let _ = kill_process_group(self.group, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once it has been waited for, the number may be another group's.
        if self.is_alive() {
            self.signal(Signal::KILL);
        }
    }
}
