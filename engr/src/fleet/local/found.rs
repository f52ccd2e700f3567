//! What there is of a fleet: the files, and which processes run.

use std::collections::BTreeSet;

use deploy::agent_config::AgentConfig;
use deploy::local_fleet::{LocalDir, LocalFleet};

use super::{daemon, files};
use crate::failure::CommandResult;

/// A fleet as it was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// `fleet.json`; empty where there is none.
    pub(super) fleet: LocalFleet,
    /// Every instance that has a folder, oldest first.
    pub(super) instances: Vec<FoundInstance>,
    /// The balancer's process, if it runs.
    pub(super) balancer_pid: Option<u32>,
}

/// An instance as it was found.
#[derive(Debug)]
pub(super) struct FoundInstance {
    /// Its name.
    pub(super) name: String,
    /// Its settings. None: it was not made to the end.
    pub(super) config: Option<AgentConfig>,
    /// Its agent's process, if it runs.
    pub(super) agent_pid: Option<u32>,
}

impl Found {
    /// Looks at the fleet in `dir`.
    pub(super) fn read(dir: &LocalDir) -> CommandResult<Self> {
        let mut instances = Vec::new();
        for name in files::instance_folders(dir)? {
            let folder = dir.instance(&name);
            let agent = daemon::find(&folder.lock())?;
            let config = files::read_config(&folder)?;
            let agent_pid = agent.map(|agent| agent.pid());
            instances.push(FoundInstance { name, config, agent_pid });
        }
        Ok(Self {
            fleet: files::read_fleet(dir)?.unwrap_or_default(),
            instances,
            balancer_pid: daemon::find(&dir.balancer_lock())?.map(|balancer| balancer.pid()),
        })
    }

    /// The instance of that name.
    pub(super) fn instance(&self, name: &str) -> Option<&FoundInstance> {
        self.instances.iter().find(|instance| instance.name == name)
    }

    /// The ports of this machine that the fleet's instances have for themselves.
    pub(super) fn ports_in_use(&self) -> BTreeSet<u16> {
        let configs = self.instances.iter().filter_map(|instance| instance.config.as_ref());
        configs.flat_map(super::plan::own_ports).collect()
    }
}
