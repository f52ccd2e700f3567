//! The agent's life: it takes its instance, follows the bucket, and ends when it is told to and
//! the app has ended.
//!
//! The loop waits for the next event, hands it to the switch core, and begins what the core
//! decides. Whatever takes long runs beside it, and its outcome comes back as an event.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use deploy::Timestamp;
use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::release::{Artifact, Release};
use deploy::report::Report;
use deploy::state::State;
use deploy::store::{self, LastLook, Store};
use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::alarm::{Alarm, now};
use crate::fetch::Fetcher;
use crate::handover::Ledger;
use crate::health::Status;
use crate::launcher::protocol::{ALIVE_EVERY, ToLauncher};
use crate::link::{Held, Link};
use crate::logs::Spool;
use crate::memory::Memory;
use crate::notices::Notice;
use crate::run::{Bounds, News, Runner};
use crate::switch::{Action, Event, Exit, Machine, Time, VersionId};
use crate::update::Updater;
use crate::{follow, health, lock, report};

mod begin;
mod rollout;
mod tell;
mod unit;
mod updating;
mod wellness;

use begin::{start_anew, take_over};
use rollout::Part;
pub use unit::Unit;
use updating::{Updating, identify};
use wellness::Watched;

/// A wait that something else ends.
const NEVER: Duration = Duration::from_secs(3600);

/// How long the last report may take.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(5);

/// Runs the agent of the instance in `dir` until `SIGTERM` or `SIGINT`, and until its app has
/// ended. As a `unit`'s, `SIGTERM` ends the app only when the machine ends.
///
/// It takes over what an agent before it has left: the app's processes, their sockets and output,
/// and a switch that was under way. Without a launcher it takes the instance's lock itself, whose
/// file gets this process's id once the health address is bound. It must run in a
/// [`tokio::task::LocalSet`]. As a unit's, the cgroup that it was
/// started in is its own.
///
/// # Errors
/// When the instance cannot be run at all: its settings are missing, another agent has it, its
/// folder cannot be written, its health address is taken.
pub async fn run(dir: InstanceDir, spool: Spool, unit: Option<Unit>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let config = read_config(&dir)?;
    let (link, mut held) = Link::take().context("the launcher does not answer")?;
    let own_lock = if link.is_there() {
        None
    } else {
        Some(lock::take(&dir.lock(), "agent of this instance")?)
    };
    let bounds = Bounds::new(&config, unit.is_some())?;
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
    let (rolling, rolls) = watch::channel(None);
    let (updates, mut updated) = mpsc::unbounded_channel();
    let (told_of, events) = (updates.clone(), updates);
    // Nobody hears it where the agent ends.
    let written = move |report: &Report| drop(told_of.send(Updater::written(report)));
    let reports_written =
        report::write_reports(store.clone(), newest, rolls.clone(), last_look.clone(), written);
    let reporter = tokio::spawn(reports_written);
    let (news, mut arriving) = mpsc::unbounded_channel();
    let ends = Ends { news, status, reports, link: link.clone(), held, bounds };
    let mut agent = Agent::new(&dir, &config, store.clone(), spool, ends)?;
    let agents_store = store.clone();
    let (turns, mut conducted) = mpsc::unbounded_channel();
    agent.take_part(store.clone(), turns, rolling);
    let (states, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(follow::follow(store, config.app.clone(), states, rolls, last_look));
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
    let (identity, mut identified) = mpsc::unbounded_channel();
    identify(&link, identity);
    let mut alive = tokio::time::interval(ALIVE_EVERY);
    alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut alarm = Alarm::new().context("cannot have a timer")?;
    while !agent.is_over {
        alarm.set(agent.machine.wake_at()).context("cannot set the timer")?;
        tokio::select! {
            Some(news) = arriving.recv() => agent.hear(news),
            Some(state) = seen.recv() => agent.see(state),
            Some(identity) = identified.recv() => {
                agent.identified(identity, agents_store.clone(), events.clone());
            }
            Some(event) = updated.recv() => agent.update(event),
            Some(event) = conducted.recv() => agent.conduct(event),
            () = tokio::time::sleep(agent.conduct_in()) => {
                agent.conduct(crate::conduct::Event::Tick);
            }
            () = tokio::time::sleep(agent.update_in().unwrap_or(NEVER)) => {
                agent.update(crate::update::Event::Tick);
            }
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
            rung = alarm.rings() => {
                rung.context("cannot wait for the timer")?;
                agent.step(Event::Tick);
            }
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
    ledger: Ledger,
    /// What this agent begins with, until it has begun.
    undone: Vec<Action>,
    /// Versions that had a process coming when the agent before died.
    lost: Vec<VersionId>,
    started: Timestamp,
    /// That moment by the core's clock.
    born: Time,
    newest: Option<Arc<Release>>,
    part: Part,
    watched: Option<Watched>,
    prefetched: Option<Artifact>,
    launcher: Option<u32>,
    link: Link,
    updating: Updating,
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
        let own_link = link.clone();
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
            part: Part::default(),
            watched: None,
            memory,
            saved: None,
            fetcher,
            news,
            ledger,
            undone,
            lost,
            started: Timestamp::now(),
            born: now(),
            prefetched: None,
            launcher,
            link: own_link,
            updating: Updating::new(launcher.is_some()),
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
            News::Fetched(id) => self.fetched(&id),
            News::Wellness(id, unwell) => self.heard_of_health(id, unwell),
            // The last words of a process whose end is known.
            News::Told(..) => {}
        }
    }

    fn see(&mut self, state: State) {
        if let Some(artifact) = state.claim.as_ref().and_then(|claim| claim.artifact) {
            self.prefetch(artifact);
        }
        self.see_wish(state.agent.clone());
        if let Some(release) = &state.release
            && self.newest.as_ref().is_none_or(|newest| newest.id != release.id)
        {
            self.newest = Some(Arc::new(release.clone()));
        }
        self.conduct(crate::conduct::Event::State(Arc::new(state)));
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
        self.watch_health();
        self.publish();
        self.tell_quiet();
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
}
