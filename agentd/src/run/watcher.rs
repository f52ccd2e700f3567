//! The tasks about one process: its readiness, its end, and, when it is old, its last work.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deploy::release::Release;
use nix::sys::signal::Signal;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::bounds::{KILLED_WITHIN, ran_out_of_memory};
use super::complaint::Complaint;
use super::{News, lock};
use crate::alarm::{Alarm, now};
use crate::drain::Sockets;
use crate::link::{ENDED_BEFORE_WITHIN, ENDED_WITHIN, Link};
use crate::logs::LastLines;
use crate::members::Members;
use crate::notices::{Notice, NotifySocket};
use crate::process::handle::Handle;
use crate::readiness::{self, Abilities};
use crate::sockets::Groups;
use crate::switch::{Event, Exit, RunId, Time, VersionId};

/// The pause between two looks at an old version.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The pause between two looks at a new version that binds by itself.
const LISTENS_EVERY: Duration = Duration::from_millis(10);

/// How long an old version's queue must be empty until it is believed (facts of the kernel: a
/// connection whose handshake is under way joins the queue only at its end).
const QUEUE_EMPTY_FOR: Duration = Duration::from_millis(500);

/// How long a process that is told to abort may take, with its core dump.
const ABORT_MAX: Duration = Duration::from_secs(10);

/// What the tasks about one process need.
#[derive(Clone, Debug)]
pub(super) struct Watcher {
    pub(super) id: VersionId,
    pub(super) run: RunId,
    pub(super) pid: u32,
    /// None: it has ended.
    pub(super) handle: Option<Arc<Handle>>,
    pub(super) members: Members,
    /// The run's folder.
    pub(super) traces: PathBuf,
    /// It had ended when the agent began to look after it.
    pub(super) had_ended: bool,
    pub(super) link: Link,
    pub(super) news: UnboundedSender<News>,
    pub(super) address: Option<SocketAddr>,
    pub(super) release: Arc<Release>,
    pub(super) handed: Vec<u64>,
    pub(super) abilities: Abilities,
    pub(super) groups: Arc<Mutex<Groups>>,
    pub(super) binds_itself: Arc<AtomicBool>,
}

impl Watcher {
    /// Hears what the app says of itself. That it is ready is said once: it lies on the disk, as the
    /// file `ready`, before the word for it is gone.
    pub(super) async fn listen(
        self,
        notify: NotifySocket,
        said: watch::Sender<bool>,
        ready: PathBuf,
    ) {
        let heard = async || -> io::Result<()> {
            loop {
                for notice in notify.next(self.pid, |pid| self.members.has(pid)).await? {
                    if notice == Notice::Ready {
                        std::fs::write(&ready, "")?;
                        said.send_replace(true);
                    } else {
                        let _ = self.news.send(News::Told(self.id, self.run, notice));
                    }
                }
                notify.done()?;
            }
        };
        if let Err(error) = heard().await {
            tracing::error!(%error, "the app's own word cannot be heard any more");
            std::future::pending().await
        }
    }

    pub(super) async fn until_ready(self, mut said: watch::Receiver<bool>) {
        let port = self.release.settings.ports.first().copied();
        let health = self.release.settings.health.as_ref().zip(self.address);
        let lead = |source: Option<u16>| {
            let mut groups = lock(&self.groups);
            if let Some(group) = port.and_then(|port| groups.get_mut(&port))
                && let Err(error) = group.lead(source, self.id)
            {
                tracing::error!(%error, "cannot lead the probe");
            }
        };
        let ready = async {
            if health.is_some() {
                self.until_it_listens().await;
            }
            readiness::wait(self.abilities, &mut said, health, lead).await
        };
        let waited = tokio::select! {
            waited = ready => waited,
            () = self.until_it_binds() => return self.make_way(),
        };
        if let Err(error) = waited {
            // The deadline of the release ends this.
            tracing::error!(%error, "cannot hear whether the app is ready");
            return;
        }
        if self.has_own_listener(&mut Complaint::default()) {
            return self.make_way();
        }
        let _ = self.news.send(News::Event(Event::Ready(self.id)));
    }

    /// Waits until an app that binds by itself listens where its health path is asked: until then it
    /// is another version that answers there.
    async fn until_it_listens(&self) {
        let Some(address) = self.address.filter(|_| self.handed.is_empty()) else { return };
        let mut complaint = Complaint::default();
        loop {
            let sockets = Sockets::of_session(self.pid);
            match sockets.and_then(|sockets| sockets.listens(address.port(), &[])) {
                Ok(true) => return,
                Ok(false) => {}
                // The deadline of the release ends this.
                Err(error) => complaint.about(&error, "cannot see which sockets the app has"),
            }
            tokio::time::sleep(LISTENS_EVERY).await;
        }
    }

    /// Waits until the app listens on its port with a socket of its own, though it was handed one.
    async fn until_it_binds(&self) {
        let mut complaint = Complaint::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.has_own_listener(&mut complaint) {
                return;
            }
        }
    }

    /// It leaves the sockets that it was handed, so it must be started without them: they stand in
    /// its way.
    fn make_way(&self) {
        tracing::info!("the app leaves the sockets that it was handed, and binds by itself");
        self.binds_itself.store(true, Ordering::Relaxed);
        if let Err(error) = self.members.signal(Signal::SIGKILL) {
            tracing::warn!(%error, pid = self.pid, "cannot end all of the app");
        }
    }

    fn has_own_listener(&self, complaint: &mut Complaint) -> bool {
        let Some(address) = self.address.filter(|_| !self.handed.is_empty()) else { return false };
        let listens = Sockets::of_session(self.pid)
            .and_then(|sockets| sockets.listens(address.port(), &self.handed));
        listens.unwrap_or_else(|error| {
            complaint.about(&error, "cannot see which sockets the app has");
            false
        })
    }

    /// Waits for its end, and says how it was. `end` tells those who take its output.
    pub(super) async fn until_ended(
        self,
        end: watch::Sender<bool>,
        outputs: Vec<JoinHandle<()>>,
        last: LastLines,
    ) {
        let mut exit = self.ended().await;
        // What it wrote before its end is there by now.
        end.send_replace(true);
        for output in outputs {
            // A panic there was printed, and loses lines, not the end.
            let _ = output.await;
        }
        let in_use =
            |line: &String| line.contains("ddress already in use") || line.contains("EADDRINUSE");
        let binds_itself = self.binds_itself.load(Ordering::Relaxed);
        let has_ports = !self.release.settings.ports.is_empty();
        exit.address_in_use = binds_itself || has_ports && last.get().iter().any(in_use);
        let killed = exit.signal == Some(libc::SIGKILL);
        // Nobody's child any more, once the launcher that it was a child of has died.
        let is_unknown = exit.code.is_none() && exit.signal.is_none();
        exit.out_of_memory = (killed || is_unknown)
            && ran_out_of_memory(&self.members, &self.traces).unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot see whether the app ran out of memory");
                false
            });
        tracing::info!(release = self.release.number, pid = self.pid, "{exit}");
        let _ = self.news.send(News::Event(Event::Exited(self.id, exit)));
    }

    async fn ended(&self) -> Exit {
        let within = if self.had_ended { ENDED_BEFORE_WITHIN } else { ENDED_WITHIN };
        let Some(handle) = &self.handle else {
            self.end_rest().await;
            return self.link.ended(self.pid, within).await.unwrap_or_default();
        };
        if let Err(error) = handle.ended().await {
            tracing::error!(%error, pid = self.pid, "the app's end cannot be waited for");
            std::future::pending::<()>().await;
        }
        // Its number is taken until it is reaped, and so its session is known.
        self.end_rest().await;
        match handle.reap() {
            Ok(Some(exit)) => exit,
            // Another one's child: an agent before this one has started it.
            Ok(None) => self.link.ended(self.pid, within).await.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, pid = self.pid, "cannot learn how the app ended");
                Exit::default()
            }
        }
    }
    /// Ends what the first process has left: nobody would tell it to end any more.
    async fn end_rest(&self) {
        if let Err(error) = self.members.kill_all(KILLED_WITHIN).await {
            tracing::error!(%error, pid = self.pid, "what the app has left cannot be ended");
        }
    }
}

/// Ends the process with `SIGABRT`, which shows where it hangs, when it has not said for `interval`
/// that it is alive; and kills it when that does not end it.
pub(super) async fn until_silent(
    interval: Duration,
    mut alive: watch::Receiver<()>,
    members: Members,
) {
    loop {
        match tokio::time::timeout(interval, alive.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => break,
        }
    }
    tracing::warn!(?interval, "the app has not said WATCHDOG=1, and is ended");
    for signal in [Signal::SIGABRT, Signal::SIGKILL] {
        if let Err(error) = members.signal(signal) {
            tracing::error!(%error, %signal, "the app cannot be signalled");
        }
        tokio::time::sleep(ABORT_MAX).await;
    }
}

/// Whether an old version still has work.
#[derive(Debug)]
pub(super) struct Idleness {
    pub(super) id: VersionId,
    pub(super) pid: u32,
    pub(super) release: Arc<Release>,
    pub(super) groups: Arc<Mutex<Groups>>,
    /// Every look since then has found nothing.
    pub(super) since: Option<Time>,
    /// Of looks that fail.
    pub(super) complaint: Complaint,
}

impl Idleness {
    /// Waits until nothing has waited in the version's queues for some time and its connections have
    /// ended.
    pub(super) async fn wait(mut self) -> io::Result<()> {
        let mut alarm = Alarm::new()?;
        loop {
            // By the clock, not by the looks: each of those takes its time.
            let next = now() + LOOK_EVERY;
            let enough = self.since.map_or(next, |since| since + QUEUE_EMPTY_FOR);
            alarm.set(Some(next.min(enough)))?;
            alarm.rings().await?;
            let began = now();
            self.look();
            if self.since.is_some_and(|since| since + QUEUE_EMPTY_FOR <= began) {
                return Ok(());
            }
        }
    }

    pub(super) fn look(&mut self) {
        let now = now();
        match self.is_idle() {
            Ok(true) => _ = self.since.get_or_insert(now),
            Ok(false) => self.since = None,
            // The deadline for connections ends this.
            Err(error) => {
                self.since = None;
                self.complaint.about(&error, "cannot see what the old version still does");
            }
        }
    }

    fn is_idle(&self) -> io::Result<bool> {
        let addresses = {
            let groups = lock(&self.groups);
            let mut addresses = Vec::new();
            for group in self.release.settings.ports.iter().filter_map(|port| groups.get(port)) {
                if group.waiting(self.id)? > 0 {
                    return Ok(false);
                }
                addresses.push(group.address());
            }
            addresses
        };
        let sockets = Sockets::of_session(self.pid)?;
        for address in addresses {
            if sockets.connections(address)? > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
