//! What holds a version's processes together, and apart from all else: their cgroup or their mark,
//! their user, and their limits.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::release::Release;
use deploy::settings::Settings;

use super::{Runner, names};
use crate::cgroup::{Delegated, Group, Limits};
use crate::members::{Mark, Members, RUN};
use crate::sandbox::{Confined, Plan, STATE_DIR, Sandbox, User, View, make_state};
use crate::switch::{RunId, VersionId};

/// Ports below this one are root's.
const LOW_PORTS: u16 = 1024;

/// How long the rest of a version may take to die when it was killed.
pub(super) const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// Where the kills for want of memory are written down that were before a run: a file in its folder.
const OOM_KILLS_BEFORE: &str = "oom-kills-before";

/// How this agent bounds the app.
#[derive(Debug, Default)]
pub struct Bounds {
    /// None: the app is the agent's user.
    user: Option<User>,
    /// None: the app's processes are told by their mark.
    cgroup: Option<Delegated>,
}

impl Bounds {
    /// As `config` says; `has_cgroup`: the cgroup that the agent was started in is its own.
    ///
    /// # Errors
    /// When the app cannot be bounded so.
    pub fn new(config: &AgentConfig, has_cgroup: bool) -> anyhow::Result<Self> {
        let user = config.user.as_deref().map(User::find).transpose()?;
        if let Some(user) = &user
            && !nix::unistd::geteuid().is_root()
        {
            anyhow::bail!(
                "the app is to run as {}, and only an agent that is root can do that; run it as root, or leave `user` out of agent.json",
                user.name
            );
        }
        let cgroup = has_cgroup.then(Delegated::own).transpose()?;
        for why in cgroup.iter().flat_map(Delegated::lacking) {
            tracing::warn!("limits do not hold here: {why}");
        }
        Ok(Self { user, cgroup })
    }

    /// Makes what the app keeps from one version to the next.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_state(&self, dir: &InstanceDir) -> anyhow::Result<()> {
        let state = dir.app_state();
        make_state(&state, self.user.as_ref())
            .with_context(|| format!("cannot make {}", state.display()))
    }

    /// The variables that come of it, which an app's own environment cannot change.
    pub(super) fn variables(&self, dir: &InstanceDir, run: RunId) -> Vec<(&'static str, OsString)> {
        let mark = Mark::new(dir.path(), run.0).value().to_owned();
        vec![(RUN, mark), (STATE_DIR, dir.app_state().into())]
    }

    /// The variables of the app's user, in place of the agent's.
    pub(super) fn user_variables(&self) -> Vec<(&'static str, OsString)> {
        let Some(user) = &self.user else { return Vec::new() };
        let name = || OsString::from(&user.name);
        vec![("HOME", user.home.clone().into()), ("USER", name()), ("LOGNAME", name())]
    }

    /// The version's cgroup with its limits, for a process to be made in it.
    pub(super) fn group(&self, id: VersionId, release: &Release) -> io::Result<Option<Group>> {
        let Some(cgroup) = &self.cgroup else {
            if let Some(limit) = first_limit(&release.settings) {
                tracing::warn!(
                    release = release.number,
                    "`{limit}` does not hold: this agent has no cgroup of its own"
                );
            }
            return Ok(None);
        };
        let group = cgroup.new_group(id.0)?;
        limit(&group, release)?;
        Ok(Some(group))
    }

    /// What the run's process is to enter.
    pub(super) fn sandbox(
        &self,
        dir: &InstanceDir,
        run: RunId,
        artifact: &Path,
        settings: &Settings,
        binds_low_ports: bool,
    ) -> io::Result<Sandbox> {
        let traces = names::run_folder(dir, run);
        let view = |_| View::make(&traces, dir.path(), artifact, &dir.app_state());
        let view = self.user.as_ref().map(view).transpose()?;
        let confined = self.user.as_ref().zip(view.as_ref());
        let confined = confined.map(|(user, view)| Confined { user, binds_low_ports, view });
        let nofile = u64::from(settings.nofile);
        let sandbox = Sandbox::prepare(&Plan { nofile, confined })?;
        // Nobody asked for the default.
        if sandbox.nofile() < nofile && settings.nofile != Settings::default().nofile {
            let less = sandbox.nofile();
            tracing::warn!(less, "`nofile` is {nofile}, and this agent may give less");
        }
        Ok(sandbox)
    }

    /// What belongs to the run of the version whose first process is known.
    pub(super) fn members(
        &self,
        dir: &InstanceDir,
        id: VersionId,
        run: RunId,
        (pid, start): (u32, u64),
    ) -> io::Result<Members> {
        Ok(match &self.cgroup {
            Some(cgroup) => Members::Group(Arc::new(cgroup.group(id.0)?)),
            None => Members::Marked(Mark::new(dir.path(), run.0).led_by(pid, start)),
        })
    }

    /// Removes the cgroup of a version that has ended.
    pub(super) fn discard(&self, id: VersionId) {
        let Some(cgroup) = &self.cgroup else { return };
        if let Err(error) = cgroup.group(id.0).and_then(|group| group.remove()) {
            tracing::warn!(%error, version = id.0, "its cgroup cannot be removed");
        }
    }

    /// Ends and removes the cgroups that are no version's.
    pub(super) fn discard_all_but(&self, versions: &[VersionId]) -> io::Result<()> {
        let Some(cgroup) = &self.cgroup else { return Ok(()) };
        for (id, group) in cgroup.groups()? {
            if !versions.contains(&VersionId(id)) {
                tracing::warn!(version = id, "ends what an earlier agent has left");
                group.kill()?;
                // What was killed takes a moment to be gone: the next look removes it.
                if !group.is_populated()? {
                    group.remove()?;
                }
            }
        }
        Ok(())
    }
}

fn limit(group: &Group, release: &Release) -> io::Result<()> {
    let cpu_millis = release.settings.cpu.map(|cores| cores.millis);
    let limits = Limits { memory: release.settings.memory.map(|memory| memory.0), cpu_millis };
    match group.limit(&limits) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            tracing::warn!(release = release.number, "a limit does not hold: {error}");
            Ok(())
        }
        limited => limited,
    }
}

fn first_limit(settings: &Settings) -> Option<&'static str> {
    let memory = settings.memory.is_some().then_some("memory");
    memory.or(settings.cpu.is_some().then_some("cpu"))
}

/// Writes down how many were killed for want of memory in the group before the run in `traces`.
pub(super) fn note_oom_kills(group: &Group, traces: &Path) -> io::Result<()> {
    match group.oom_kills()? {
        Some(count) => std::fs::write(traces.join(OOM_KILLS_BEFORE), count.to_string()),
        None => Ok(()),
    }
}

/// Whether one was since then. Without a cgroup of its own nobody can tell.
pub(super) fn ran_out_of_memory(members: &Members, traces: &Path) -> io::Result<bool> {
    let Members::Group(group) = members else { return Ok(false) };
    let before = match std::fs::read_to_string(traces.join(OOM_KILLS_BEFORE)) {
        Ok(text) => text.parse::<u64>().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(before.zip(group.oom_kills()?).is_some_and(|(before, now)| now > before))
}

impl Runner {
    /// Sets the limits of a version that an agent before this one has started: the kernel forgets
    /// them when the controllers are taken back (see [`Delegated::take_back_controllers`]).
    pub(super) fn limit_again(&self, id: VersionId) {
        let (Some(cgroup), Some(version)) = (&self.bounds.cgroup, self.versions.get(&id)) else {
            return;
        };
        let group = cgroup.group(id.0);
        if let Err(error) = group.and_then(|group| limit(&group, &version.release)) {
            tracing::error!(%error, version = id.0, "its limits cannot be set again");
        }
    }

    /// Whether an app that is handed no sockets needs a right to bind its ports.
    pub(super) fn binds_low_ports(&self, release: &Release) -> bool {
        self.addresses(&release.settings.ports).any(|address| address.port() < LOW_PORTS)
    }
}
