//! Carries out what the switch core decides: the sockets, processes and tasks of each version.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::release::Release;
use deploy::{Digest, Timestamp};
use nix::sys::signal::Signal;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use crate::fetch::Fetcher;
use crate::logs::{LastLines, Spool};
use crate::process::{self};
use crate::readiness::Abilities;
use crate::sockets::Groups;
use crate::switch::{Event, VersionId};

mod prepare;
mod start;
mod watcher;

use watcher::until_idle;

/// The variable by which an instance's processes are known: its folder.
pub const INSTANCE_DIR: &str = "ENGR_INSTANCE_DIR";

/// What comes back to the agent's loop.
#[derive(Debug)]
pub enum News {
    /// For the switch core.
    Event(Event),
    /// What an artifact's bytes tell of it; or why they do not.
    Looked(VersionId, Result<Found, String>),
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
    groups: Arc<Mutex<Groups>>,
    versions: HashMap<VersionId, Version>,
    /// What was seen to bind its ports by itself, though its bytes say otherwise.
    self_binders: Arc<Mutex<HashSet<Identity>>>,
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
    pid: u32,
    started: Timestamp,
    is_ready: bool,
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
    ) -> Self {
        Self {
            dir,
            config,
            fetcher,
            spool,
            news,
            groups: Arc::default(),
            versions: HashMap::new(),
            self_binders: Arc::default(),
        }
    }

    fn addresses<'a>(&'a self, ports: &'a [u16]) -> impl Iterator<Item = SocketAddr> + 'a {
        ports.iter().filter_map(|port| self.config.listen.address(*port))
    }

    /// Where the app of this release is reached, for the report.
    pub fn shown_addresses(&self, release: &Release) -> Vec<String> {
        self.addresses(&release.settings.ports).map(|address| address.to_string()).collect()
    }

    /// New connections go to the version from now on.
    pub fn steer(&mut self, id: VersionId) {
        for group in lock(&self.groups).values_mut() {
            if let Err(error) = group.steer(id) {
                tracing::error!(%error, address = %group.address(), "cannot steer connections");
            }
        }
    }

    /// Says [`Event::Idle`] when the version has nothing left to do.
    pub fn await_idle(&mut self, id: VersionId) {
        let Some(version) = self.versions.get_mut(&id) else { return };
        let (news, groups, release) =
            (self.news.clone(), self.groups.clone(), version.release.clone());
        let Some(process) = version.process.as_mut().filter(|_| version.is_handed) else {
            // Connections cannot be kept away from an app that binds by itself.
            let _ = news.send(News::Event(Event::Idle(id)));
            return;
        };
        let pid = process.pid;
        let task = tokio::spawn(async move {
            until_idle(id, pid, &release, &groups).await;
            let _ = news.send(News::Event(Event::Idle(id)));
        });
        process.tasks.push(task.abort_handle());
    }

    /// Signals the version's processes.
    pub fn signal(&mut self, id: VersionId, signal: Signal) {
        if let Some(process) = self.versions.get(&id).and_then(|version| version.process.as_ref()) {
            tracing::info!(pid = process.pid, %signal, "signalled");
            process::signal(process.pid, signal);
        }
    }

    /// The version's process is ready.
    pub fn ready(&mut self, id: VersionId) {
        if let Some(process) = self.versions.get_mut(&id).and_then(|v| v.process.as_mut()) {
            process.is_ready = true;
        }
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
        if let Some(version) = self.versions.get_mut(&id) {
            version.process = None;
        }
    }

    /// Closes the version's sockets and forgets it.
    pub fn discard(&mut self, id: VersionId) {
        self.versions.remove(&id);
        lock(&self.groups).retain(|_, group| {
            if let Err(error) = group.remove(id) {
                tracing::error!(%error, address = %group.address(), "cannot steer connections");
            }
            !group.is_empty()
        });
    }

    /// The version's process, and since when it runs.
    pub fn process(&self, id: VersionId) -> Option<(u32, Timestamp)> {
        let process = self.versions.get(&id)?.process.as_ref()?;
        Some((process.pid, process.started))
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
