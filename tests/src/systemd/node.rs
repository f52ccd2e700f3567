//! A booted systemd, and what can be done in it and to it.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::cgroup::Cgroup;
use super::debian::Debian;
use super::missing;
use crate::fleet::{LIMIT, within};
use crate::relay::{Far, ip};

const INIT: &str = include_str!("init.sh");

/// Where clouds answer their machines. In a node's network it leads to the node itself, so that
/// nothing in it can ask the cloud that the tests run on.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// How long one command in a node may take.
const COMMAND_SECONDS: &str = "60";

/// The machine: its processes, its network and its files go with it.
#[derive(Debug)]
pub struct Node {
    /// `unshare`, which starts the first process and whose end is that one's.
    unshare: Child,
    /// The first process's number on the machine that the tests run on.
    init: u32,
    console: PathBuf,
    cgroup: Cgroup,
    network: Far,
    _work: TempDir,
}

impl Node {
    /// Boots a Debian with `files` laid over it and `bucket` as `/bucket`, and waits until its
    /// systemd has started all that it starts.
    ///
    /// # Errors
    /// When it does not boot; [`missing::Missing`] where that cannot be tried here.
    pub fn boot(debian: Debian, files: &Path, bucket: &Path) -> anyhow::Result<Self> {
        missing::check()?;
        let root = debian.root()?;
        let cgroup = Cgroup::new()?;
        let network = network()?;
        let work = tempfile::tempdir().context("a folder")?;
        let console = work.path().join("console");
        let mounts = work.path().join("node");
        fs::create_dir(&mounts)?;
        let mut command = command(cgroup.path(), &[&root, files, bucket, &mounts]);
        command.stdin(Stdio::null()).stderr(fs::File::create(&console)?).stdout(Stdio::null());
        let unshare = network.run(move || command.spawn())?.context("unshare")?;
        let mut node = Self { unshare, init: 0, console, cgroup, network, _work: work };
        node.init = node.await_init()?;
        node.await_started()?;
        Ok(node)
    }

    /// Waits until the first process is a systemd that can be asked.
    fn await_init(&mut self) -> anyhow::Result<u32> {
        let looked = within(LIMIT, || {
            if let Some(ended) = self.unshare.try_wait().transpose() {
                return Some(Err(ended));
            }
            let first = self.first()?;
            let socket = format!("/proc/{first}/root/run/systemd/private");
            Path::new(&socket).exists().then_some(Ok(first))
        });
        match looked {
            Some(Ok(init)) => Ok(init),
            Some(Err(ended)) => bail!("the node does not boot: {:?}\n{}", ended?, self.console()),
            None => bail!("no systemd answers in the node\n{}", self.console()),
        }
    }

    /// The process that is number 1 of those in the node.
    fn first(&self) -> Option<u32> {
        let processes = self.cgroup.processes().ok()?;
        processes.into_iter().find(|pid| own_number(*pid) == Some(1))
    }

    fn await_started(&self) -> anyhow::Result<()> {
        // `degraded` ends with 1: what has failed is the caller's to see.
        let said = self.said(&["systemctl", "is-system-running", "--wait"])?;
        match said.out.trim() {
            "running" | "degraded" => Ok(()),
            _ => bail!("the node does not start: {said:?}\n{}", self.console()),
        }
    }

    /// Runs a command in the node, and gives what it printed, without the white space around it.
    ///
    /// # Errors
    /// When it does not end well within a minute.
    pub fn run(&self, command: &[&str]) -> anyhow::Result<String> {
        let said = self.said(command)?;
        if said.code != Some(0) {
            bail!("`{}` in the node: {said:?}", command.join(" "));
        }
        Ok(said.out.trim().to_owned())
    }

    /// Runs a command in the node, however it ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn said(&self, command: &[&str]) -> io::Result<Said> {
        let target = self.init.to_string();
        let mut enter = Command::new("timeout");
        enter.args([COMMAND_SECONDS, "nsenter", "--target", &target, "--all", "--"]).args(command);
        let output = enter.stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Ok(Said { code: output.status.code(), out, err })
    }

    /// Sends a signal to a process that has this number in the node.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&self, pid: u32, signal: Signal) -> anyhow::Result<()> {
        let signal = signal.as_str().trim_start_matches("SIG");
        let line = format!("kill -s {signal} {pid}");
        self.run(&["sh", "-c", &line]).map(drop)
    }

    /// Runs something on a thread that is in the node's network, and waits for it. Threads that it
    /// starts are there too.
    ///
    /// # Errors
    /// When it panics.
    pub fn in_network<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        self.network.run(run)
    }

    /// A file of the node, by its absolute path there, as a path here.
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init)).join(path.trim_start_matches('/'))
    }

    /// The node's processes that have this variable in their environment, with its value.
    pub fn processes_with(&self, variable: &str) -> Vec<(u32, String)> {
        let mark = format!("{variable}=").into_bytes();
        let value = |pid: u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let found = environment.split(|byte| *byte == 0).find_map(|it| it.strip_prefix(&*mark));
            Some((own_number(pid)?, String::from_utf8_lossy(found?).into_owned()))
        };
        self.cgroup.processes().unwrap_or_default().into_iter().filter_map(value).collect()
    }

    /// Tells the node's systemd to shut the machine down, and goes on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn begin_shutdown(&self) -> io::Result<()> {
        let init = i32::try_from(self.init).map_err(io::Error::other)?;
        // SAFETY: kill(2) reads two numbers. The process is this one's child's child and not
        // waited for before `unshare` has ended, which the node holds.
        match unsafe { libc::kill(init, libc::SIGRTMIN() + 3) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until the node has shut down by itself.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn await_end(&mut self, limit: Duration) -> anyhow::Result<()> {
        let ended = within(limit, || self.unshare.try_wait().transpose());
        ended.with_context(|| format!("the node runs on for {limit:?}"))??;
        Ok(())
    }

    /// What the first process said before there was a journal.
    pub fn console(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }

    /// The group that holds all of the node's processes.
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended. What it started ends with it, as the node's first process does.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// What a command in a node has said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code; None after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A network that leads nowhere.
fn network() -> anyhow::Result<Far> {
    let network = Far::new().context("no network of one's own is allowed here")?;
    network.run(|| {
        ip(&["link", "set", "lo", "up"])?;
        ip(&["address", "add", &format!("{METADATA}/32"), "dev", "lo"])
    })??;
    Ok(network)
}

/// Starts `init.sh` with these arguments in the group and in namespaces of its own. `unshare` itself
/// stays outside: the group is the first of the node's, and must hold no process of its own once
/// the node's systemd divides it.
fn command(cgroup: &Path, args: &[&Path]) -> Command {
    let enter = "echo 0 >\"$0\"/cgroup.procs && exec unshare --cgroup sh -c \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL"]);
    command.args(["sh", "-c", enter]).arg(cgroup).args([INIT, "init"]).args(args);
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe {
        // The thread that starts it ends with the node at the latest, and so with the test.
        command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
    command
}

/// The number that a process has in the innermost of its namespaces.
fn own_number(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().last()?.parse().ok()
}
