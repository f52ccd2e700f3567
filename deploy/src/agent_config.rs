//! What an agent is told at its start: one JSON file, written by whoever makes the instance.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Tells a daemon of a local fleet which lock file it is started to take: until it has, it is known
/// by this. Not handed on to what the daemon starts.
pub const LOCK_TO_TAKE: &str = "ENGR_LOCK_TO_TAKE";

/// The settings of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentConfig {
    /// The app.
    pub app: String,
    /// The Google Cloud project, or `local`.
    pub project: String,
    /// This instance's name.
    pub instance: String,
    /// The bucket's URL: `file:///…` or `gs://…`.
    pub bucket: String,
    /// Where Cloud Storage is, if not where Google has it: an emulator, which wants no credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Where the app's ports are bound.
    pub listen: Listen,
    /// Where the agent answers health checks. None: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<SocketAddr>,
    /// The user that the app runs as, confined to what is its own. Only an agent that is root can do
    /// that. None: it runs as the agent's user, with its rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Where the app's ports are bound on this instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listen {
    /// Each port as itself, on this address: a machine of its own.
    On(IpAddr),
    /// Each port on an address of its own: many instances on one machine.
    Mapped(BTreeMap<u16, SocketAddr>),
}

impl Listen {
    /// Where `port` of the app is bound; `None` when this instance was made without that port.
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        match self {
            Self::On(ip) => Some(SocketAddr::new(*ip, port)),
            Self::Mapped(addresses) => addresses.get(&port).copied(),
        }
    }
}

/// The files of one instance, all below one folder that only its agent writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceDir(pub PathBuf);

impl InstanceDir {
    /// The [`AgentConfig`]; written by who made the instance.
    pub fn config(&self) -> PathBuf {
        self.0.join("agent.json")
    }

    /// Held by `flock` while a launcher lives, or an agent that has none; its text is that one's
    /// process id, once an agent was up.
    pub fn lock(&self) -> PathBuf {
        self.0.join("agent.lock")
    }

    /// The unpacked artifacts, each under its digest.
    pub fn artifacts(&self) -> PathBuf {
        self.0.join("artifacts")
    }

    /// The environments, each under its digest.
    pub fn environments(&self) -> PathBuf {
        self.0.join("env")
    }

    /// The agent's own binaries, each under its digest.
    pub fn agents(&self) -> PathBuf {
        self.0.join("agents")
    }

    /// What is being brought; nothing in it survives an agent's start.
    pub fn incoming(&self) -> PathBuf {
        self.0.join("incoming")
    }

    /// One folder for each run of the app's process: its ticket, and its output on its way.
    pub fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// What an agent takes over from one that died.
    pub fn handover(&self) -> PathBuf {
        self.0.join("handover")
    }

    /// Which of the agent's binaries is started; written by its launcher alone.
    pub fn choice(&self) -> PathBuf {
        self.0.join("agents.json")
    }

    /// What the agent remembers from one life to the next.
    pub fn memory(&self) -> PathBuf {
        self.0.join("memory.json")
    }

    /// The spool of [`crate::log_line::LogLine`]s: files named by a growing number, `*.jsonl`.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// What the agent prints before its spool is open, and when it panics.
    pub fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }

    /// What the app itself keeps from one version to the next.
    pub fn app_state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
