//! The balancer of a local fleet: one process that stands at the app's address and passes each
//! connection's bytes to one of the instances.
//!
//! ```text
//!   fleet.json ──▶ fleet_file ──▶ Balancer ──▶ pool    who may be given a connection
//!                                    │           ▲
//!                                    │         health  asks each agent, four times a second
//!                                    ▼
//!   clients ────────────────────▶ port ──▶ proxy ────▶ instances
//! ```
//!
//! It knows nothing of the bytes. It only chooses for new connections: one that is open stays with
//! its instance until either side ends it, whatever becomes of the instance's health.

mod fleet_file;
mod health;
mod pool;
mod port;
mod proxy;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use deploy::local_fleet::{LocalDir, LocalFleet};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::lock;
use fleet_file::{Change, FleetFile};
use pool::Pool;

/// How long open connections may go on after the balancer was told to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Runs the balancer of the fleet in `dir` until `SIGTERM` or `SIGINT`, or until the folder goes.
///
/// The lock file gets this process's id once all ports are bound: who reads it there knows that
/// connections are taken.
///
/// # Errors
/// When another balancer runs for this folder, `fleet.json` cannot be read, or a port is taken.
pub async fn run(dir: LocalDir) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let lock = lock::take(&dir.balancer_lock(), "balancer of this fleet")?;
    raise_file_limit();
    let mut file = FleetFile::open(&dir)?;
    let mut balancer = Balancer::default();
    balancer.follow(file.read()?);
    balancer.bind_missing().into_iter().try_for_each(|(listen, error)| {
        Err(anyhow::Error::new(error).context(format!("cannot listen on {listen}")))
    })?;
    lock.publish_pid()?;
    info!(pid = std::process::id(), "the balancer takes connections");

    let mut ended = false;
    while !ended {
        tokio::select! {
            change = file.next() => match change {
                Change::Fleet(fleet) => balancer.follow(fleet),
                Change::Nothing => {}
                Change::FolderGone => {
                    warn!("the fleet's folder is gone");
                    ended = true;
                }
            },
            _ = terminate.recv() => ended = true,
            _ = interrupt.recv() => ended = true,
        }
        for (listen, error) in balancer.bind_missing() {
            warn!(%listen, %error, "cannot listen; trying again");
        }
    }
    tokio::select! {
        () = balancer.end(DRAIN_MAX) => {}
        _ = terminate.recv() => warn!("told to end a second time: open connections are cut"),
        _ = interrupt.recv() => warn!("told to end a second time: open connections are cut"),
    }
    info!("the balancer has ended");
    Ok(())
}

/// Each connection takes two files, and the usual limit of 1024 is soon reached.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!(%error, "cannot raise the limit of open files");
    }
}

/// The ports that are listened on, and the instances behind them.
#[derive(Default)]
struct Balancer {
    pool: Arc<Pool>,
    wanted: LocalFleet,
    /// Dropping the sender ends the port: it takes no more connections.
    open: HashMap<SocketAddr, watch::Sender<()>>,
    /// The ports' tasks, each of which ends with its last connection.
    tasks: JoinSet<()>,
}

impl Balancer {
    /// Takes over a new `fleet.json`. Ports that are new to it are bound by
    /// [`Self::bind_missing`].
    fn follow(&mut self, fleet: LocalFleet) {
        info!(ports = fleet.ports.len(), instances = fleet.instances.len(), "the fleet's file");
        self.open.retain(|listen, _| fleet.ports.iter().any(|port| port.listen == *listen));
        self.pool.follow(&fleet);
        self.wanted = fleet;
    }

    /// Listens on the ports that are not listened on yet; gives those where that failed.
    fn bind_missing(&mut self) -> Vec<(SocketAddr, std::io::Error)> {
        let mut failed = Vec::new();
        // Tasks of ports that went away and whose connections have ended.
        while self.tasks.try_join_next().is_some() {}
        for port in &self.wanted.ports {
            if self.open.contains_key(&port.listen) {
                continue;
            }
            match port::bind(port.listen) {
                Ok(listener) => {
                    let (keep, ended) = watch::channel(());
                    self.tasks.spawn(port::serve(listener, port.listen, self.pool.clone(), ended));
                    self.open.insert(port.listen, keep);
                    info!(port = port.port, listen = %port.listen, "listening");
                }
                Err(error) => failed.push((port.listen, error)),
            }
        }
        failed
    }

    /// Takes no more connections, and waits until the open ones have ended, for at most `limit`.
    async fn end(mut self, limit: Duration) {
        self.open.clear();
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all_ended).await.is_err() {
            warn!("the limit for open connections is reached: they are cut");
        }
    }
}

#[cfg(test)]
mod tests;
