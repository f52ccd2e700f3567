//! Finds out how a version can follow the one that serves.

use std::sync::Arc;

use deploy::Digest;
use deploy::agent_config::AgentConfig;
use deploy::release::Release;

use super::{Found, News, Process, Runner, Version, cannot_execute, identity, lock};
use crate::executable;
use crate::fetch::Fetcher;
use crate::logs::LastLines;
use crate::readiness::Abilities;
use crate::sockets::can_bind_beside;
use crate::switch::{Event, VersionId, Way};

impl Runner {
    /// Looks at the artifact's bytes; [`News::Looked`] follows, and goes to [`Self::looked`].
    pub fn prepare(&mut self, id: VersionId, release: Arc<Release>, binds_itself: bool) {
        if binds_itself {
            lock(&self.self_binders).insert(identity(&release));
        }
        let (fetcher, digest) = (self.fetcher.clone(), release.artifact.digest);
        let version = Version {
            release,
            abilities: Abilities::default(),
            is_handed: false,
            process: None,
            last_lines: LastLines::default(),
        };
        self.versions.insert(id, version);
        let news = self.news.clone();
        tokio::task::spawn_blocking(move || {
            // The loop is gone only when the agent ends.
            let _ = news.send(News::Looked(id, look(&fetcher, &digest)));
        });
    }

    /// Decides how the version can follow the one that serves.
    pub fn looked(&mut self, id: VersionId, found: Result<Found, String>) -> Option<Event> {
        let others = || self.versions.iter().filter(|(other, _)| **other != id);
        let others_run = others().any(|(_, other)| other.process.is_some());
        let binding: Vec<&Process> = others()
            .filter(|(_, other)| !other.is_handed)
            .filter_map(|(_, other)| other.process.as_ref())
            .collect();
        let others_bind = !binding.is_empty();
        // One that is not ready may not have bound its port yet, and cannot be seen to.
        let others_are_seen = binding.iter().all(|process| process.is_ready);
        let version = self.versions.get_mut(&id)?;
        let abilities = match found {
            // No other version is ended for one that cannot begin. Where there is none, it is
            // tried, and tried again.
            Ok(Found { flaw: Some(flaw), .. }) if others_run => {
                return Some(Event::PrepareFailed(id, flaw));
            }
            Ok(found) => found.abilities,
            Err(message) => return Some(Event::PrepareFailed(id, message)),
        };
        let release = version.release.clone();
        let ports = &release.settings.ports;
        version.is_handed = abilities.takes_sockets
            && !ports.is_empty()
            && !lock(&self.self_binders).contains(&identity(&release));
        // Bytes that promised one protocol in vain do not speak for the other.
        let misled = abilities.takes_sockets && !version.is_handed && !ports.is_empty();
        version.abilities =
            Abilities { tells_readiness: abilities.tells_readiness && !misled, ..abilities };
        let is_handed = version.is_handed;
        if let Err(message) = self.refresh_addresses(ports) {
            return Some(Event::PrepareFailed(id, message));
        }
        let has_sockets = lock(&self.groups).values().any(|group| !group.is_empty());
        let note = match (ports.is_empty(), is_handed) {
            (true, _) => None,
            (_, true) => others_bind.then_some("the old version binds its port by itself"),
            (_, false) if has_sockets => Some("it binds its port by itself"),
            (_, false) if !others_bind => None,
            (_, false) => (!others_are_seen || !self.addresses(ports).all(can_bind_beside))
                .then_some("it binds its port by itself, without SO_REUSEPORT"),
        };
        let overlaps_by_itself = note.is_none() && !is_handed && others_bind && !ports.is_empty();
        if overlaps_by_itself && !migrates() {
            tracing::warn!(
                "connections to the old version's queue are reset when it closes: \
                 `sysctl net.ipv4.tcp_migrate_req=1` gives them to the new one"
            );
        }
        let way = match note {
            None => Way::Overlap,
            Some(note) => {
                let note = Some(format!("{note}, so the old version was stopped first"));
                Way::StopFirst { note }
            }
        };
        Some(Event::Prepared(id, way))
    }

    /// The configuration may have other addresses than when the agent started.
    fn refresh_addresses(&mut self, ports: &[u16]) -> Result<(), String> {
        if ports.iter().all(|port| self.config.listen.address(*port).is_some()) {
            return Ok(());
        }
        let path = self.dir.config();
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let config: Result<AgentConfig, _> =
            read.and_then(|data| serde_json::from_slice(&data).map_err(|error| error.to_string()));
        match config {
            Ok(config) => self.config.listen = config.listen,
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
        match ports.iter().find(|port| self.config.listen.address(**port).is_none()) {
            None => Ok(()),
            Some(port) => Err(format!(
                "this instance has no address for port {port}: run `engr {} sync`",
                self.config.app
            )),
        }
    }
}

/// Whether the kernel gives connections in the queue of a socket that closes to others of its group
/// (Documentation/networking/ip-sysctl.rst). One that does not say does not.
fn migrates() -> bool {
    let set = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req");
    set.is_ok_and(|set| set.trim() == "1")
}

fn look(fetcher: &Fetcher, digest: &Digest) -> Result<Found, String> {
    let manifest = fetcher.read_manifest(digest);
    let manifest = manifest.map_err(|error| format!("its manifest cannot be read: {error}"))?;
    let folder = fetcher.artifact_path(digest);
    let checked = executable::check(&folder.join(&manifest.executable));
    let flaw = checked.err();
    let flaw = flaw.map(|error| cannot_execute(&manifest.executable, &manifest.arch, &error));
    let abilities = Abilities::of_files(&folder);
    let abilities = abilities.map_err(|error| format!("its artifact cannot be read: {error}"))?;
    Ok(Found { abilities, flaw })
}
