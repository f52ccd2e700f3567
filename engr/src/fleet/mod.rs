//! The app's instances, whoever provides them: agents on this machine, later VMs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use deploy::store::Store;

use crate::config::AppConfig;
use crate::failure::CommandResult;

mod local;
mod reported;

pub use local::{
    LocalFleetProvider, check_port, instance_folders, local_bucket, local_dir, public_port,
    remove_local_bucket,
};
use reported::ReportedFleet;

/// Hears of each change when it is done.
pub type Told<'a> = &'a (dyn Fn(&Change) + Send + Sync);

/// Makes, lists and removes an app's instances.
#[async_trait(?Send)]
pub trait Provider {
    /// The instances that should report, by name, whether their agents run or not.
    async fn instances(&self) -> CommandResult<Vec<Instance>>;

    /// How a fleet without instances gets some, for people.
    fn how_to_make(&self) -> String;

    /// Where the app is reached, a URL or `host:port` for each port; empty for a worker.
    fn addresses(&self) -> Vec<String>;

    /// What [`Self::apply`] would do to bring the fleet to the app's settings.
    async fn plan(&self) -> CommandResult<Vec<Change>>;

    /// Brings the fleet to the app's settings: makes and removes instances, starts what does not
    /// run. `told` hears of each change when it is done.
    async fn apply(&self, told: Told<'_>) -> CommandResult<()>;

    /// Stops and removes all instances, and whatever stands before them. The bucket stays.
    async fn destroy(&self, told: Told<'_>) -> CommandResult<()>;
}

/// An instance as its provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name, by which it reports.
    pub name: String,
    /// The process of its agent. None: it does not run.
    pub agent_pid: Option<u32>,
    /// Where its app is bound.
    pub addresses: Vec<SocketAddr>,
}

/// One thing that a provider does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An instance is made, and its agent started.
    Create(String),
    /// A stopped instance's agent is started.
    Start(String),
    /// An instance's agent must start anew with other settings.
    Reconfigure(String),
    /// An instance is stopped and removed.
    Remove(String),
    /// The balancer is started, or told of other ports.
    Balancer(String),
}

impl Change {
    /// What was done, for people: `created hello-1`.
    pub fn done(&self) -> String {
        match self {
            Self::Create(name) => format!("created {name}"),
            Self::Start(name) => format!("started {name}"),
            Self::Reconfigure(name) => format!("reconfigured {name}"),
            Self::Remove(name) => format!("removed {name}"),
            Self::Balancer(what) => format!("balancer: {what}"),
        }
    }
}

/// What would be done, for people: `+ create hello-1`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(name) => write!(f, "+ create {name}"),
            Self::Start(name) => write!(f, "+ start {name}"),
            Self::Reconfigure(name) => write!(f, "~ reconfigure {name}"),
            Self::Remove(name) => write!(f, "- remove {name}"),
            Self::Balancer(what) => write!(f, "~ balancer: {what}"),
        }
    }
}

/// The provider of an app's instances, which all go by the bucket `store`.
pub fn provider_of(
    app: &str,
    config: &AppConfig,
    store: Arc<dyn Store>,
) -> CommandResult<Box<dyn Provider>> {
    if config.is_local() {
        return Ok(Box::new(LocalFleetProvider::new(app, config, store)?));
    }
    let project = config.project.as_deref().unwrap_or("none");
    Ok(Box::new(ReportedFleet::new(app, project, store)))
}
