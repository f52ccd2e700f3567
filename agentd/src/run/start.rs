//! Starts a version's process: with its sockets, its environment, and the tasks about it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use deploy::Timestamp;
use deploy::log_line::Stream;
use deploy::release::Release;
use tokio::process::Child;

use super::watcher::Watcher;
use super::{INSTANCE_DIR, News, Process, Runner, cannot_execute, lock};
use crate::logs::capture;
use crate::process::{self, Launch};
use crate::readiness::NotifySocket;
use crate::sockets::Group;
use crate::switch::{Event, VersionId};

/// What of the agent's own environment the app gets too.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE"];

impl Runner {
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
}

fn inode(socket: &impl AsFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(socket.as_fd())?.st_ino)
}
