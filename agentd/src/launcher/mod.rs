//! The launcher: the process that an agent lives under, too simple to fail.
//!
//! ```text
//!   systemd, or `engr` on a local fleet
//!     └─ agentd launch          holds descriptors, reaps, starts the agent anew
//!          └─ agentd run        all the rest; may be killed, or replaced, at any moment
//!               └─ the app      in a session of its own
//! ```
//!
//! - It *starts* the agent, and starts it anew when it dies or hangs. An agent that exits with 0 was
//!   asked to end, and the launcher ends with it.
//! - It *holds* what must not be closed while no agent lives: the listening sockets, so that
//!   connections wait instead of being refused; the app's output, so that writing never fails; the
//!   sockets on which the app says that it is ready. Under systemd the same descriptors lie in the
//!   service manager's store too, and so outlive the launcher itself.
//! - It *reaps*: what loses its parent becomes its child (`PR_SET_CHILD_SUBREAPER`). So a new agent
//!   learns how an app ended that was never its child.
//! - It *chooses* which agent to start ([`choice`]): one that an update brought is on trial until it
//!   says that it is good.
//!
//! It is one thread in one loop, waits in `poll` alone, and talks with the agent by messages on one
//! socket pair ([`protocol`]). It reads no configuration and knows nothing of releases or buckets.

mod agent;
pub mod choice;
mod held;
pub mod protocol;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use deploy::agent_config::InstanceDir;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::lock::{self, Lock};
use agent::Agent;
use choice::Choice;
use held::Held;
use protocol::{Ended, ToAgent, ToLauncher};

/// An agent is killed that has not said for this long that it is alive. It says so every
/// [`protocol::ALIVE_EVERY`].
const SILENT_MAX: Duration = Duration::from_secs(35);

/// An agent that ends so often within [`SHORT_LIFE`] is started anew at once; after that with a
/// pause, which doubles from [`PAUSE_MIN`] to [`PAUSE_MAX`].
const PROMPT_STARTS: u32 = 3;
const SHORT_LIFE: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How many ends are remembered for an agent that asks later.
const ENDED_MAX: usize = 256;

/// Runs until the agent was asked to end and has.
///
/// # Errors
/// When the instance has a launcher already, or the agent cannot be started or fails before it was
/// ever up.
pub fn run(dir: InstanceDir, flags: Vec<String>) -> anyhow::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    let signals = signals().context("cannot take signals")?;
    let lock = lock::take(&dir.lock(), "agent of this instance")?;
    let own = std::env::current_exe().context("cannot find the agent's own program")?;
    let mut launcher = Launcher {
        held: Held::take_stored(),
        choice: Choice::load(&dir)?,
        dir,
        own,
        flags,
        lock,
        ended: VecDeque::new(),
        agent: None,
        start_at: Some(Instant::now()),
        short_lives: 0,
        is_ending: false,
        was_up: false,
        outcome: None,
    };
    loop {
        launcher.pass_time()?;
        if let Some(outcome) = launcher.outcome.take() {
            return outcome;
        }
        launcher.wait(&signals)?;
        launcher.take_signals(&signals)?;
        launcher.take_messages();
        launcher.reap()?;
    }
}

fn signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD].into_iter().for_each(|it| set.add(it));
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

struct Launcher {
    dir: InstanceDir,
    /// This program, which is the agent too where no update has named another.
    own: PathBuf,
    /// What the agent gets on its command line besides its folder.
    flags: Vec<String>,
    lock: Lock,
    held: Held,
    choice: Choice,
    /// How processes ended that were reaped here, newest last.
    ended: VecDeque<Ended>,
    agent: Option<Agent>,
    /// When the agent is to be started.
    start_at: Option<Instant>,
    /// How many agents in a row have ended soon.
    short_lives: u32,
    /// The launcher was told to end, and passed it on.
    is_ending: bool,
    /// An agent has been up in this launcher's life.
    was_up: bool,
    outcome: Option<anyhow::Result<()>>,
}

impl Launcher {
    /// What is due by now.
    fn pass_time(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            self.start()?;
        }
        let Some(agent) = self.agent.as_mut().filter(|agent| !agent.is_killed) else {
            return Ok(());
        };
        if agent.silent_for(now) > SILENT_MAX {
            eprintln!("agentd: the agent (process {}) hangs, and is killed", agent.pid);
            agent.kill();
        } else if self.choice.is_overdue(now) {
            eprintln!("agentd: the agent on trial has not said that it is good, and is killed");
            agent.kill();
        }
        Ok(())
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let program = self.choice.program(now).unwrap_or(self.own.clone());
        match Agent::start(&program, &self.dir, &self.flags) {
            Ok(agent) => self.agent = Some(agent),
            Err(error) if program == self.own && !self.was_up => {
                return Err(error).with_context(|| format!("cannot start {}", program.display()));
            }
            Err(error) => {
                eprintln!("agentd: cannot start {}: {error}", program.display());
                self.agent_ended(now, None);
            }
        }
        Ok(())
    }

    fn wait(&self, signals: &SignalFd) -> anyhow::Result<()> {
        let now = Instant::now();
        // One that was killed ends by itself.
        let living = self.agent.as_ref().filter(|agent| !agent.is_killed);
        let overdue = living.map(|agent| agent.heard + SILENT_MAX);
        let trial = living.and_then(|_| self.choice.overdue_at());
        let due = [self.start_at, overdue, trial].into_iter().flatten().min();
        let timeout = due.map_or(PollTimeout::NONE, |at| {
            // Rounded up: to wake too early would be to wake over and over.
            let millis = at.saturating_duration_since(now).as_millis() + 1;
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let link = self.agent.as_ref().and_then(|agent| agent.link.as_ref());
        fds.extend(link.map(|link| PollFd::new(link.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for the agent"),
        }
    }

    fn take_signals(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        while let Some(signal) = signals.read_signal().context("cannot take signals")? {
            let number = signal.ssi_signo as i32;
            if number != Signal::SIGTERM as i32 && number != Signal::SIGINT as i32 {
                continue;
            }
            self.is_ending = true;
            match &self.agent {
                Some(agent) => agent.signal(Signal::SIGTERM),
                // It is between two lives: the next one is told when it is up.
                None if self.was_up => self.start_at = Some(Instant::now()),
                None => self.outcome = Some(Ok(())),
            }
        }
        Ok(())
    }

    /// Takes what the agent has said.
    fn take_messages(&mut self) {
        loop {
            let Some(link) = self.agent.as_ref().and_then(|agent| agent.link.as_ref()) else {
                return;
            };
            match protocol::receive::<ToLauncher>(link.as_fd()) {
                Ok(Some((message, descriptor))) => self.hear(message, descriptor),
                Ok(None) => return,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    // From an agent that is newer than this: it does without.
                    eprintln!("agentd: what the agent says is not understood: {error}");
                }
                Err(error) => {
                    if error.kind() != std::io::ErrorKind::UnexpectedEof {
                        eprintln!("agentd: the agent cannot be heard any more: {error}");
                    }
                    // Its end follows, or that it is silent for too long.
                    if let Some(agent) = &mut self.agent {
                        agent.link = None;
                    }
                    return;
                }
            }
        }
    }

    fn hear(&mut self, message: ToLauncher, descriptor: Option<std::os::fd::OwnedFd>) {
        let now = Instant::now();
        if let Some(agent) = &mut self.agent {
            agent.heard = now;
        }
        match (message, descriptor) {
            (ToLauncher::Hold(name), Some(descriptor)) => self.held.hold(name, descriptor),
            (ToLauncher::Hold(name), None) => eprintln!("agentd: {name} came without a descriptor"),
            (ToLauncher::Drop(name), _) => self.held.drop(&name),
            (ToLauncher::Give, _) => self.give(),
            (ToLauncher::Up, _) => self.up(),
            (ToLauncher::Alive, _) => held::notify("WATCHDOG=1"),
            (ToLauncher::Status(text), _) => held::notify(&format!("STATUS={text}")),
            (ToLauncher::Try(digest), _) => self.choice.try_out(digest, now),
            (ToLauncher::CallOff, _) => self.choice.call_off(),
            (ToLauncher::Good(digest), _) => self.choice.good(digest),
        }
    }

    fn give(&mut self) {
        let Some(link) = self.agent.as_ref().and_then(|agent| agent.link.as_ref()) else { return };
        let given = ToAgent::Given(self.ended.iter().copied().collect());
        let held = self.held.iter().map(|(name, it)| (ToAgent::Held(name.to_owned()), Some(it)));
        for (message, descriptor) in held.chain([(given, None)]) {
            if let Err(error) = protocol::send_within(link.as_fd(), &message, descriptor) {
                eprintln!("agentd: the agent does not take what is held for it: {error}");
                return;
            }
        }
    }

    fn up(&mut self) {
        // Whoever looks for the instance's process finds the one to be told to end.
        if !std::mem::replace(&mut self.was_up, true)
            && let Err(error) = self.lock.publish_pid()
        {
            eprintln!("agentd: {error:#}");
        }
        held::notify("READY=1");
        if self.is_ending
            && let Some(agent) = &self.agent
        {
            agent.signal(Signal::SIGTERM);
        }
    }

    fn reap(&mut self) -> anyhow::Result<()> {
        loop {
            let ended = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    Ended { pid: pid.as_raw(), code: Some(code), signal: None }
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    Ended { pid: pid.as_raw(), code: None, signal: Some(signal as i32) }
                }
                Ok(_) | Err(Errno::ECHILD) => return Ok(()),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context("cannot reap"),
            };
            if self.agent.as_ref().is_some_and(|agent| agent.pid == ended.pid) {
                // What it said last counts.
                self.take_messages();
                self.agent_ended(Instant::now(), Some(ended));
                continue;
            }
            if self.ended.len() == ENDED_MAX {
                self.ended.pop_front();
            }
            self.ended.push_back(ended);
            let link = self.agent.as_ref().and_then(|agent| agent.link.as_ref());
            if let Some(link) = link
                && let Err(error) = protocol::send(link.as_fd(), &ToAgent::Ended(ended), None)
            {
                // It asks again at its next start; until then it knows of the end, not how.
                eprintln!("agentd: the agent is not told of an end: {error}");
            }
        }
    }

    fn agent_ended(&mut self, now: Instant, ended: Option<Ended>) {
        let lived = self.agent.take().map_or(Duration::ZERO, |agent| now - agent.born);
        let code = ended.and_then(|ended| ended.code);
        if code == Some(0) {
            self.outcome = Some(Ok(()));
            return;
        }
        if let Some(code) = code.filter(|_| !self.was_up && !self.choice.is_on_trial()) {
            self.outcome = Some(Err(anyhow::anyhow!("the agent ended with code {code}")));
            return;
        }
        eprintln!("agentd: the agent {}, and is started anew", ended.unwrap_or_default());
        self.choice.crashed(now);
        self.short_lives = if lived < SHORT_LIFE { self.short_lives + 1 } else { 0 };
        self.start_at = Some(now + pause(self.short_lives));
    }
}

fn pause(short_lives: u32) -> Duration {
    match short_lives.checked_sub(PROMPT_STARTS) {
        None | Some(0) => Duration::ZERO,
        Some(more) => PAUSE_MAX.min(PAUSE_MIN * 2_u32.pow((more - 1).min(16))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_dies_again_and_again_is_started_ever_more_slowly() {
        let pauses: Vec<u128> = (0..10).map(|lives| pause(lives).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 0, 100, 200, 400, 800, 1600, 2000]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }
}
