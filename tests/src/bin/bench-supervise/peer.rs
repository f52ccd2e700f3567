//! The peers: each with the same app.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use tests::engr::binary;

use crate::program::{self, App};
use crate::{Measured, kill};

/// One supervisor.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Makes what it needs in a folder, and gives its command line.
    command: fn(&Path, &str) -> anyhow::Result<Command>,
}

pub(crate) const ALL: [Peer; 3] = [
    Peer { name: "s6", command: s6 },
    Peer { name: "runit", command: runit },
    Peer { name: "supervisord", command: supervisord },
];

/// Where `tests/bench-supervise` has brought them.
fn peers() -> anyhow::Result<PathBuf> {
    std::env::var_os("PEERS").map(PathBuf::from).context("run it by tests/bench-supervise")
}

fn service(folder: &Path, app: &str) -> anyhow::Result<PathBuf> {
    let service = folder.join("service");
    fs::create_dir(&service)?;
    let run = service.join("run");
    fs::write(&run, format!("#!/bin/sh\nexec {app}\n"))?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
    Ok(service)
}

fn s6(folder: &Path, app: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(peers()?.join("usr/bin/s6-supervise"));
    command.arg(service(folder, app)?);
    Ok(command)
}

fn runit(folder: &Path, app: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(peers()?.join("usr/bin/runsv"));
    command.arg(service(folder, app)?);
    Ok(command)
}

fn supervisord(folder: &Path, app: &str) -> anyhow::Result<Command> {
    let config = folder.join("supervisord.conf");
    let shown = folder.display();
    fs::write(
        &config,
        format!(
            "[supervisord]\nnodaemon=true\nlogfile={shown}/log\npidfile={shown}/pid\n\
             childlogdir={shown}\n[program:app]\ncommand={app}\nautorestart=true\n"
        ),
    )?;
    let mut command = Command::new(peers()?.join("supervisor/bin/supervisord"));
    command.arg("-c").arg(config);
    Ok(command)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        // It ends its app first. If it has ended already there is nobody to tell.
        let _ = signal(pid, Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Peer {
    pub(crate) fn measure(&self, kills: u32) -> anyhow::Result<Measured> {
        let folder = tempfile::tempdir()?;
        let app = App::new(folder.path());
        let line = format!("{} {}", binary("says-start").display(), app.file.display());
        let mut command = (self.command)(folder.path(), &line)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().with_context(|| format!("no {}", self.name))?);
        let mut back = Vec::new();
        for _ in 0..kills {
            back.push(kill(&app)?);
        }
        Ok(Measured { name: self.name, back, pss: program::pss(running.0.id(), program::APP_NAME) })
    }
}
