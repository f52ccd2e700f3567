//! A fleet on one machine: the files that its parts agree on.
//!
//! ```text
//! $ENGR_HOME/local/<app>/
//!   bucket/               the app's bucket, a store::Directory
//!   fleet.json            LocalFleet: the balancer's ports and the instances behind it
//!   instances/<name>/     one InstanceDir each
//!   balancer.lock         held by flock while the balancer lives; its text is the process id
//!   balancer.log
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::agent_config::InstanceDir;

/// `fleet.json`. Replaced whole, by rename; the balancer reads it again when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LocalFleet {
    /// The app's ports and where the balancer takes their connections.
    pub ports: Vec<BalancedPort>,
    /// The instances, oldest first.
    pub instances: Vec<LocalInstance>,
}

/// One port of the app at the balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BalancedPort {
    /// The app's port, as `engr.json` has it.
    pub port: u16,
    /// Where the balancer listens for it.
    pub listen: SocketAddr,
}

/// One instance of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LocalInstance {
    /// Its name, `<app>-<n>`.
    pub name: String,
    /// Where its agent answers health checks: `GET /health` gives 200 while the app serves.
    pub health: SocketAddr,
    /// Where its app is bound, in the order of [`LocalFleet::ports`].
    pub addresses: Vec<SocketAddr>,
}

/// The folder of a local app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDir(pub PathBuf);

impl LocalDir {
    /// The bucket.
    pub fn bucket(&self) -> PathBuf {
        self.0.join("bucket")
    }

    /// The [`LocalFleet`].
    pub fn fleet(&self) -> PathBuf {
        self.0.join("fleet.json")
    }

    /// All instances' folders.
    pub fn instances(&self) -> PathBuf {
        self.0.join("instances")
    }

    /// One instance's folder.
    pub fn instance(&self, name: &str) -> InstanceDir {
        InstanceDir(self.instances().join(name))
    }

    /// Held by `flock` while the balancer lives; its text is the process id.
    pub fn balancer_lock(&self) -> PathBuf {
        self.0.join("balancer.lock")
    }

    /// What the balancer prints.
    pub fn balancer_log(&self) -> PathBuf {
        self.0.join("balancer.log")
    }
}
