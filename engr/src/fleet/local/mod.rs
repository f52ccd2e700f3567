//! A fleet on this machine: agents and a balancer that live on when `engr` ends.
//!
//! ```text
//!   home     where the app's folder is, and one `engr` at a time in it
//!   found    what is there: the files, and which processes run
//!   plan     what must change (pure)
//!   apply    does it ──▶ ports    which are free, and who has the others
//!                   └──▶ daemon   starts and stops agents and the balancer
//!   orphans  apps whose agent is gone
//! ```

mod apply;
mod daemon;
mod files;
mod found;
mod home;
mod orphans;
mod plan;
mod ports;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use deploy::local_fleet::LocalDir;
use deploy::store::Store;

use super::{Change, Instance, Provider, Told};
use crate::config::AppConfig;
use crate::failure::CommandResult;
use crate::google;
use crate::publish::load_failure;

use found::Found;
use plan::Wanted;

pub use files::instance_folders;
pub use home::local_dir;
pub use ports::{check_port, public_port};

/// Agents on this machine, each with a folder and ports of its own.
#[derive(Debug)]
pub struct LocalFleetProvider {
    app: String,
    dir: LocalDir,
    count: u32,
    ports: Vec<u16>,
    store: Arc<dyn Store>,
}

impl LocalFleetProvider {
    /// The fleet of `app`, as it should be by `config`; its agents go by `store`.
    pub fn new(app: &str, config: &AppConfig, store: Arc<dyn Store>) -> CommandResult<Self> {
        let (dir, count) = (local_dir(app)?, config.instance_count());
        Ok(Self { app: app.to_owned(), dir, count, ports: config.ports(), store })
    }

    /// What the fleet should be: by the app's settings and, for its ports, by the current release
    /// too. Until a release with other ports is published, the ones that it serves stay open.
    async fn wanted(&self, found: &Found) -> CommandResult<Wanted> {
        let store = &*self.store;
        let loaded = deploy::publish::load(store, &self.app).await;
        let state = loaded.map_err(load_failure)?.state;
        let mut ports = self.ports.clone();
        for port in state.release.into_iter().flat_map(|release| release.settings.ports) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        Ok(Wanted {
            app: self.app.clone(),
            bucket: store.url(),
            endpoint: google::endpoint().filter(|_| store.url().starts_with("gs://")),
            count: self.count,
            listen: ports::listen_addresses(&ports, &found.fleet)?,
        })
    }
}

/// The folder of a local app's bucket, unless that is elsewhere. Its parents are made.
pub fn local_bucket(app: &str) -> CommandResult<PathBuf> {
    let dir = local_dir(app)?;
    home::make(&dir)?;
    Ok(dir.bucket())
}

/// Removes the bucket of a local app, which must have no instances any more.
pub fn remove_local_bucket(app: &str) -> CommandResult<()> {
    let dir = local_dir(app)?;
    files::remove_folder(&dir.bucket())?;
    // With anything else in it, it stays.
    let _ = std::fs::remove_dir(&dir.0);
    Ok(())
}

#[async_trait(?Send)]
impl Provider for LocalFleetProvider {
    async fn instances(&self) -> CommandResult<Vec<Instance>> {
        let found = Found::read(&self.dir)?;
        let in_fleet = |name: &str| found.fleet.instances.iter().find(|i| i.name == name);
        let known = found.instances.iter().filter_map(|instance| {
            Some(Instance {
                name: instance.name.clone(),
                agent_pid: instance.agent_pid,
                addresses: in_fleet(&instance.name)?.addresses.clone(),
            })
        });
        Ok(known.collect())
    }

    fn how_to_make(&self) -> String {
        format!("make them with `engr {} sync`", self.app)
    }

    fn addresses(&self) -> Vec<String> {
        // Where the file cannot be read, the addresses are those that it would be made with.
        let fleet = files::read_fleet(&self.dir).ok().flatten().unwrap_or_default();
        ports::public_addresses(&self.ports, &fleet)
    }

    async fn plan(&self) -> CommandResult<Vec<Change>> {
        let found = Found::read(&self.dir)?;
        Ok(plan::changes(&self.wanted(&found).await?, &found))
    }

    async fn apply(&self, told: Told<'_>) -> CommandResult<()> {
        let _lock = home::lock(&self.dir).await?;
        daemon::settle(&self.dir, apply::UP_WITHIN).await?;
        let found = Found::read(&self.dir)?;
        let wanted = self.wanted(&found).await?;
        apply::apply(&self.dir, &*self.store, &wanted, found, told).await
    }

    async fn destroy(&self, told: Told<'_>) -> CommandResult<()> {
        if !self.dir.0.exists() {
            return Ok(());
        }
        let _lock = home::lock(&self.dir).await?;
        daemon::settle(&self.dir, apply::UP_WITHIN).await?;
        let found = Found::read(&self.dir)?;
        apply::destroy(&self.dir, &*self.store, found, told).await
    }
}
