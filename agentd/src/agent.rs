//! The agent's life: it takes its instance, follows the bucket, and ends when it is told to and
//! the app has ended.
//!
//! The loop waits for the next event, hands it to the switch core, and begins what the core
//! decides. Whatever takes long runs beside it, and its outcome comes back as an event.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use deploy::Timestamp;
use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::release::{Artifact, Release};
use deploy::report::{
    Agent as AgentReport, Ending, Failure, Report, Stage, Version as VersionReport,
};
use deploy::state::State;
use deploy::store::{self, LastLook, Store};
use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::fetch::Fetcher;
use crate::handover::{Handover, Ledger};
use crate::health::Status;
use crate::launcher::protocol::{ALIVE_EVERY, ToLauncher};
use crate::link::{Held, Link};
use crate::logs::Spool;
use crate::memory::Memory;
use crate::notices::Notice;
use crate::run::{Bounds, INSTANCE_DIR, News, Runner};
use crate::switch::{Action, Event, Exit, Machine, Record, RunId, Time, VersionId, VersionView};
use crate::{follow, health, lock, process, report};

/// How long the last report may take.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(5);

/// Runs the agent of the instance in `dir` until `SIGTERM` or `SIGINT`, and until its app has
/// ended. As a `unit`'s, `SIGTERM` ends the app only when the machine ends.
///
/// It takes over what an agent before it has left: the app's processes, their sockets and output,
/// and a switch that was under way. Without a launcher it takes the instance's lock itself, whose
/// file gets this process's id once the health address is bound. It must run in a
/// [`tokio::task::LocalSet`]. With `cgroup` the cgroup that it was started in is its own.
///
/// # Errors
/// When the instance cannot be run at all: its settings are missing, another agent has it, its
/// folder cannot be written, its health address is taken.
pub async fn run(
    dir: InstanceDir,
    spool: Spool,
    unit: Option<Unit>,
    cgroup: bool,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let config = read_config(&dir)?;
    let (link, mut held) = Link::take().context("the launcher does not answer")?;
    let own_lock = if link.is_there() {
        None
    } else {
        Some(lock::take(&dir.lock(), "agent of this instance")?)
    };
    let bounds = Bounds::new(&config, cgroup)?;
    bounds.make_state(&dir)?;
    let store = store::open(&config.bucket, || follow::access(&config))?;
    let last_look = LastLook::default();
    let status = Status { last_look: last_look.clone(), ..Status::default() };
    let (status, told) = watch::channel(status);
    if let Some(address) = config.health {
        let bound = health::listen(address, &link, &mut held);
        let listener =
            bound.with_context(|| format!("cannot answer health checks on {address}"))?;
        tokio::spawn(health::serve(listener, told));
    }
    let (reports, newest) = watch::channel(None);
    let reporter = tokio::spawn(report::write_reports(store.clone(), newest, last_look.clone()));
    let (news, mut arriving) = mpsc::unbounded_channel();
    let ends = Ends { news, status, reports, link: link.clone(), held, bounds };
    let mut agent = Agent::new(&dir, &config, store.clone(), spool, ends)?;
    let (states, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(follow::follow(store, config.app.clone(), states, last_look));
    tokio::spawn(link.clone().listen());
    match &own_lock {
        Some(lock) => {
            lock.publish_pid()?;
            // Without systemd this does nothing.
            if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
                tracing::warn!(%error, "cannot tell systemd that the agent is up");
            }
        }
        None => link.tell(&ToLauncher::Up),
    }
    tracing::info!(
        instance = config.instance,
        version = env!("CARGO_PKG_VERSION"),
        "the agent is up"
    );
    agent.begin();
    let mut alive = tokio::time::interval(ALIVE_EVERY);
    alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !agent.is_over {
        let wake = agent.wake_in();
        tokio::select! {
            Some(news) = arriving.recv() => agent.hear(news),
            Some(state) = seen.recv() => agent.see(state),
            _ = terminate.recv() => match unit.as_ref().map(Unit::machine_ends) {
                None => agent.step(Event::Stop),
                Some(true) => agent.step(Event::ShutDown),
                Some(false) => {
                    tracing::info!("the unit stops, and the app goes on");
                    break;
                }
            },
            _ = interrupt.recv() => agent.step(Event::Stop),
            _ = alive.tick() => link.tell(&ToLauncher::Alive),
            () = tokio::time::sleep(wake) => agent.step(Event::Tick),
        }
    }
    drop(agent);
    if tokio::time::timeout(LAST_REPORT_WITHIN, reporter).await.is_err() {
        tracing::warn!("the last report could not be written in time");
    }
    tracing::info!("the agent has ended");
    Ok(())
}

/// The service manager's unit that the agent runs in.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The unit's folder for what need not outlive the machine (`RuntimeDirectory=`).
    runtime: PathBuf,
}

impl Unit {
    /// The unit of this process.
    ///
    /// # Errors
    /// When the service manager did not name its folder.
    pub fn own() -> anyhow::Result<Self> {
        let runtime = std::env::var_os("RUNTIME_DIRECTORY")
            .context("RUNTIME_DIRECTORY is not set: the unit needs RuntimeDirectory=")?;
        Ok(Self { runtime: runtime.into() })
    }

    /// Whether it is the machine that ends, and not the unit alone: the unit's `ExecStop=` says so in
    /// a file before the agent gets `SIGTERM`.
    fn machine_ends(&self) -> bool {
        self.runtime.join("machine-ends").exists()
    }
}

/// The kernel's monotonic clock.
fn now() -> Time {
    let now = nix::time::ClockId::CLOCK_MONOTONIC.now().expect("every Linux has this clock");
    Time::from(now)
}

fn read_config(dir: &InstanceDir) -> anyhow::Result<AgentConfig> {
    let path = dir.config();
    let shown = path.display();
    let data = std::fs::read(&path).with_context(|| format!("cannot read {shown}"))?;
    serde_json::from_slice(&data).with_context(|| format!("{shown} is not an agent's settings"))
}

/// All that the loop holds.
struct Agent {
    dir: InstanceDir,
    instance: String,
    machine: Machine,
    runner: Runner,
    memory: Memory,
    /// What of it lies on the disk.
    saved: Option<Memory>,
    fetcher: Arc<Fetcher>,
    news: mpsc::UnboundedSender<News>,
    ledger: Ledger,
    /// What this agent begins with, until it has begun.
    undone: Vec<Action>,
    /// Versions that had a process coming when the agent before died.
    lost: Vec<VersionId>,
    started: Timestamp,
    newest: Option<Arc<Release>>,
    prefetched: Option<Artifact>,
    launcher: Option<u32>,
    status: watch::Sender<Status>,
    reports: watch::Sender<Option<Report>>,
    is_over: bool,
    /// When it ended with its machine.
    left: Option<Timestamp>,
}

/// What the loop's state is tied to.
struct Ends {
    news: mpsc::UnboundedSender<News>,
    status: watch::Sender<Status>,
    reports: watch::Sender<Option<Report>>,
    link: Link,
    held: Held,
    bounds: Bounds,
}

impl Agent {
    fn new(
        dir: &InstanceDir,
        config: &AgentConfig,
        store: Arc<dyn Store>,
        spool: Spool,
        ends: Ends,
    ) -> anyhow::Result<Self> {
        let Ends { news, status, reports, link, held, bounds } = ends;
        let launcher = link.is_there().then(std::os::unix::process::parent_id);
        let fetcher =
            Fetcher::new(store, dir.clone()).context("cannot use the instance's folder")?;
        let fetcher = Arc::new(fetcher);
        let mut memory = Memory::load(&dir.memory()).context("cannot read the memory")?;
        // What was good lies on the disk, unless somebody has taken it away.
        let lies = |good: &Release| fetcher.artifact_path(&good.artifact.digest).exists();
        memory.good = memory.good.filter(lies);
        let (ledger, handed) =
            Ledger::open(&dir.handover()).context("cannot use the handover's file")?;
        let mut runner = Runner::new(
            dir.clone(),
            config.clone(),
            fetcher.clone(),
            spool,
            news.clone(),
            (link, held),
            bounds,
        );
        let handed = handed.unwrap_or_else(|error| {
            tracing::error!(%error, "what the agent before left is not understood: the app starts anew");
            None
        });
        let (machine, undone, lost) = match handed {
            Some(handed) => take_over(&mut runner, handed),
            None => {
                let machine = start_anew(dir, &mut runner, &memory)?;
                let actions = machine.begin();
                (machine, actions, Vec::new())
            }
        };
        Ok(Self {
            dir: dir.clone(),
            instance: config.instance.clone(),
            machine,
            runner,
            newest: memory.good.clone().map(Arc::new),
            memory,
            saved: None,
            fetcher,
            news,
            ledger,
            undone,
            lost,
            started: Timestamp::now(),
            prefetched: None,
            launcher,
            status,
            reports,
            is_over: false,
            left: None,
        })
    }

    fn begin(&mut self) {
        let actions = std::mem::take(&mut self.undone);
        self.act(actions);
        self.runner.drop_unclaimed();
        for version in std::mem::take(&mut self.lost) {
            self.step(Event::Exited(version, Exit::default()));
        }
        self.step(Event::Tick);
    }

    /// How long until the core wants to be woken.
    fn wake_in(&self) -> Duration {
        const NEVER: Duration = Duration::from_secs(3600);
        self.machine.wake_at().map_or(NEVER, |at| at.saturating_sub(now()))
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Looked(id, found) => {
                if let Some(event) = self.runner.looked(id, found) {
                    self.step(event);
                }
            }
            News::Event(event) => {
                match &event {
                    Event::Exited(id, _) => self.runner.ended(*id),
                    Event::Ready(id) => self.runner.ready(*id),
                    _ => {}
                }
                self.step(event);
            }
            News::Told(id, run, notice) if self.runner.runs(id, run) => match notice {
                // The tasks about the process wait for it.
                Notice::Ready => {}
                Notice::Stopping => self.step(Event::Stopping(id)),
                Notice::Extend(by) => self.step(Event::Extend(id, by)),
                Notice::Status(status) => {
                    self.runner.set_status(id, run, status);
                    self.step(Event::Tick);
                }
                Notice::Alive => self.runner.alive(id),
                Notice::Unwell => {
                    tracing::warn!("the app says that it is not well, and is ended");
                    self.runner.signal(id, Signal::SIGABRT);
                }
            },
            // The last words of a process whose end is known.
            News::Told(..) => {}
        }
    }

    fn see(&mut self, state: State) {
        if let Some(artifact) = state.claim.and_then(|claim| claim.artifact) {
            self.prefetch(artifact);
        }
        if let Some(release) = state.release {
            let release = Arc::new(release);
            self.newest = Some(release.clone());
            self.step(Event::Desired(release));
        }
    }

    /// The head start: what is about to be published is brought already.
    fn prefetch(&mut self, artifact: Artifact) {
        if self.prefetched.replace(artifact) == Some(artifact) {
            return;
        }
        let fetcher = self.fetcher.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = fetcher.artifact(&artifact).await {
                // The release's own fetch tries again, and tells.
                tracing::debug!(error = &error as &dyn std::error::Error, "no head start");
            }
        });
    }

    fn step(&mut self, event: Event) {
        let actions = self.machine.step(now(), event);
        self.act(actions);
    }

    /// Carries out what a step called for. An agent that takes over finds what was decided, and
    /// whether all of it was done.
    fn act(&mut self, actions: Vec<Action>) {
        if !actions.is_empty() {
            self.write_down(&actions);
        }
        for action in actions {
            tracing::debug!(?action, "acts");
            match action {
                Action::Fetch(release) => self.fetch(release),
                Action::Prepare { version, release, binds_itself } => {
                    self.runner.prepare(version, release, binds_itself);
                }
                Action::Start(version, run) => self.runner.start(version, run),
                Action::ShareOut(version) => self.runner.share_out(version),
                Action::Steer(version) => self.runner.steer(version),
                Action::AwaitIdle(version) => self.runner.await_idle(version),
                Action::Terminate(version) => self.runner.signal(version, Signal::SIGTERM),
                Action::Kill(version) => self.runner.signal(version, Signal::SIGKILL),
                Action::Discard(version) => self.runner.discard(version),
                Action::Record(record) => self.record(record),
                Action::End => {
                    self.is_over = true;
                    self.left = self.machine.ends_with_its_machine().then(Timestamp::now);
                }
            }
        }
        self.remember();
        self.write_down(&[]);
        self.runner.clean_up();
        self.publish();
    }

    fn write_down(&mut self, undone: &[Action]) {
        let standing = self.runner.standing();
        let written = if self.is_over {
            self.ledger.clear()
        } else {
            self.ledger.write(&self.machine, undone, &standing)
        };
        if let Err(error) = written {
            tracing::error!(%error, "the handover cannot be written: another agent would start the app anew");
        }
    }

    fn fetch(&self, release: Arc<Release>) {
        let (fetcher, news) = (self.fetcher.clone(), self.news.clone());
        tokio::task::spawn_local(async move {
            let event = match fetcher.release(&release).await {
                Ok(()) => Event::Fetched(release.id.clone()),
                Err(error) => Event::FetchFailed(
                    release.id.clone(),
                    format!("{:#}", anyhow::Error::new(error)),
                ),
            };
            let _ = news.send(News::Event(event));
        });
    }

    fn record(&mut self, record: Record) {
        let at = Timestamp::now();
        match record {
            Record::Switched { release, note } => {
                tracing::info!(release, note, "switched");
                let outcome = self.memory.outcome(release);
                if outcome.ended.is_none() {
                    outcome.switched = Some(at);
                    outcome.note = note;
                }
            }
            Record::Done { release } => {
                tracing::info!(release, "settled");
                self.memory.outcome(release).ended = Some(Ending::Done);
                self.prune();
            }
            Record::Failed { release, version, stage, message, exit } => {
                tracing::warn!(release, ?stage, message, "the release failed");
                let last_lines = version.map(|version| self.runner.last_lines(version));
                let awaited = version.and_then(|version| self.runner.awaited(version));
                let message =
                    match awaited.filter(|_| stage == Stage::Ready && exit == Exit::default()) {
                        Some(awaited) => format!("{message}: {awaited}"),
                        None => message,
                    };
                let failure = Failure {
                    release,
                    at,
                    stage,
                    message,
                    exit_code: exit.code,
                    signal: exit.signal,
                    last_lines: last_lines.unwrap_or_default(),
                };
                self.memory.last_failure = Some(failure.clone());
                let outcome = self.memory.outcome(release);
                // A release that served here before, and fails at a later start, did serve.
                outcome.ended.get_or_insert(Ending::Failed(failure));
            }
            Record::Crashed { release, version, exit } => {
                tracing::warn!(release, "the app {exit}, and is started again");
                self.memory.last_failure = Some(Failure {
                    release,
                    at,
                    stage: Stage::Serve,
                    message: format!("it {exit} while it served"),
                    exit_code: exit.code,
                    signal: exit.signal,
                    last_lines: self.runner.last_lines(version),
                });
            }
        }
    }

    /// Keeps the newest artifacts; what runs, and what would run next time, stays in any case.
    fn prune(&self) {
        let Some(good) = self.machine.retained().good else { return };
        let mut keep = self.runner.artifacts();
        keep.extend(self.newest.as_ref().map(|release| release.artifact.digest));
        if let Err(error) = self.fetcher.prune(&good.artifact.digest, &keep) {
            tracing::warn!(%error, "old artifacts cannot be removed");
        }
    }

    /// Writes the memory, if it has changed. A write that failed is tried again at the next step.
    fn remember(&mut self) {
        let retained = self.machine.retained();
        self.memory.good = retained.good.map(|good| Release::clone(&good));
        self.memory.rejected = retained.rejected;
        if self.saved.as_ref() == Some(&self.memory) {
            return;
        }
        match self.memory.save(&self.dir.memory()) {
            Ok(()) => self.saved = Some(self.memory.clone()),
            Err(error) => {
                tracing::error!(%error, "the memory cannot be written: a restart would not know of it");
            }
        }
    }

    /// Hands the newest report on, if it says anything new.
    fn publish(&self) {
        let snapshot = self.machine.snapshot();
        let addresses = self.newest.as_ref().map(|newest| self.runner.shown_addresses(newest));
        let report = Report {
            instance: self.instance.clone(),
            written: self.started,
            agent: AgentReport {
                pid: std::process::id(),
                launcher: self.launcher,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: self.started,
            },
            looked: None,
            addresses: addresses.unwrap_or_default(),
            seen: snapshot.seen,
            phase: snapshot.phase,
            serving: snapshot.serving.and_then(|version| self.version(version)),
            draining: snapshot.draining.iter().filter_map(|v| self.version(*v)).collect(),
            outcomes: self.memory.outcomes.clone(),
            left: self.left,
            last_failure: self.memory.last_failure.clone(),
        };
        let is_new = !snapshot.is_restoring && self.reports.borrow().as_ref() != Some(&report);
        if is_new {
            self.status.send_modify(|status| {
                (status.healthy, status.report) = (snapshot.healthy, Some(report.clone()));
            });
            self.reports.send_replace(Some(report));
        } else if self.status.borrow().healthy != snapshot.healthy {
            self.status.send_modify(|status| status.healthy = snapshot.healthy);
        }
    }

    fn version(&self, view: VersionView) -> Option<VersionReport> {
        let (pid, started) = self.runner.process(view.id)?;
        let status = self.runner.status(view.id);
        Some(VersionReport { release: view.release, pid, started, restarts: view.restarts, status })
    }
}

/// Goes on where the agent before died.
fn take_over(runner: &mut Runner, handed: Handover) -> (Machine, Vec<Action>, Vec<VersionId>) {
    let Handover { machine, undone, standing, .. } = handed;
    let starting: Vec<(VersionId, RunId)> = undone
        .iter()
        .filter_map(|action| match action {
            Action::Start(version, run) => Some((*version, *run)),
            _ => None,
        })
        .collect();
    runner.take_over(standing, &starting);
    let (actions, lost) = machine.take_over(undone, |version| runner.has_process(version));
    tracing::info!(actions = actions.len(), lost = lost.len(), "took over from the agent before");
    (machine, actions, lost)
}

/// Nothing tells what an agent before has left, or the machine has started anew.
fn start_anew(dir: &InstanceDir, runner: &mut Runner, memory: &Memory) -> anyhow::Result<Machine> {
    let ended = process::sweep(INSTANCE_DIR, dir.path().as_os_str());
    match ended.context("cannot look for processes of an earlier agent")? {
        0 => {}
        count => tracing::warn!(count, "ended processes that an earlier agent had left"),
    }
    runner.take_over(Default::default(), &[]);
    match std::fs::remove_dir_all(dir.runs()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", dir.runs().display()));
        }
        _ => {}
    }
    // No earlier core has come so far: it would have had to start a process every millisecond.
    let runs_begun = Timestamp::now().as_millisecond().try_into().unwrap_or(0);
    Ok(Machine::new(memory.retained(), runs_begun))
}
