//! Starts a version's process: with its sockets, its environment, and the tasks about it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use deploy::Timestamp;
use deploy::log_line::Stream;
use deploy::release::Release;
use tokio::sync::watch;

use super::watcher::Watcher;
use super::{INSTANCE_DIR, News, Process, Runner, bounds, cannot_execute, lock, names};
use crate::fork::{Fault, Step};
use crate::logs::capture::{Capture, Files};
use crate::notices::NotifySocket;
use crate::process::handle::{self, Handle};
use crate::process::{self, Launch, ticket};
use crate::sockets::Group;
use crate::switch::{Event, RunId, VersionId};

/// What of the agent's own environment the app gets too.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE"];

/// A process, as it was begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) run: RunId,
    pub(super) pid: u32,
    /// See [`handle::start_time`].
    pub(super) start: u64,
    pub(super) started: Timestamp,
    /// The inodes of the sockets that it was handed.
    pub(super) handed: Vec<u64>,
    pub(super) is_ready: bool,
}

impl Runner {
    /// Starts a process of the version. An agent before this one may have begun it: what that one
    /// has started is taken for its process.
    pub fn start(&mut self, id: VersionId, run: RunId) {
        if !self.runs(id, run)
            && let Err(message) = self.try_start(id, run)
        {
            // Nothing of the run is left that the next one would need.
            self.finished.push(run);
            let _ = self.news.send(News::Event(Event::StartFailed(id, message)));
        }
    }

    fn try_start(&mut self, id: VersionId, run: RunId) -> Result<(), String> {
        let version = self.versions.get(&id).ok_or("the version is unknown")?;
        let release = version.release.clone();
        let sockets = if version.is_handed {
            self.open_sockets(id, &release)?
        } else {
            self.close_sockets(&release);
            Vec::new()
        };
        let inodes = sockets.iter().filter_map(|(_, socket)| inode(socket).ok()).collect();
        let notify =
            self.notify_socket(run).map_err(|error| format!("no notify socket: {error}"))?;
        let folder = names::run_folder(&self.dir, run);
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let ticket = folder.join("ticket");
        let taken = ticket::taken_by(&ticket).map_err(|error| error.to_string())?;
        self.open_outputs(run).map_err(|error| format!("nowhere for its output: {error}"))?;
        let (pid, start) = match taken {
            Some(taken) => {
                self.limit_again(id);
                taken
            }
            None => self.launch(id, &release, run, sockets, notify.name())?,
        };
        let begun =
            Begun { run, pid, start, started: Timestamp::now(), handed: inodes, is_ready: false };
        self.attend(id, begun, Some(notify))
    }

    /// Starts the program, and gives its number and start time.
    fn launch(
        &self,
        id: VersionId,
        release: &Release,
        run: RunId,
        sockets: Vec<(String, OwnedFd)>,
        notify: &str,
    ) -> Result<(u32, u64), String> {
        let digest = &release.artifact.digest;
        let manifest = self.fetcher.read_manifest(digest);
        let manifest = manifest.map_err(|error| format!("its manifest cannot be read: {error}"))?;
        let traces = names::run_folder(&self.dir, run);
        let output = [Stream::Out, Stream::Err].map(|it| Files::of(&traces, it).open_for_app());
        let [out, err] = output;
        let output = out.and_then(|out| Ok([out, err?]));
        let output = output.map_err(|error| format!("nowhere for its output: {error}"))?;
        let folder = self.fetcher.artifact_path(digest);
        let ticket = traces.join("ticket");
        let (settings, handed) = (&release.settings, !sockets.is_empty());
        let binds_low_ports = !handed && self.binds_low_ports(release);
        let sandbox = self.bounds.sandbox(&self.dir, run, &folder, settings, binds_low_ports);
        let sandbox = sandbox.map_err(|error| format!("its sandbox cannot be made: {error}"))?;
        let group = self.bounds.group(id, release).and_then(|group| {
            group.as_ref().map_or(Ok(()), |group| bounds::note_oom_kills(group, &traces))?;
            Ok(group)
        });
        let group = group.map_err(|error| format!("its cgroup cannot be made: {error}"))?;
        let launch = Launch {
            program: folder.join(&manifest.executable),
            args: release.settings.args.clone(),
            environment: self.environment(release, run, notify)?,
            folder,
            sockets,
            output,
            ticket: ticket.clone(),
            sandbox,
            group,
        };
        match process::start(launch) {
            // It is a child, and not reaped yet, so it has a start time whether it lives or not.
            Ok(pid) => match handle::start_time(pid).inspect(|_| {
                tracing::info!(release = release.number, pid, "started");
            }) {
                Ok(Some(start)) => Ok((pid, start)),
                Ok(None) => Err("the process has vanished".to_owned()),
                Err(error) => Err(format!("the process cannot be looked at: {error}")),
            },
            // A child of the agent that died has been quicker.
            Err(fault) if fault.error.kind() == io::ErrorKind::AlreadyExists => {
                let taken = ticket::taken_by(&ticket).map_err(|error| error.to_string())?;
                taken.ok_or_else(|| "the ticket has vanished".to_owned())
            }
            Err(Fault { step: Step::Exec, error }) => {
                Err(cannot_execute(&manifest.executable, &manifest.arch, &error))
            }
            Err(fault) => Err(format!("{fault}: {}", fault.error)),
        }
    }

    fn notify_socket(&mut self, run: RunId) -> io::Result<NotifySocket> {
        let name = names::notify(run);
        if let Some(held) = self.held.remove(&name) {
            return NotifySocket::take_over(held);
        }
        let notify = NotifySocket::open()?;
        self.link.hold(&name, notify.as_fd());
        Ok(notify)
    }

    /// One socket for each port, with its name, as copies to hand over.
    fn open_sockets(
        &mut self,
        id: VersionId,
        release: &Release,
    ) -> Result<Vec<(String, OwnedFd)>, String> {
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
                    if let (Some(inode), Some(socket)) = (group.inode(id), group.socket(id)) {
                        self.link.hold(&names::socket(*port, inode), socket);
                    }
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
        self.close_groups(&release.settings.ports);
    }

    fn environment(
        &self,
        release: &Release,
        run: RunId,
        notify: &str,
    ) -> Result<BTreeMap<OsString, OsString>, String> {
        let own = self.fetcher.read_environment(release).map_err(|error| error.to_string())?;
        let inherited = INHERITED
            .iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (OsString::from(name), value)));
        let users = self.bounds.user_variables();
        let users = users.into_iter().map(|(name, value)| (OsString::from(name), value));
        let set = own.0.into_iter().map(|(name, value)| (name.into(), value.into()));
        let mut environment: BTreeMap<OsString, OsString> =
            inherited.chain(users).chain(set).collect();
        let mut put = |name: &str, value: OsString| environment.insert(name.into(), value);
        put("ENGR_APP", self.config.app.clone().into());
        put("ENGR_PROJECT", self.config.project.clone().into());
        put("ENGR_INSTANCE", self.config.instance.clone().into());
        put("ENGR_VERSION", release.number.to_string().into());
        put("ENGR_ARTIFACT", release.artifact.digest.to_string().into());
        put(INSTANCE_DIR, self.dir.path().into());
        put("NOTIFY_SOCKET", notify.into());
        if let Some(interval) = release.settings.watchdog {
            put("WATCHDOG_USEC", interval.0.as_micros().to_string().into());
        }
        for (name, value) in self.bounds.variables(&self.dir, run) {
            put(name, value);
        }
        if let Some(address) = self.addresses(&release.settings.ports).next() {
            put("PORT", address.port().to_string().into());
        }
        Ok(environment)
    }

    /// Begins the tasks about a process: its output, its readiness, its end. It may have ended.
    pub(super) fn attend(
        &mut self,
        id: VersionId,
        begun: Begun,
        notify: Option<NotifySocket>,
    ) -> Result<(), String> {
        let Begun { run, pid, start, started, handed, is_ready } = begun;
        let handle = Handle::open(pid, start)
            .map_err(|error| format!("process {pid} cannot be held: {error}"))?
            .map(Arc::new);
        let members = self.bounds.members(&self.dir, id, run, (pid, start));
        let members = members.map_err(|error| format!("its cgroup is not to be had: {error}"))?;
        let had_ended = handle.as_ref().is_none_or(|handle| !handle.is_alive());
        let (end, ended) = watch::channel(false);
        let outputs = [Stream::Out, Stream::Err]
            .map(|stream| self.capture(id, run, stream))
            .into_iter()
            .collect::<io::Result<Vec<Capture>>>()
            .map_err(|error| format!("its output cannot be taken: {error}"))?;
        let version = self.versions.get_mut(&id).ok_or("the version is unknown")?;
        let release = version.release.clone();
        let watcher = Watcher {
            id,
            had_ended,
            run,
            pid,
            handle,
            members: members.clone(),
            traces: names::run_folder(&self.dir, run),
            link: self.link.clone(),
            news: self.news.clone(),
            address: self
                .config
                .listen
                .address(release.settings.ports.first().copied().unwrap_or(0)),
            release,
            handed: handed.clone(),
            abilities: version.abilities,
            groups: self.groups.clone(),
            binds_itself: Arc::default(),
        };
        let ready = names::run_folder(&self.dir, run).join("ready");
        let (said, is_said) = watch::channel(ready.exists());
        let tasks = [
            notify.map(|notify| tokio::spawn(watcher.clone().listen(notify, said, ready))),
            (!is_ready).then(|| tokio::spawn(watcher.clone().until_ready(is_said))),
        ];
        let tasks = tasks.into_iter().flatten().map(|task| task.abort_handle()).collect();
        let outputs = outputs.into_iter().map(|it| tokio::spawn(it.run(ended.clone()))).collect();
        let last = version.last_lines.clone();
        tokio::spawn(watcher.until_ended(end, outputs, last));
        let status = None;
        let (alive, _) = watch::channel(());
        version.process = Some(Process {
            run,
            pid,
            start,
            members,
            had_ended,
            started,
            is_ready,
            status,
            handed,
            alive,
            tasks,
        });
        if is_ready {
            self.watch_over(id);
        }
        Ok(())
    }

    /// Opens the agent's ends of the run's output. That must be before its process begins: what is
    /// in a FIFO that nobody has open is gone.
    fn open_outputs(&mut self, run: RunId) -> io::Result<()> {
        let folder = names::run_folder(&self.dir, run);
        for stream in [Stream::Out, Stream::Err] {
            let name = names::output(run, stream);
            if !self.held.contains_key(&name) {
                let fifo = Files::of(&folder, stream).open_for_agent()?;
                self.link.hold(&name, fifo.as_fd());
                self.held.insert(name, fifo);
            }
        }
        Ok(())
    }

    fn capture(&mut self, id: VersionId, run: RunId, stream: Stream) -> io::Result<Capture> {
        let files = Files::of(&names::run_folder(&self.dir, run), stream);
        let fifo = match self.held.remove(&names::output(run, stream)) {
            Some(held) => held,
            // A launcher that died has held it; the app still does.
            None => files.open_for_agent()?,
        };
        let version = self.versions.get(&id).ok_or(io::ErrorKind::NotFound)?;
        let (spool, last) = (self.spool.clone(), version.last_lines.clone());
        Capture::new(&files, fifo, run.0, version.release.number, stream, spool, last)
    }
}

fn inode(socket: &impl AsFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(socket.as_fd())?.st_ino)
}
