//! Carries out what the update core decides. What takes long runs beside the agent's loop, and comes
//! back to it as an event.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deploy::agent_config::InstanceDir;
use deploy::desired_agent::AgentBinary;
use deploy::report::{Agent, Report};
use deploy::reports::Reports;
use deploy::store::Store;
use deploy::{Digest, Timestamp};
use tokio::sync::{Mutex, mpsc};

use super::{Action, Binaries, Event, FellBack, Home, Machine, Neighbour, Now, Retained, check};

/// What holds the agent, and starts it anew when it dies.
pub trait Launcher {
    /// Tells it that `binary` is on trial, and executes that in this process's place, as the agent
    /// of the same instance. Gives something only if that failed; then the trial is called off.
    fn execute(&mut self, binary: &AgentBinary, path: &Path) -> io::Error;

    /// The binary of this digest, which runs, is good: it is the one to go back to from now on. May
    /// be said again.
    ///
    /// # Errors
    /// When the launcher cannot be told.
    fn say_good(&mut self, digest: &Digest) -> io::Result<()>;
}

/// The update core and its hands.
#[derive(Debug)]
pub struct Updater {
    machine: Machine,
    dir: InstanceDir,
    store: Arc<dyn Store>,
    binaries: Binaries,
    reports: Arc<Mutex<Reports>>,
    events: mpsc::UnboundedSender<Event>,
    born: Instant,
}

impl Updater {
    /// Goes on with what an earlier life of this agent left; gives the actions to begin with, once
    /// [`Self::retained`] is saved. What comes of them is sent to `events`, to be handed to
    /// [`Self::step`].
    pub fn resume(
        dir: InstanceDir,
        store: Arc<dyn Store>,
        binaries: Binaries,
        home: Home,
        kept: Retained,
        fell_back: Option<&FellBack>,
        events: mpsc::UnboundedSender<Event>,
    ) -> (Self, Vec<Action>) {
        let born = Instant::now();
        let (machine, actions) = Machine::resume(now(born), home, kept, fell_back);
        let reports = Arc::default();
        (Self { machine, dir, store, binaries, reports, events, born }, actions)
    }

    /// Takes one event, and gives the actions to begin, once [`Self::retained`] is saved.
    #[must_use = "what is decided must be saved and then begun"]
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let before = self.machine.view();
        let actions = self.machine.step(now(self.born), event);
        let after = self.machine.view();
        if before != after
            && let Some(after) = after
        {
            tracing::info!(update = %after.id, phase = after.phase.word(), "the agent's update");
        }
        actions
    }

    /// How long until [`Self::step`] wants a tick. None: it waits for something else.
    pub fn wake_in(&self) -> Option<Duration> {
        self.machine.wake_at().map(|at| at.saturating_sub(self.born.elapsed()))
    }

    /// What must be saved before the actions of a step are begun.
    pub fn retained(&self) -> &Retained {
        self.machine.retained()
    }

    /// The agent's part of a report.
    pub fn report(&self, started: Timestamp) -> Agent {
        let running = self.machine.running();
        Agent {
            pid: std::process::id(),
            launcher: None,
            version: running.version.clone(),
            started,
            digest: Some(running.digest),
            update: self.machine.view(),
            bad: self.machine.bad().to_vec(),
        }
    }

    /// Hears that `report` is in the bucket: [`Self::step`] takes what this gives.
    pub fn written(report: &Report) -> Event {
        Event::Written(report.agent.update.clone())
    }

    /// Begins an action. It must run in a [`tokio::task::LocalSet`].
    pub fn begin(&self, action: Action, launcher: &mut dyn Launcher) {
        match action {
            Action::Fetch(binary) => self.fetch(binary),
            Action::Check(binary) => self.check(binary),
            Action::List(number) => self.list(number),
            Action::Exec(binary) => {
                let error = launcher.execute(&binary, &self.binaries.path(&binary.digest));
                tracing::error!(%error, version = binary.version, "the new agent cannot be executed");
                self.send(Event::ExecFailed(format!("it cannot be executed: {error}")));
            }
            Action::SayGood(digest) => {
                // Said again by the next agent: the launcher starts one when it hears nothing.
                if let Err(error) = launcher.say_good(&digest) {
                    tracing::error!(%error, "cannot tell the launcher that this agent is good");
                }
            }
            Action::Prune(keep) => {
                if let Err(error) = self.binaries.prune(&keep) {
                    tracing::warn!(%error, "old binaries of the agent cannot be removed");
                }
            }
        }
    }

    fn fetch(&self, binary: AgentBinary) {
        let (binaries, events) = (self.binaries.clone(), self.events.clone());
        tokio::task::spawn_local(async move {
            let event = match binaries.bring(&binary).await {
                Ok(()) => Event::Fetched(binary.digest),
                Err(error) => Event::FetchFailed(binary.digest, told(error)),
            };
            // Nobody hears it where the agent ends.
            let _ = events.send(event);
        });
    }

    fn check(&self, binary: AgentBinary) {
        let (path, dir) = (self.binaries.path(&binary.digest), self.dir.clone());
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let event = match check(&path, &binary, &dir).await {
                Ok(()) => Event::Checked(binary.digest),
                Err(error) => Event::CheckFailed(binary.digest, told(error)),
            };
            // Nobody hears it where the agent ends.
            let _ = events.send(event);
        });
    }

    fn list(&self, number: u32) {
        let (store, reports) = (self.store.clone(), self.reports.clone());
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let mut reports = reports.lock().await;
            let event = match reports.refresh(&*store).await {
                Ok(()) => {
                    let all = reports.iter().map(|(_, report)| Neighbour::of(report));
                    Event::Listed(number, all.collect())
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "cannot see how far the other agents are");
                    Event::ListFailed(number)
                }
            };
            // Nobody hears it where the agent ends.
            let _ = events.send(event);
        });
    }

    fn send(&self, event: Event) {
        // Nobody hears it where the agent ends.
        let _ = self.events.send(event);
    }
}

fn now(born: Instant) -> Now {
    Now { since_start: born.elapsed(), clock: Timestamp::now() }
}

/// An error with its causes, for the report.
fn told(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
