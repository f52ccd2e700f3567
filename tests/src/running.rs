//! An `engr` under way, beside the test.

use std::fs;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use crate::engr::{Place, Transcript};

/// How long a test waits for something that should come at once.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A command under way; killed when it is dropped before its end.
#[derive(Debug)]
pub struct Running {
    args: Vec<String>,
    child: Option<Child>,
    /// Where its standard output goes, if that can be read meanwhile.
    output: Option<NamedTempFile>,
}

impl Running {
    /// Starts `engr` with these arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.engr_command();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let args = args.iter().map(ToString::to_string).collect();
        Self { args, child: Some(command.spawn().expect("engr starts")), output: None }
    }

    /// The same; what it prints can be waited for with [`Self::says`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_heard(place: &Place, args: &[&str]) -> Self {
        let output = NamedTempFile::new_in(place.temporary()).expect("a file");
        let mut command = place.engr_command();
        let stdout = output.reopen().expect("the file");
        command.args(args).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let args = args.iter().map(ToString::to_string).collect();
        let child = Some(command.spawn().expect("engr starts"));
        Self { args, child, output: Some(output) }
    }

    /// Returns once it has printed `text`.
    ///
    /// # Panics
    /// When it does not come to that, or was not started to be heard.
    pub async fn says(&self, text: &str) {
        let output = self.output.as_ref().expect("it is heard");
        let began = Instant::now();
        loop {
            let said = fs::read_to_string(output.path()).expect("its output");
            if said.contains(text) {
                return;
            }
            assert!(began.elapsed() < WAIT_MAX, "no {text:?} of {:?}:\n{said}", self.args);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has been waited for.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        // Not waited for yet, so the id is still its own; it may have ended.
        let _ = kill(Pid::from_raw(child.id().try_into().expect("a process id")), signal);
    }

    /// What it printed, once it has ended.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub async fn ended(mut self, place: &Place) -> Transcript {
        let child = self.child.take().expect("it runs");
        let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
        let mut output = waiting.await.expect("the wait ends").expect("engr is waited for");
        if let Some(heard) = &self.output {
            output.stdout = fs::read(heard.path()).expect("its output");
        }
        self.transcript(place, &output)
    }

    /// The same on a thread that may block.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn wait(mut self, place: &Place) -> Transcript {
        let child = self.child.take().expect("it runs");
        self.transcript(place, &child.wait_with_output().expect("engr is waited for"))
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it runs");
        child.try_wait().expect("engr is asked").is_some()
    }

    /// Waits until it watches the bucket: it holds a claim, or waits for something to end.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn watches(&self) {
        let pid = self.child.as_ref().expect("it runs").id();
        let began = Instant::now();
        loop {
            let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
            if links.any(|link| link.ends_with("anon_inode:inotify")) {
                return;
            }
            assert!(began.elapsed() < WAIT_MAX, "{:?} watches nothing", self.args);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn transcript(&self, place: &Place, output: &Output) -> Transcript {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        place.transcript(&args, output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
