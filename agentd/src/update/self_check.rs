//! `agentd run --self-check`: whether this binary could run this instance. Whoever is about to put it
//! in the place of the one that runs asks so before; nothing is changed by it, and the instance's lock
//! is not taken.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::Context;
use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::id::Id;
use deploy::store;
use serde::{Deserialize, Serialize};

use crate::follow;
use crate::sockets::Group;
use crate::switch::VersionId;

/// What it prints, as one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SelfCheck {
    /// It could.
    pub ok: bool,
    /// Its version.
    pub version: String,
}

/// Looks at all that a start needs: the settings, the way to the bucket (which is not asked), the
/// instance's folder, and what of the kernel not every machine has.
///
/// # Errors
/// The first thing that is missing.
pub fn self_check(dir: &InstanceDir) -> anyhow::Result<SelfCheck> {
    let path = dir.config();
    let shown = path.display();
    let config = fs::read(&path).with_context(|| format!("cannot read {shown}"))?;
    let config: AgentConfig = serde_json::from_slice(&config)
        .with_context(|| format!("{shown} is not an agent's settings"))?;
    store::open(&config.bucket, || follow::access(&config))?;
    try_write(dir.path()).with_context(|| format!("cannot write into {}", dir.path().display()))?;
    pidfd().context("the kernel gives no descriptors of processes (Linux 5.3)")?;
    steering().context("the kernel does not steer connections by a program (Linux 4.5)")?;
    Ok(SelfCheck { ok: true, version: env!("CARGO_PKG_VERSION").to_owned() })
}

fn try_write(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!("self-check-{}", Id::random()));
    fs::write(&path, "x")?;
    fs::remove_file(&path)
}

fn pidfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and no pointer.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
    match RawFd::try_from(fd) {
        // SAFETY: the kernel has just given this descriptor, to nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One socket of a group with a program, on a port that nobody has, for a moment.
fn steering() -> io::Result<()> {
    let mut group = Group::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    group.add(VersionId(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use deploy::agent_config::Listen;

    use super::*;

    fn config(folder: &Path) -> AgentConfig {
        AgentConfig {
            app: "app".to_owned(),
            project: "local".to_owned(),
            instance: "app-1".to_owned(),
            bucket: format!("file://{}", folder.join("bucket").display()),
            endpoint: None,
            listen: Listen::Mapped(BTreeMap::new()),
            health: None,
            user: None,
        }
    }

    #[test]
    fn it_says_that_all_is_well_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir(folder.path().join("app-1"));
        fs::create_dir(dir.path()).unwrap();
        fs::write(dir.config(), serde_json::to_vec(&config(folder.path())).unwrap()).unwrap();
        let said = self_check(&dir).unwrap();
        assert_eq!(said, SelfCheck { ok: true, version: env!("CARGO_PKG_VERSION").to_owned() });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir(folder.path().to_owned());
        let error = format!("{:#}", self_check(&dir).unwrap_err());
        assert!(error.starts_with("cannot read ") && error.contains("agent.json"), "{error}");
        fs::write(dir.config(), "{}").unwrap();
        let error = format!("{:#}", self_check(&dir).unwrap_err());
        assert!(error.contains("is not an agent's settings: missing field"), "{error}");
    }
}
