//! Takes over what an agent that died had under way.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use deploy::Timestamp;
use deploy::release::Release;
use deploy::report::LAST_LINES_MAX;
use serde::{Deserialize, Serialize};

use super::start::Begun;
use super::{Identity, Runner, Version, lock, names};
use crate::logs::LastLines;
use crate::notices::NotifySocket;
use crate::process::handle::Handle;
use crate::readiness::Abilities;
use crate::sockets::{Group, GroupStanding};
use crate::switch::{RunId, VersionId};

/// What a runner has under way, to be handed over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Standing {
    versions: BTreeMap<VersionId, VersionStanding>,
    /// By the app's port.
    groups: BTreeMap<u16, GroupStanding>,
    self_binders: Vec<Identity>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct VersionStanding {
    release: Arc<Release>,
    abilities: Abilities,
    is_handed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<ProcessStanding>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ProcessStanding {
    run: RunId,
    pid: u32,
    /// See [`crate::process::handle::start_time`].
    start: u64,
    started: Timestamp,
    is_ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    handed: Vec<u64>,
}

impl Runner {
    /// What would be handed over now.
    pub fn standing(&self) -> Standing {
        let versions = self.versions.iter().map(|(id, version)| {
            let process = version.process.as_ref().map(|process| ProcessStanding {
                run: process.run,
                pid: process.pid,
                start: process.start,
                started: process.started,
                is_ready: process.is_ready,
                status: process.status.clone(),
                handed: process.handed.clone(),
            });
            let Version { release, abilities, is_handed, .. } = version;
            let (release, abilities, is_handed) = (release.clone(), *abilities, *is_handed);
            (*id, VersionStanding { release, abilities, is_handed, process })
        });
        let groups = lock(&self.groups);
        Standing {
            versions: versions.collect(),
            groups: groups.iter().map(|(port, group)| (*port, group.standing())).collect(),
            self_binders: lock(&self.self_binders).iter().cloned().collect(),
        }
    }

    /// Takes over what stood when the agent before died. Processes that have ended meanwhile are
    /// told of as any that end. `starting` are the starts that it may have begun.
    pub fn take_over(&mut self, standing: Standing, starting: &[(VersionId, RunId)]) {
        lock(&self.self_binders).extend(standing.self_binders);
        for (port, group) in &standing.groups {
            let taken = Group::take_over(group, |inode, owners| {
                let held = self.held.remove(&names::socket(*port, inode));
                held.or_else(|| {
                    let found = find_socket(inode, owners, &standing.versions)?;
                    self.link.hold(&names::socket(*port, inode), found.as_fd());
                    Some(found)
                })
            });
            match taken {
                Ok(group) if group.is_empty() => {}
                Ok(group) => drop(lock(&self.groups).insert(*port, group)),
                Err(error) => tracing::error!(%error, port, "the sockets cannot be taken over"),
            }
        }
        for (id, version) in standing.versions {
            let VersionStanding { release, abilities, is_handed, process } = version;
            let run = process.as_ref().map(|process| process.run);
            let last_lines = run.map(|run| self.last_lines_of(run)).unwrap_or_default();
            let taken = Version { release, abilities, is_handed, process: None, last_lines };
            self.versions.insert(id, taken);
            if let Some(process) = process {
                self.adopt(id, process);
            }
        }
        let starts = starting.iter().map(|(id, _)| *id);
        let known: Vec<VersionId> = self.versions.keys().copied().chain(starts).collect();
        if let Err(error) = self.bounds.discard_all_but(&known) {
            tracing::error!(%error, "what an earlier agent has left cannot be ended");
        }
        self.take_unknown_sockets(starting);
        self.remove_unknown_runs(starting);
    }

    /// Traces of runs that had ended when the agent before died. One that was being started is
    /// looked at again when its start is carried out, and its ticket must stay.
    fn remove_unknown_runs(&mut self, starting: &[(VersionId, RunId)]) {
        let known = |run: u64| {
            let runs = self.versions.values().filter_map(|version| version.process.as_ref());
            runs.map(|process| process.run.0).any(|known| known == run)
        };
        let Ok(entries) = std::fs::read_dir(self.dir.runs()) else { return };
        let runs = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let starts = |run: u64| starting.iter().any(|(_, starting)| starting.0 == run);
        let unknown: Vec<RunId> =
            runs.filter(|run| !known(*run) && !starts(*run)).map(RunId).collect();
        self.finished.extend(unknown);
    }

    fn last_lines_of(&self, run: RunId) -> LastLines {
        match self.spool.last_lines(run.0, LAST_LINES_MAX) {
            Ok(lines) => LastLines::of(&lines),
            Err(error) => {
                tracing::warn!(%error, "what the app has said cannot be read");
                LastLines::default()
            }
        }
    }

    fn adopt(&mut self, id: VersionId, process: ProcessStanding) {
        let ProcessStanding { run, pid, start, started, is_ready, status, handed } = process;
        let notify = self.held.remove(&names::notify(run)).map(NotifySocket::take_over);
        let notify = notify.transpose().unwrap_or_else(|error| {
            tracing::error!(%error, "the app's own word cannot be heard any more");
            None
        });
        self.limit_again(id);
        let begun = Begun { run, pid, start, started, handed, is_ready };
        match self.attend(id, begun, notify) {
            Ok(()) => self.set_status(id, run, status.unwrap_or_default()),
            Err(message) => tracing::error!(pid, message, "the app cannot be taken over"),
        }
    }

    /// Sockets that are held and that nothing written down knows: they were opened for a start that
    /// was under way. They are that version's, and the last of their groups.
    fn take_unknown_sockets(&mut self, starting: &[(VersionId, RunId)]) {
        let unknown: Vec<String> =
            self.held.keys().filter(|name| names::parse_socket(name).is_some()).cloned().collect();
        for name in unknown {
            let Some((port, inode)) = names::parse_socket(&name) else { continue };
            let Some(socket) = self.held.remove(&name) else { continue };
            let listens_there = |(id, _): &&(VersionId, RunId)| {
                let version = self.versions.get(id);
                version.is_some_and(|version| version.release.settings.ports.contains(&port))
            };
            let owner = starting.iter().find(listens_there).map(|(owner, _)| *owner);
            let address = self.config.listen.address(port);
            let joined = match owner.zip(address) {
                Some((owner, address)) => {
                    let mut groups = lock(&self.groups);
                    let group = groups.entry(port).or_insert_with(|| Group::new(address));
                    group.join(owner, inode, socket)
                }
                None => {
                    self.link.drop(&name);
                    socket2::Socket::from(socket).shutdown(std::net::Shutdown::Both)
                }
            };
            if let Err(error) = joined {
                tracing::error!(%error, port, "a socket cannot be taken over");
            }
        }
    }

    /// Gives up what was held and nobody wants.
    pub fn drop_unclaimed(&mut self) {
        for (name, _) in self.held.drain() {
            self.link.drop(&name);
        }
    }
}

/// The socket of this inode among the descriptors of the versions' processes: where nobody has held
/// it, the app still has it.
fn find_socket(
    inode: u64,
    owners: &[VersionId],
    versions: &BTreeMap<VersionId, VersionStanding>,
) -> Option<OwnedFd> {
    let processes = owners.iter().filter_map(|owner| versions.get(owner)?.process.as_ref());
    for process in processes {
        let Ok(Some(handle)) = Handle::open(process.pid, process.start) else { continue };
        let Some(number) = number_of(process.pid, inode) else { continue };
        match handle.descriptor(number) {
            // The app may have closed it meanwhile, and opened another under the number.
            Ok(socket) if is_inode(&socket, inode) => return Some(socket),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, pid = process.pid, "the app's socket cannot be taken back");
            }
        }
    }
    None
}

fn number_of(pid: u32, inode: u64) -> Option<RawFd> {
    let wanted = format!("socket:[{inode}]");
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    entries.flatten().find_map(|entry| {
        let link = std::fs::read_link(entry.path()).ok()?;
        (link.to_str()? == wanted).then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

fn is_inode(socket: &OwnedFd, inode: u64) -> bool {
    nix::sys::stat::fstat(socket).is_ok_and(|stat| stat.st_ino == inode)
}
