//! A host: its network, `sshd`, runit with the peers' app, and an agent with its own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use deploy::agent_config::{AgentConfig, InstanceDir, Listen};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::agent::{Agent, Life};
use tests::engr::binary;

use crate::app::{self, PORTS};
use crate::site::Place;

/// Where an agent answers on its host.
const HEALTH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8086);

/// What all hosts have: a key of their own, and the one that lets the deployer in.
pub(crate) struct Ssh {
    folder: PathBuf,
}

impl Ssh {
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("ssh");
        fs::create_dir(&folder)?;
        for key in ["host", "deployer"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            ensure!(make.status().context("no ssh-keygen")?.success(), "ssh-keygen has failed");
        }
        let sftp = Path::new(&std::env::var("SFTP_SERVER").context(crate::BY_SCRIPT)?).to_owned();
        let variable = |name| std::env::var(name).unwrap_or_default();
        let (path, libraries) = (variable("PATH"), variable("LD_LIBRARY_PATH"));
        let shown = folder.display();
        fs::write(
            folder.join("sshd_config"),
            format!(
                "HostKey {shown}/host\nAuthorizedKeysFile {shown}/deployer.pub\nStrictModes no\n\
                 PermitRootLogin yes\nUsePAM no\nUseDNS no\nPidFile none\n\
                 Subsystem sftp {}\nSetEnv \"PATH={path}\" \"LD_LIBRARY_PATH={libraries}\"\n",
                sftp.display()
            ),
        )?;
        Ok(Self { folder })
    }

    /// The client's settings for all these hosts, by their names.
    pub(crate) fn config(&self, hosts: &[Host]) -> anyhow::Result<PathBuf> {
        let shown = self.folder.display();
        let public = fs::read_to_string(self.folder.join("host.pub"))?;
        let mut text = String::new();
        let mut known = String::new();
        for host in hosts {
            text += &format!("Host {}\n  HostName {}\n", host.name, host.place.address);
            known += &format!("{} {public}", host.place.address);
        }
        text += &format!(
            "Host *\n  User root\n  IdentityFile {shown}/deployer\n  IdentitiesOnly yes\n  \
             BatchMode yes\n  UserKnownHostsFile {shown}/known\n  StrictHostKeyChecking yes\n"
        );
        fs::write(self.folder.join("known"), known)?;
        let config = self.folder.join("config");
        fs::write(&config, text)?;
        Ok(config)
    }
}

/// A process that is told to end, and waited for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        // If it has ended already there is nobody to tell.
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// A host. Its processes end before its network goes.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    agent: Option<Agent>,
    _processes: Vec<Running>,
    pub(crate) place: Place,
}

impl Host {
    /// Host `number`, counted from 1, on which the peers' app runs.
    pub(crate) fn new(
        number: u8,
        root: &Path,
        ssh: &Ssh,
        executable: &Path,
    ) -> anyhow::Result<Self> {
        let name = format!("host{number}");
        let place = Place::new(&name, Ipv4Addr::new(10, 77, 1, number))?;
        let folder = root.join(&name);
        let service = folder.join("service");
        for made in [&service, &folder.join("app")] {
            fs::create_dir_all(made)?;
        }
        app::place(executable, &folder.join("app/hello"))?;
        let run = service.join("run");
        let shown = folder.display();
        fs::write(&run, format!("#!/bin/sh\nPORT={} exec {shown}/app/hello 2>&1\n", PORTS[0]))?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
        let mut runsv = Command::new("runsv");
        runsv.arg(&service);
        // It wants to be called by its whole path.
        let mut sshd = Command::new(std::env::var("SSHD").context(crate::BY_SCRIPT)?);
        sshd.args(["-D", "-e", "-f"]).arg(ssh.folder.join("sshd_config"));
        let mut processes = Vec::new();
        for (mut command, log) in [(runsv, "runsv.log"), (sshd, "sshd.log")] {
            let log = fs::File::create(folder.join(log))?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            processes.push(Running(place.spawn(command)?));
        }
        Ok(Self { name, folder, agent: None, _processes: processes, place })
    }

    /// Starts its agent, which takes its app from the bucket.
    pub(crate) fn start_agent(&mut self, bucket: &str, endpoint: &str) -> anyhow::Result<()> {
        let config = AgentConfig {
            app: "hello".to_owned(),
            project: "bench".to_owned(),
            instance: self.name.clone(),
            bucket: bucket.to_owned(),
            endpoint: Some(endpoint.to_owned()),
            listen: Listen::On(Ipv4Addr::UNSPECIFIED.into()),
            health: Some(HEALTH),
            user: None,
        };
        let dir = InstanceDir(self.folder.join("agent"));
        let start =
            move || Agent::start_as(Life::Launched, Command::new(binary("agentd")), &dir, &config);
        self.agent = Some(self.place.run(start)?);
        Ok(())
    }
}

impl Host {
    /// What its agent, and the app under it, have said by now, oldest first.
    pub(crate) fn agent_log(&self) -> anyhow::Result<String> {
        let spool = InstanceDir(self.folder.join("agent")).logs();
        let files = fs::read_dir(spool)?.map(|entry| entry.map(|entry| entry.path()));
        let mut files = files.collect::<Result<Vec<_>, _>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
        files.sort();
        Ok(files.iter().map(fs::read_to_string).collect::<Result<String, _>>()?)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The agent's end looks at it in its own network.
        let agent = self.agent.take();
        if let Err(error) = self.place.run(move || drop(agent)) {
            eprintln!("{}: its agent: {error:#}", self.name);
        }
    }
}
