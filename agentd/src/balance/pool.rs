//! The instances behind the balancer, and which of them may be given a connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deploy::local_fleet::{BalancedPort, LocalFleet, LocalInstance};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::info;

use super::health::{self, Health};

/// The instances, shared by the ports that give connections to them.
#[derive(Debug)]
pub(super) struct Pool {
    members: Mutex<Members>,
    /// Counts the changes that may let a waiting connection through.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Members {
    ports: Vec<BalancedPort>,
    instances: Vec<Member>,
    /// Whose turn it is: grows by one with every connection.
    turn: usize,
}

#[derive(Debug)]
struct Member {
    instance: LocalInstance,
    health: Health,
    checker: AbortHandle,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.checker.abort();
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self { members: Mutex::default(), changes: watch::channel(0).0 }
    }
}

impl Pool {
    /// Takes the fleet's instances over. One whose addresses stay keeps its health.
    pub(super) fn follow(self: &Arc<Self>, fleet: &LocalFleet) {
        let mut members = self.lock();
        let mut known = std::mem::take(&mut members.instances);
        members.ports.clone_from(&fleet.ports);
        for instance in &fleet.instances {
            let same = |member: &Member| {
                member.instance.name == instance.name && member.instance.health == instance.health
            };
            let mut member = match known.iter().position(same) {
                Some(index) => known.swap_remove(index),
                None => Member {
                    instance: instance.clone(),
                    health: Health::Silent,
                    checker: tokio::spawn(health::check(
                        instance.name.clone(),
                        instance.health,
                        self.clone(),
                    ))
                    .abort_handle(),
                },
            };
            member.instance.clone_from(instance);
            members.instances.push(member);
        }
        drop(members);
        self.tell();
    }

    /// Where a new connection to `listen` may go, best first: the healthy instances in turn.
    ///
    /// Where none is healthy, those whose agents do not answer: an app outlives its agent, and
    /// goes on serving while that is away. Never those whose agents say that they do not serve.
    pub(super) fn candidates(&self, listen: SocketAddr) -> Vec<SocketAddr> {
        let mut members = self.lock();
        let Some(index) = members.ports.iter().position(|port| port.listen == listen) else {
            return Vec::new();
        };
        let with = |health: Health| {
            let members = members.instances.iter().filter(move |member| member.health == health);
            members.filter_map(|member| member.instance.addresses.get(index).copied())
        };
        let mut candidates: Vec<SocketAddr> = with(Health::Serving).collect();
        if candidates.is_empty() {
            candidates = with(Health::Silent).collect();
        }
        if !candidates.is_empty() {
            let first = members.turn % candidates.len();
            candidates.rotate_left(first);
        }
        members.turn = members.turn.wrapping_add(1);
        candidates
    }

    /// What the agent of instance `name` said last.
    pub(super) fn set_health(&self, name: &str, health: Health) {
        let mut members = self.lock();
        let Some(member) = members.instances.iter_mut().find(|m| m.instance.name == name) else {
            return;
        };
        if std::mem::replace(&mut member.health, health) == health {
            return;
        }
        drop(members);
        info!(instance = name, health = health.word(), "health");
        self.tell();
    }

    /// Waits for changes by which [`Self::candidates`] may give others.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // No code that holds the lock leaves it half changed.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
