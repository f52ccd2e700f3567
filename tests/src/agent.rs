//! An agent by itself, and what it says of itself.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::report::Report;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fleet::{LIMIT, within};

/// What the agent that answers at `health` says of itself. None: nothing yet.
///
/// # Errors
/// When there is no whole answer.
pub fn report(health: SocketAddr) -> io::Result<Option<Report>> {
    let text = ask(health, "/status")?;
    let (_, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok(serde_json::from_str(body)?)
}

/// Who looks after an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Nobody: its end is its end.
    Alone,
    /// Its launcher, which starts it anew.
    Launched,
}

/// Whether the agent that answers at `health` says that requests may be sent to its app.
///
/// # Errors
/// When there is no whole answer.
pub fn is_healthy(health: SocketAddr) -> io::Result<bool> {
    let text = ask(health, "/health")?;
    Ok(text.starts_with("HTTP/1.1 200 "))
}

fn ask(health: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&health, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {health}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// An agent under way; it and its app end with this value.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    health: SocketAddr,
    log: PathBuf,
}

impl Agent {
    /// Starts `command`, the agent's program, for the instance in `dir`, which is made.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: Command, dir: &InstanceDir, config: &AgentConfig) -> Self {
        Self::start_as(Life::Alone, command, dir, config)
    }

    /// The same, with or without a launcher.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_as(
        life: Life,
        mut command: Command,
        dir: &InstanceDir,
        config: &AgentConfig,
    ) -> Self {
        let verb = match life {
            Life::Alone => "run",
            Life::Launched => "launch",
        };
        std::fs::create_dir_all(dir.path()).expect("the instance's folder");
        let text = serde_json::to_vec(config).expect("settings");
        std::fs::write(dir.config(), text).expect("the settings");
        command.args([verb, "--dir"]).arg(dir.path()).stdin(Stdio::null());
        let log = dir.path().join("agent.log");
        let told = File::create(&log).expect("the log");
        let child = command.stdout(Stdio::null()).stderr(told).spawn().expect("the agent starts");
        Self { child, health: config.health.expect("an address to ask it at"), log }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it says of itself, once it does.
    pub fn report(&self) -> Option<Report> {
        report(self.health).ok().flatten()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // It may have ended; it is not waited for yet, so the number is still its own.
        let _ = kill(pid, Signal::SIGTERM);
        if within(LIMIT, || self.child.try_wait().ok().flatten()).is_none() {
            eprintln!("the agent did not end by itself");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}
