//! The agent's own update, tied to the rest of it.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use deploy::Digest;
use deploy::agent_config::InstanceDir;
use deploy::desired_agent::{AgentBinary, DesiredAgent, OWN_ARCH};
use deploy::report::Agent as AgentReport;
use deploy::store::Store;
use tokio::sync::mpsc;

use super::Agent;
use crate::launcher::choice::Chosen;
use crate::launcher::protocol::{LAUNCHER_VERSION, ToLauncher};
use crate::link::Link;
use crate::update::{Binaries, Event, FellBack, Home, Launcher, Updater, binary_at, own_binary};

/// Which binary runs, and which one the launcher is, with where it lies.
pub(super) type Identity = io::Result<(AgentBinary, AgentBinary, PathBuf)>;

/// The update core, once it is known which binary runs.
#[derive(Debug, Default)]
pub(super) struct Updating {
    updater: Option<Updater>,
    /// It is being found out which binary runs, and nothing is reported until then: others would
    /// take the agent for one that cannot be updated.
    pub(super) is_unknown: bool,
    /// What the newest state that was seen names, if one was.
    wish: Option<Option<DesiredAgent>>,
    was_quiet: Option<bool>,
}

impl Updating {
    pub(super) fn new(is_unknown: bool) -> Self {
        Self { is_unknown, ..Self::default() }
    }
}

/// Finds out which binary runs, beside the loop: megabytes are hashed. An agent without a launcher
/// is not updated: nobody would go back from a bad one.
pub(super) fn identify(link: &Link, told: mpsc::UnboundedSender<Identity>) {
    if !link.is_there() {
        return;
    }
    let launcher = std::os::unix::process::parent_id();
    // Nobody hears it where the agent ends.
    tokio::task::spawn_blocking(move || drop(told.send(look(launcher))));
}

fn look(launcher: u32) -> Identity {
    let own = own_binary()?;
    // Whatever lies under the name by now, this is the program that the launcher is.
    let installed_at = PathBuf::from(format!("/proc/{launcher}/exe"));
    let installed = match same_file(&installed_at, Path::new("/proc/self/exe"))? {
        true => own.clone(),
        false => {
            let version = std::env::var(LAUNCHER_VERSION).map_err(io::Error::other)?;
            binary_at(&installed_at, &version)?
        }
    };
    Ok((own, installed, installed_at))
}

fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (std::fs::metadata(one)?, std::fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

impl Agent {
    /// From now on the agent may be updated.
    pub(super) fn identified(
        &mut self,
        identity: Identity,
        store: Arc<dyn Store>,
        events: mpsc::UnboundedSender<Event>,
    ) {
        self.updating.is_unknown = false;
        if let Err(error) = self.try_identified(identity, store, events) {
            tracing::error!("this agent cannot be updated: {error:#}");
            self.publish();
        }
    }

    fn try_identified(
        &mut self,
        identity: Identity,
        store: Arc<dyn Store>,
        events: mpsc::UnboundedSender<Event>,
    ) -> anyhow::Result<()> {
        let (running, installed, installed_at) = identity?;
        let dir = self.dir.clone();
        let binaries = Binaries::new(store.clone(), dir.clone(), (installed.digest, installed_at))?;
        let fell_back = fell_back(&dir)?;
        let (instance, arch) = (self.instance.clone(), OWN_ARCH.to_owned());
        let home = Home { instance, arch, running, installed };
        let kept = self.memory.update.clone();
        let resumed = Updater::resume(dir, store, binaries, home, kept, fell_back.as_ref(), events);
        let (updater, actions) = resumed;
        self.updating.updater = Some(updater);
        self.carry_on(actions);
        self.update(Event::Up);
        self.tell_quiet();
        if let Some(wish) = self.updating.wish.clone() {
            self.update(Event::Seen(wish));
        }
        Ok(())
    }

    /// Tells the update core of something.
    pub(super) fn update(&mut self, event: Event) {
        if let Some(updater) = &mut self.updating.updater {
            let actions = updater.step(event);
            self.carry_on(actions);
        }
    }

    fn carry_on(&mut self, actions: Vec<crate::update::Action>) {
        let Some(updater) = &self.updating.updater else { return };
        self.memory.update = updater.retained().clone();
        self.remember();
        self.publish();
        let mut becoming = Becoming { link: &self.link };
        let Some(updater) = &self.updating.updater else { return };
        actions.into_iter().for_each(|action| updater.begin(action, &mut becoming));
    }

    /// A state of the bucket names this agent.
    pub(super) fn see_wish(&mut self, wish: Option<DesiredAgent>) {
        self.updating.wish = Some(wish.clone());
        self.update(Event::Seen(wish));
    }

    /// Tells the update core whether a switch is under way, if that is news to it.
    pub(super) fn tell_quiet(&mut self) {
        let is_quiet = self.machine.is_quiet();
        if self.updating.updater.is_some() && self.updating.was_quiet != Some(is_quiet) {
            self.updating.was_quiet = Some(is_quiet);
            self.update(Event::Quiet(is_quiet));
        }
    }

    /// When the update core wants to be woken.
    pub(super) fn update_in(&self) -> Option<std::time::Duration> {
        self.updating.updater.as_ref()?.wake_in()
    }

    /// The agent's part of a report.
    pub(super) fn agent_report(&self) -> AgentReport {
        let report = self.updating.updater.as_ref().map(|updater| updater.report(self.started));
        let report = report.unwrap_or_else(|| AgentReport {
            pid: std::process::id(),
            launcher: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            digest: None,
            update: None,
            bad: Vec::new(),
        });
        AgentReport { launcher: self.launcher, ..report }
    }
}

/// The agent that the launcher has gone back from last, if there is one.
fn fell_back(dir: &InstanceDir) -> anyhow::Result<Option<FellBack>> {
    let chosen = Chosen::load(&dir.choice())?;
    let last = chosen.bad.into_iter().next_back();
    Ok(last.map(|bad| FellBack { digest: bad.digest, reason: bad.reason }))
}

/// This process, that may become another agent.
struct Becoming<'a> {
    link: &'a Link,
}

impl Launcher for Becoming<'_> {
    fn execute(&mut self, binary: &AgentBinary, path: &Path) -> io::Error {
        tracing::info!(version = binary.version, digest = %binary.digest.short(), "becomes another agent");
        self.link.tell(&ToLauncher::Try(binary.digest));
        if let Err(error) = self.link.pass_on() {
            self.link.tell(&ToLauncher::CallOff);
            return error;
        }
        // All other descriptors are closed by it; what they were is written down or held.
        let error = Command::new(path).args(std::env::args_os().skip(1)).exec();
        self.link.tell(&ToLauncher::CallOff);
        match self.link.keep() {
            Ok(()) => error,
            Err(kept) => kept,
        }
    }

    fn say_good(&mut self, digest: &Digest) -> io::Result<()> {
        self.link.tell(&ToLauncher::Good(*digest));
        Ok(())
    }
}
