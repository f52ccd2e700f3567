//! Carries out what the switch core decides: the sockets, processes and tasks of each version.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::log_line::Stream;
use deploy::release::Release;
use deploy::{Digest, Timestamp};
use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use crate::executable;
use crate::fetch::Fetcher;
use crate::logs::{LastLines, Spool, capture};
use crate::process::{self, Launch};
use crate::readiness::{Abilities, NotifySocket};
use crate::sockets::{Group, Groups, can_bind_beside};
use crate::switch::{Event, VersionId, Way};

mod watcher;

use watcher::{Watcher, until_idle};

/// The variable by which an instance's processes are known: its folder.
pub const INSTANCE_DIR: &str = "ENGR_INSTANCE_DIR";

/// What of the agent's own environment the app gets too.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE"];

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

    /// Looks at the artifact's bytes; [`News::Looked`] follows, and goes to [`Self::looked`].
    pub fn prepare(&mut self, id: VersionId, release: Arc<Release>, binds_itself: bool) {
        if binds_itself {
            lock(&self.self_binders).insert(identity(&release));
        }
        let (fetcher, digest) = (self.fetcher.clone(), release.artifact.digest);
        let version = Version {
            release,
            abilities: Abilities::default(),
            is_handed: false,
            process: None,
            last_lines: LastLines::default(),
        };
        self.versions.insert(id, version);
        let news = self.news.clone();
        tokio::task::spawn_blocking(move || {
            // The loop is gone only when the agent ends.
            let _ = news.send(News::Looked(id, look(&fetcher, &digest)));
        });
    }

    /// Decides how the version can follow the one that serves.
    pub fn looked(&mut self, id: VersionId, found: Result<Found, String>) -> Option<Event> {
        let others = || self.versions.iter().filter(|(other, _)| **other != id);
        let others_run = others().any(|(_, other)| other.process.is_some());
        let binding: Vec<&Process> = others()
            .filter(|(_, other)| !other.is_handed)
            .filter_map(|(_, other)| other.process.as_ref())
            .collect();
        let others_bind = !binding.is_empty();
        // One that is not ready may not have bound its port yet, and cannot be seen to.
        let others_are_seen = binding.iter().all(|process| process.is_ready);
        let version = self.versions.get_mut(&id)?;
        let abilities = match found {
            // No other version is ended for one that cannot begin. Where there is none, it is
            // tried, and tried again.
            Ok(Found { flaw: Some(flaw), .. }) if others_run => {
                return Some(Event::PrepareFailed(id, flaw));
            }
            Ok(found) => found.abilities,
            Err(message) => return Some(Event::PrepareFailed(id, message)),
        };
        let release = version.release.clone();
        let ports = &release.settings.ports;
        version.is_handed = abilities.takes_sockets
            && !ports.is_empty()
            && !lock(&self.self_binders).contains(&identity(&release));
        // Bytes that promised one protocol in vain do not speak for the other.
        let misled = abilities.takes_sockets && !version.is_handed && !ports.is_empty();
        version.abilities =
            Abilities { tells_readiness: abilities.tells_readiness && !misled, ..abilities };
        let is_handed = version.is_handed;
        if let Err(message) = self.refresh_addresses(ports) {
            return Some(Event::PrepareFailed(id, message));
        }
        let has_sockets = lock(&self.groups).values().any(|group| !group.is_empty());
        let note = match (ports.is_empty(), is_handed) {
            (true, _) => None,
            (_, true) => others_bind.then_some("the old version binds its port by itself"),
            (_, false) if has_sockets => Some("it binds its port by itself"),
            (_, false) if !others_bind => None,
            (_, false) => (!others_are_seen || !self.addresses(ports).all(can_bind_beside))
                .then_some("it binds its port by itself, without SO_REUSEPORT"),
        };
        let way = match note {
            None => Way::Overlap,
            Some(note) => {
                let note = Some(format!("{note}, so the old version was stopped first"));
                Way::StopFirst { note }
            }
        };
        Some(Event::Prepared(id, way))
    }

    /// The configuration may have other addresses than when the agent started.
    fn refresh_addresses(&mut self, ports: &[u16]) -> Result<(), String> {
        if ports.iter().all(|port| self.config.listen.address(*port).is_some()) {
            return Ok(());
        }
        let path = self.dir.config();
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let config: Result<AgentConfig, _> =
            read.and_then(|data| serde_json::from_slice(&data).map_err(|error| error.to_string()));
        match config {
            Ok(config) => self.config.listen = config.listen,
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
        match ports.iter().find(|port| self.config.listen.address(**port).is_none()) {
            None => Ok(()),
            Some(port) => Err(format!(
                "this instance has no address for port {port}: run `engr {} sync`",
                self.config.app
            )),
        }
    }

    fn addresses<'a>(&'a self, ports: &'a [u16]) -> impl Iterator<Item = SocketAddr> + 'a {
        ports.iter().filter_map(|port| self.config.listen.address(*port))
    }

    /// Where the app of this release is reached, for the report.
    pub fn shown_addresses(&self, release: &Release) -> Vec<String> {
        self.addresses(&release.settings.ports).map(|address| address.to_string()).collect()
    }

    /// Starts a process of the version.
    pub fn start(&mut self, id: VersionId) {
        if let Err(message) = self.try_start(id) {
            let _ = self.news.send(News::Event(Event::StartFailed(id, message)));
        }
    }

    fn try_start(&mut self, id: VersionId) -> Result<(), String> {
        let version = self.versions.get(&id).ok_or("the version is unknown")?;
        let release = version.release.clone();
        let sockets = if version.is_handed {
            self.open_sockets(id, &release)?
        } else {
            self.close_sockets(&release);
            Vec::new()
        };
        let inodes = sockets.iter().filter_map(|(_, socket)| inode(socket).ok()).collect();
        let digest = &release.artifact.digest;
        let manifest = self.fetcher.read_manifest(digest);
        let manifest = manifest.map_err(|error| format!("its manifest cannot be read: {error}"))?;
        let notify = NotifySocket::open().map_err(|error| format!("no notify socket: {error}"))?;
        let folder = self.fetcher.artifact_path(digest);
        let program = folder.join(&manifest.executable);
        let environment = self.environment(&release, notify.name())?;
        let args = release.settings.args.clone();
        let launch = Launch { program, args, environment, folder, sockets };
        let child = process::start(launch)
            .map_err(|error| cannot_execute(&manifest.executable, &manifest.arch, &error))?;
        self.attend(id, child, notify, inodes)
    }

    /// One socket for each port, with its name, as copies to hand over.
    fn open_sockets(
        &mut self,
        id: VersionId,
        release: &Release,
    ) -> Result<Vec<(String, std::os::fd::OwnedFd)>, String> {
        let mut groups = lock(&self.groups);
        let mut sockets = Vec::new();
        for port in &release.settings.ports {
            let address = self.config.listen.address(*port);
            let address = address.ok_or_else(|| format!("there is no address for port {port}"))?;
            let group = groups.entry(*port).or_insert_with(|| Group::new(address));
            if group.socket(id).is_none() {
                let waits_for_old = !release.settings.graceful_shutdown;
                let shared =
                    waits_for_old && group.newest().is_some_and(|old| group.share(id, old));
                if !shared {
                    group
                        .add(id)
                        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
                }
            }
            let socket = group.socket(id).map(|socket| socket.try_clone_to_owned());
            let socket = socket.ok_or_else(|| format!("there is no socket for port {port}"))?;
            sockets.push((port.to_string(), socket.map_err(|error| error.to_string())?));
        }
        Ok(sockets)
    }

    /// An app that binds its ports by itself needs them to be free: the versions that had them
    /// have ended, and if one comes back it gets new sockets.
    fn close_sockets(&mut self, release: &Release) {
        let mut groups = lock(&self.groups);
        for port in &release.settings.ports {
            groups.remove(port);
        }
    }

    fn environment(
        &self,
        release: &Release,
        notify: &str,
    ) -> Result<BTreeMap<OsString, OsString>, String> {
        let own = self.fetcher.read_environment(release).map_err(|error| error.to_string())?;
        let inherited = INHERITED
            .iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (OsString::from(name), value)));
        let set = own.0.into_iter().map(|(name, value)| (name.into(), value.into()));
        let mut environment: BTreeMap<OsString, OsString> = inherited.chain(set).collect();
        let mut put = |name: &str, value: OsString| environment.insert(name.into(), value);
        put("ENGR_APP", self.config.app.clone().into());
        put("ENGR_PROJECT", self.config.project.clone().into());
        put("ENGR_INSTANCE", self.config.instance.clone().into());
        put("ENGR_VERSION", release.number.to_string().into());
        put("ENGR_ARTIFACT", release.artifact.digest.to_string().into());
        put(INSTANCE_DIR, self.dir.path().into());
        put("NOTIFY_SOCKET", notify.into());
        if let Some(address) = self.addresses(&release.settings.ports).next() {
            put("PORT", address.port().to_string().into());
        }
        Ok(environment)
    }

    /// Begins the tasks about a process: its output, its readiness, its end.
    fn attend(
        &mut self,
        id: VersionId,
        mut child: Child,
        notify: NotifySocket,
        handed: Vec<u64>,
    ) -> Result<(), String> {
        let version = self.versions.get_mut(&id).ok_or("the version is unknown")?;
        let pid = child.id().ok_or("the process has ended already")?;
        let release = version.release.clone();
        tracing::info!(release = release.number, pid, "started");
        let number = release.number;
        let (spool, last) = (&self.spool, &version.last_lines);
        let out = child.stdout.take().map(|out| {
            tokio::spawn(capture(out, number, Stream::Out, spool.clone(), last.clone()))
        });
        let err = child.stderr.take().map(|err| {
            tokio::spawn(capture(err, number, Stream::Err, spool.clone(), last.clone()))
        });
        let watcher = Watcher {
            id,
            pid,
            news: self.news.clone(),
            address: self
                .config
                .listen
                .address(release.settings.ports.first().copied().unwrap_or(0)),
            release: release.clone(),
            handed,
            abilities: version.abilities,
            groups: self.groups.clone(),
            binds_itself: Arc::default(),
        };
        let readiness = tokio::spawn(watcher.clone().until_ready(notify));
        let last = last.clone();
        tokio::spawn(async move {
            watcher.until_ended(child, [out, err].into_iter().flatten().collect(), last).await;
        });
        let tasks = vec![readiness.abort_handle()];
        version.process = Some(Process { pid, started: Timestamp::now(), is_ready: false, tasks });
        Ok(())
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

fn inode(socket: &impl AsFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(socket.as_fd())?.st_ino)
}

fn look(fetcher: &Fetcher, digest: &Digest) -> Result<Found, String> {
    let manifest = fetcher.read_manifest(digest);
    let manifest = manifest.map_err(|error| format!("its manifest cannot be read: {error}"))?;
    let folder = fetcher.artifact_path(digest);
    let checked = executable::check(&folder.join(&manifest.executable));
    let flaw = checked.err();
    let flaw = flaw.map(|error| cannot_execute(&manifest.executable, &manifest.arch, &error));
    let abilities = Abilities::of_files(&folder);
    let abilities = abilities.map_err(|error| format!("its artifact cannot be read: {error}"))?;
    Ok(Found { abilities, flaw })
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
