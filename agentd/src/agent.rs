//! The agent's life: it takes its instance, follows the bucket, and ends when it is told to and
//! the app has ended.
//!
//! The loop waits for the next event, hands it to the switch core, and begins what the core
//! decides. Whatever takes long runs beside it, and its outcome comes back as an event.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::health::Status;
use crate::lock;
use crate::logs::Spool;
use crate::memory::Memory;
use crate::run::{INSTANCE_DIR, News, Runner};
use crate::switch::{Action, Event, Exit, Machine, Record, VersionView};
use crate::{follow, health, process, report};

/// How long the last report may take.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(5);

/// Runs the agent of the instance in `dir` until `SIGTERM` or `SIGINT`, and until its app has
/// ended.
///
/// The lock file gets this process's id once the health address is bound. It must run in a
/// [`tokio::task::LocalSet`], on the process's first thread.
///
/// # Errors
/// When the instance cannot be run at all: its settings are missing, another agent has it, its
/// folder cannot be written, its health address is taken.
pub async fn run(dir: InstanceDir, spool: Spool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let config = read_config(&dir)?;
    let lock = lock::take(&dir.lock(), "agent of this instance")?;
    let ended = process::sweep(INSTANCE_DIR, dir.path().as_os_str());
    match ended.context("cannot look for processes of an earlier agent")? {
        0 => {}
        count => tracing::warn!(count, "ended processes that an earlier agent had left"),
    }
    let store = store::open(&config.bucket, || follow::access(&config))?;
    let last_look = LastLook::default();
    let status = Status { last_look: last_look.clone(), ..Status::default() };
    let (status, told) = watch::channel(status);
    if let Some(address) = config.health {
        let bound = health::bind(address).await;
        let listener =
            bound.with_context(|| format!("cannot answer health checks on {address}"))?;
        tokio::spawn(health::serve(listener, told));
    }
    let (reports, newest) = watch::channel(None);
    let written = |_: &Report| {};
    let reports_written = report::write_reports(store.clone(), newest, last_look.clone(), written);
    let reporter = tokio::spawn(reports_written);
    let (news, mut arriving) = mpsc::unbounded_channel();
    let mut agent = Agent::new(&dir, &config, store.clone(), spool, news, status, reports)?;
    let (states, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(follow::follow(store, config.app.clone(), states, last_look));
    lock.publish_pid()?;
    // Without systemd this does nothing; with it, the unit's own time-out ends a wait in vain.
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell systemd that the agent is up");
    }
    tracing::info!(
        instance = config.instance,
        version = env!("CARGO_PKG_VERSION"),
        "the agent is up"
    );
    agent.begin();
    while !agent.is_over {
        let wake = agent.wake_in();
        tokio::select! {
            Some(news) = arriving.recv() => agent.hear(news),
            Some(state) = seen.recv() => agent.see(state),
            _ = terminate.recv() => agent.step(Event::Stop),
            _ = interrupt.recv() => agent.step(Event::Stop),
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
    born: Instant,
    started: Timestamp,
    newest: Option<Arc<Release>>,
    prefetched: Option<Artifact>,
    status: watch::Sender<Status>,
    reports: watch::Sender<Option<Report>>,
    is_over: bool,
}

impl Agent {
    fn new(
        dir: &InstanceDir,
        config: &AgentConfig,
        store: Arc<dyn Store>,
        spool: Spool,
        news: mpsc::UnboundedSender<News>,
        status: watch::Sender<Status>,
        reports: watch::Sender<Option<Report>>,
    ) -> anyhow::Result<Self> {
        let fetcher =
            Fetcher::new(store, dir.clone()).context("cannot use the instance's folder")?;
        let fetcher = Arc::new(fetcher);
        let mut memory = Memory::load(&dir.memory()).context("cannot read the memory")?;
        // What was good lies on the disk, unless somebody has taken it away.
        let lies = |good: &Release| fetcher.artifact_path(&good.artifact.digest).exists();
        memory.good = memory.good.filter(lies);
        let machine = Machine::new(memory.retained());
        let runner = Runner::new(dir.clone(), config.clone(), fetcher.clone(), spool, news.clone());
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
            born: Instant::now(),
            started: Timestamp::now(),
            prefetched: None,
            status,
            reports,
            is_over: false,
        })
    }

    fn begin(&mut self) {
        let actions = self.machine.begin();
        self.act(actions);
    }

    /// How long until the core wants to be woken.
    fn wake_in(&self) -> Duration {
        const NEVER: Duration = Duration::from_secs(3600);
        self.machine.wake_at().map_or(NEVER, |at| at.saturating_sub(self.born.elapsed()))
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
        let actions = self.machine.step(self.born.elapsed(), event);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            tracing::debug!(?action, "acts");
            match action {
                Action::Fetch(release) => self.fetch(release),
                Action::Prepare { version, release, binds_itself } => {
                    self.runner.prepare(version, release, binds_itself);
                }
                Action::Start(version) => self.runner.start(version),
                Action::Steer(version) => self.runner.steer(version),
                Action::AwaitIdle(version) => self.runner.await_idle(version),
                Action::Terminate(version) => self.runner.signal(version, Signal::SIGTERM),
                Action::Kill(version) => self.runner.signal(version, Signal::SIGKILL),
                Action::Discard(version) => self.runner.discard(version),
                Action::Record(record) => self.record(record),
                Action::End => self.is_over = true,
            }
        }
        self.remember();
        self.publish();
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
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: self.started,
                digest: None,
                update: None,
                bad: Vec::new(),
            },
            looked: None,
            addresses: addresses.unwrap_or_default(),
            seen: snapshot.seen,
            phase: snapshot.phase,
            serving: snapshot.serving.and_then(|version| self.version(version)),
            draining: snapshot.draining.iter().filter_map(|v| self.version(*v)).collect(),
            outcomes: self.memory.outcomes.clone(),
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
        Some(VersionReport { release: view.release, pid, started, restarts: view.restarts })
    }
}
