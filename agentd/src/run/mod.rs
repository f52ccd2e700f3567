//! Carries out what the switch core decides: the sockets, processes and tasks of each version.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::id::Id;
use deploy::release::Release;
use deploy::{Digest, Timestamp};
use nix::sys::signal::Signal;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use complaint::Complaint;

use crate::fetch::Fetcher;
use crate::link::{Held, Link};
use crate::logs::{LastLines, Spool};
use crate::members::Members;
use crate::notices::Notice;
use crate::readiness::Abilities;
use crate::sockets::{Groups, Replaced};
use crate::switch::{Event, RunId, VersionId};

mod adopt;
mod bounds;
mod complaint;
mod names;
mod prepare;
mod start;
mod watcher;

pub use adopt::Standing;
pub use bounds::Bounds;
use watcher::{Idleness, until_silent};

/// The variable by which an instance's processes are known: its folder.
pub const INSTANCE_DIR: &str = "ENGR_INSTANCE_DIR";

/// What comes back to the agent's loop.
#[derive(Debug)]
pub enum News {
    /// For the switch core.
    Event(Event),
    /// What an artifact's bytes tell of it; or why they do not.
    Looked(VersionId, Result<Found, String>),
    /// What the run of a version says of itself, but for its readiness.
    Told(VersionId, RunId, Notice),
    /// All that the release needs that waits for its turn lies on the disk.
    Fetched(Id),
    /// How it is with a version whose rollout is watched: why it is not well, if it is not.
    Wellness(VersionId, Option<String>),
}

/// What an artifact's bytes tell of it.
#[derive(Debug)]
pub struct Found {
    abilities: Abilities,
    /// Why it can never be started, if that is plain to see.
    flaw: Option<String>,
}

/// The sockets, processes and tasks of all versions.
#[derive(Debug)]
pub struct Runner {
    dir: InstanceDir,
    config: AgentConfig,
    fetcher: Arc<Fetcher>,
    spool: Spool,
    news: UnboundedSender<News>,
    link: Link,
    /// What the launcher held for this agent and nothing has taken yet.
    held: Held,
    groups: Arc<Mutex<Groups>>,
    versions: HashMap<VersionId, Version>,
    /// Runs that have ended, and whose traces are to go when that is written down.
    finished: Vec<RunId>,
    /// What was seen to bind its ports by itself, though its bytes say otherwise.
    self_binders: Arc<Mutex<HashSet<Identity>>>,
    bounds: Bounds,
}

/// What decides how a process behaves, as far as the agent can tell.
type Identity = (Digest, Option<Digest>, Vec<String>);

#[derive(Debug)]
struct Version {
    release: Arc<Release>,
    abilities: Abilities,
    /// It is handed its sockets; else it binds its ports by itself.
    is_handed: bool,
    process: Option<Process>,
    last_lines: LastLines,
}

/// A process of a version, and the tasks about it.
#[derive(Debug)]
struct Process {
    run: RunId,
    pid: u32,
    /// See [`crate::process::handle::start_time`].
    start: u64,
    members: Members,
    /// It had ended when this agent took it over, and the news is on its way.
    had_ended: bool,
    started: Timestamp,
    is_ready: bool,
    /// What it says that it does.
    status: Option<String>,
    /// The inodes of the sockets that it was handed.
    handed: Vec<u64>,
    /// Changes whenever it says that it is alive.
    alive: watch::Sender<()>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identity(release: &Release) -> Identity {
    (release.artifact.digest, release.environment, release.settings.args.clone())
}

impl Runner {
    /// A runner without versions.
    pub fn new(
        dir: InstanceDir,
        config: AgentConfig,
        fetcher: Arc<Fetcher>,
        spool: Spool,
        news: UnboundedSender<News>,
        (link, held): (Link, Held),
        bounds: Bounds,
    ) -> Self {
        Self {
            dir,
            config,
            fetcher,
            spool,
            news,
            link,
            held,
            groups: Arc::default(),
            versions: HashMap::new(),
            finished: Vec::new(),
            self_binders: Arc::default(),
            bounds,
        }
    }

    fn addresses<'a>(&'a self, ports: &'a [u16]) -> impl Iterator<Item = SocketAddr> + 'a {
        ports.iter().filter_map(|port| self.config.listen.address(*port))
    }

    /// Where the app of this release is reached, for the report.
    pub fn shown_addresses(&self, release: &Release) -> Vec<String> {
        self.addresses(&release.settings.ports).map(|address| address.to_string()).collect()
    }

    /// Where the app is asked that serves this port.
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        self.addresses(&[port]).next()
    }

    /// New connections go to the version from now on.
    pub fn steer(&mut self, id: VersionId) {
        for group in lock(&self.groups).values_mut() {
            if let Err(error) = group.steer(id) {
                tracing::error!(%error, address = %group.address(), "cannot steer connections");
            }
        }
    }

    /// Of the new connections the version gets the share that its settings name.
    pub fn share_out(&mut self, id: VersionId) {
        let Some(version) = self.versions.get(&id) else { return };
        let share = version.release.settings.canary_share;
        for group in lock(&self.groups).values_mut() {
            if let Err(error) = group.share_out(share.per_mille, id) {
                tracing::error!(%error, address = %group.address(), "cannot share connections out");
            }
        }
    }

    /// Says [`Event::Idle`] when the version has nothing left to do. The first look is now: the loop
    /// may have much to write down before a task gets to run.
    pub fn await_idle(&mut self, id: VersionId) {
        let Some(version) = self.versions.get_mut(&id) else { return };
        let (news, groups, release) =
            (self.news.clone(), self.groups.clone(), version.release.clone());
        let Some(process) = version.process.as_mut().filter(|_| version.is_handed) else {
            // Connections cannot be kept away from an app that binds by itself.
            let _ = news.send(News::Event(Event::Idle(id)));
            return;
        };
        let (pid, complaint) = (process.pid, Complaint::default());
        let mut idleness = Idleness { id, pid, release, groups, since: None, complaint };
        idleness.look();
        let task = tokio::spawn(async move {
            if let Err(error) = idleness.wait().await {
                // The deadline for connections ends this.
                tracing::warn!(%error, "cannot wait for the old version's last work");
                return;
            }
            let _ = news.send(News::Event(Event::Idle(id)));
        });
        process.tasks.push(task.abort_handle());
    }

    /// Signals the version's processes.
    pub fn signal(&mut self, id: VersionId, signal: Signal) {
        if let Some(process) = self.versions.get(&id).and_then(|version| version.process.as_ref()) {
            tracing::info!(pid = process.pid, %signal, "signalled");
            if let Err(error) = process.members.signal(signal) {
                tracing::warn!(%error, pid = process.pid, %signal, "cannot signal all of the app");
            }
        }
    }

    /// The version's process is ready.
    pub fn ready(&mut self, id: VersionId) {
        if let Some(process) = self.versions.get_mut(&id).and_then(|v| v.process.as_mut()) {
            process.is_ready = true;
        }
        self.watch_over(id);
    }

    /// What was waited for in vain, where the version did not become ready.
    pub fn awaited(&self, id: VersionId) -> Option<String> {
        let version = self.versions.get(&id)?;
        let health = version.release.settings.health.as_ref();
        match (version.abilities.tells_readiness, health) {
            (true, None) => Some("it did not say READY=1".to_owned()),
            (false, Some(health)) => Some(format!("GET {} did not answer 2xx or 3xx", health.path)),
            (true, Some(health)) => Some(format!(
                "it did not say READY=1, or GET {} did not answer 2xx or 3xx",
                health.path
            )),
            (false, None) => None,
        }
    }

    /// The version's process has ended.
    pub fn ended(&mut self, id: VersionId) {
        if let Some(process) = self.versions.get_mut(&id).and_then(|it| it.process.take()) {
            self.finished.push(process.run);
        }
    }

    /// Removes the traces of runs that have ended. Their end is written down: nobody will ask for
    /// their tickets again.
    pub fn clean_up(&mut self) {
        for run in self.finished.drain(..) {
            names::of_run(run).iter().for_each(|name| self.link.drop(name));
            let folder = names::run_folder(&self.dir, run);
            if let Err(error) = std::fs::remove_dir_all(&folder)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, folder = %folder.display(), "traces of a run are left");
            }
        }
    }

    /// Gives the version's sockets up and forgets it.
    pub fn discard(&mut self, id: VersionId) {
        self.versions.remove(&id);
        let mut groups = lock(&self.groups);
        for (port, group) in groups.iter_mut() {
            match group.remove(id) {
                Ok(None) => {}
                Ok(Some(Replaced { left, by })) => {
                    self.link.drop(&names::socket(*port, left));
                    if let Some((by, socket)) = by.and_then(|by| Some((by, group.socket_of(by)?))) {
                        self.link.hold(&names::socket(*port, by), socket);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, address = %group.address(), "a socket cannot leave");
                }
            }
        }
        let unused: Vec<u16> =
            groups.iter().filter(|(_, group)| group.is_empty()).map(|(port, _)| *port).collect();
        drop(groups);
        self.close_groups(&unused);
        self.bounds.discard(id);
    }

    /// Nobody listens on these ports any more.
    fn close_groups(&self, ports: &[u16]) {
        for port in ports {
            let Some(group) = lock(&self.groups).remove(port) else { continue };
            match group.close() {
                Ok(inodes) => inodes
                    .into_iter()
                    .for_each(|inode| self.link.drop(&names::socket(*port, inode))),
                Err(error) => tracing::error!(%error, port, "a socket cannot be closed"),
            }
        }
    }

    /// What the version's process says that it does.
    pub fn status(&self, id: VersionId) -> Option<String> {
        self.versions.get(&id)?.process.as_ref()?.status.clone()
    }

    /// The process of that run says what it does.
    pub fn set_status(&mut self, id: VersionId, run: RunId, status: String) {
        let process = self.versions.get_mut(&id).and_then(|version| version.process.as_mut());
        if let Some(process) = process.filter(|process| process.run == run) {
            process.status = Some(status).filter(|status| !status.is_empty());
        }
    }

    /// The version's process says that it is alive.
    pub fn alive(&self, id: VersionId) {
        if let Some(process) = self.versions.get(&id).and_then(|version| version.process.as_ref()) {
            process.alive.send_replace(());
        }
    }

    /// From now on the version's process has to say now and then that it is alive, if its settings
    /// want that.
    fn watch_over(&mut self, id: VersionId) {
        let Some(version) = self.versions.get_mut(&id) else { return };
        let Some(interval) = version.release.settings.watchdog else { return };
        let Some(process) = &mut version.process else { return };
        let alive = process.alive.subscribe();
        let task = tokio::spawn(until_silent(interval.0, alive, process.members.clone()));
        process.tasks.push(task.abort_handle());
    }

    /// Whether the version has a process, or had one whose end is not told yet.
    pub fn has_process(&self, id: VersionId) -> bool {
        self.versions.get(&id).is_some_and(|version| version.process.is_some())
    }

    /// Whether this is the version's process now.
    pub fn runs(&self, id: VersionId, run: RunId) -> bool {
        let process = self.versions.get(&id).and_then(|version| version.process.as_ref());
        process.is_some_and(|process| process.run == run)
    }

    /// The version's process, and since when it runs.
    pub fn process(&self, id: VersionId) -> Option<(u32, Timestamp)> {
        let process = self.versions.get(&id)?.process.as_ref()?;
        (!process.had_ended).then_some((process.pid, process.started))
    }

    /// Whether the version's process had ended when this agent took it over, and the news of it is on
    /// its way.
    pub fn had_ended(&self, id: VersionId) -> bool {
        let process = self.versions.get(&id).and_then(|version| version.process.as_ref());
        process.is_some_and(|process| process.had_ended)
    }

    /// The version's last lines.
    pub fn last_lines(&self, id: VersionId) -> Vec<String> {
        self.versions.get(&id).map(|version| version.last_lines.get()).unwrap_or_default()
    }

    /// The artifacts that versions run from.
    pub fn artifacts(&self) -> Vec<Digest> {
        self.versions.values().map(|version| version.release.artifact.digest).collect()
    }
}

/// Why an executable does not start, in words that lead on.
fn cannot_execute(executable: &str, arch: &str, error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::ENOEXEC) => {
            format!(" (it was built for {arch}; is it an executable of this machine?)")
        }
        Some(libc::EACCES) => " (it is not marked as executable)".to_owned(),
        Some(libc::ENOENT) => " (it, or the interpreter that it names, is missing)".to_owned(),
        _ => String::new(),
    };
    format!("cannot execute {executable}: {error}{why}")
}
