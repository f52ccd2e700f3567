//! What others deploy with: `rsync` and `ssh`, and Ansible. Ten hosts at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::app;
use crate::host::Host;

/// Sends what has changed, and restarts: the script of a team that needs no tool.
const SCRIPT: &str = "\
#!/bin/sh
printf '%s\\n' \"$@\" | xargs -P 10 -I{} sh -e -c '
  rsync -z -t -e \"ssh -F CONFIG\" hello {}:ROOT/{}/app/hello
  ssh -F CONFIG {} sv restart ROOT/{}/service
'
";

const PLAYBOOK: &str = "\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        src: hello
        dest: ROOT/{{ inventory_hostname }}/app/hello
        mode: \"0755\"
      notify: restart
  handlers:
    - name: restart
      ansible.builtin.command: sv restart ROOT/{{ inventory_hostname }}/service
";

/// Ansible's own `ssh_args`, and where the hosts are.
const SETTINGS: &str = "\
[defaults]
inventory = hosts
forks = 10
[ssh_connection]
pipelining = True
ssh_args = -C -o ControlMaster=auto -o ControlPersist=60s -F CONFIG
";

/// A folder with what they need.
pub(crate) struct Peers {
    folder: PathBuf,
    hosts: Vec<String>,
    runs: u32,
}

impl Peers {
    /// For these hosts, whose folders are below `root`.
    pub(crate) fn new(root: &Path, config: &Path, hosts: &[Host]) -> anyhow::Result<Self> {
        let folder = root.join("peers");
        fs::create_dir(&folder)?;
        let python = which("python3")?;
        let mut inventory = String::new();
        for host in hosts {
            inventory += &format!(
                "{} ansible_python_interpreter={} ansible_remote_tmp={}/ansible\n",
                host.name,
                python.display(),
                host.folder.display()
            );
        }
        let filled = |text: &str| {
            let text = text.replace("ROOT", &root.to_string_lossy());
            text.replace("CONFIG", &config.to_string_lossy())
        };
        for (name, text) in [
            ("deploy.sh", filled(SCRIPT)),
            ("deploy.yml", filled(PLAYBOOK)),
            ("ansible.cfg", filled(SETTINGS)),
            ("hosts", inventory),
        ] {
            fs::write(folder.join(name), text)?;
        }
        let hosts = hosts.iter().map(|host| host.name.clone()).collect();
        Ok(Self { folder, hosts, runs: 0 })
    }

    /// From now on this is deployed.
    pub(crate) fn take(&self, executable: &Path) -> anyhow::Result<()> {
        app::place(executable, &self.folder.join("hello"))
    }

    pub(crate) fn rsync(&self) -> Command {
        let mut command = Command::new("sh");
        command.arg("deploy.sh").args(&self.hosts).current_dir(&self.folder);
        command
    }

    pub(crate) fn ansible(&mut self) -> Command {
        self.runs += 1;
        let mut command = Command::new("ansible-playbook");
        command.arg("deploy.yml").current_dir(&self.folder);
        command.env("HOME", &self.folder).env("ANSIBLE_LOCAL_TEMP", self.folder.join("local"));
        // Deploys are hours apart: none finds the connections of the one before. The name of a
        // socket must be short.
        command.env("ANSIBLE_SSH_CONTROL_PATH_DIR", format!("/run/{}", self.runs));
        command
    }

    /// Ends the connections that Ansible has left open for a next time.
    pub(crate) fn disconnect(&self) -> anyhow::Result<()> {
        for socket in fs::read_dir(format!("/run/{}", self.runs))? {
            let path = socket?.path();
            let mut ssh = Command::new("ssh");
            ssh.args(["-O", "exit", "-S"]).arg(&path).arg("none");
            let done = ssh.output().context("no ssh")?;
            anyhow::ensure!(done.status.success(), "{} stays open", path.display());
        }
        Ok(())
    }
}

/// The program's whole path.
fn which(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(program));
    found.find(|path| path.is_file()).with_context(|| format!("no {program}"))
}
