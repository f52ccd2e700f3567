//! A node with the agent on it, as the image installs it, and its app's bucket outside.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use deploy::artifact::{Manifest, pack};
use deploy::id::Id;
use deploy::publish::swap;
use deploy::release::{Draft, Kind};
use deploy::report::Report;
use deploy::settings::Settings;
use deploy::state::{Refused, State};
use deploy::store::{Directory, Expect, Store};
use deploy::{Span, Timestamp, layout};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::debian::Debian;
use super::node::Node;
use crate::agent;
use crate::engr::binary;
use crate::fleet::{LIMIT, Loads, blocking, within};

/// The app's name.
const APP: &str = "shop";

/// The instance's name.
const NAME: &str = "shop-1";

/// The unit's name.
pub const UNIT: &str = "agentd.service";

/// Whom the app runs as.
pub const USER: &str = "engineer-app";

/// How long load balancers have at the machine's end, before the app is told to end.
pub const SHUTDOWN_DELAY: Duration = Duration::from_secs(4);

/// What lies in the image's crate.
const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../image/files");

/// Where the app is reached in the node: on a low port, as on a machine of its own.
const APP_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

/// Where the agent is asked how it is.
const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);

/// The machine, the agent's unit on it, and the bucket.
#[derive(Debug)]
pub struct Instance {
    node: Node,
    store: Directory,
    folder: TempDir,
}

impl Instance {
    /// Boots a machine with the agent's unit, changed by `drop_in`, and waits until systemd has
    /// heard from the agent that it is up.
    ///
    /// # Errors
    /// When it does not come to that; [`super::Missing`] where it cannot be tried here.
    pub fn boot(debian: Debian, drop_in: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder")?;
        let bucket = folder.path().join("bucket");
        fs::create_dir(&bucket)?;
        let store = Directory::open(&bucket)?;
        let files = folder.path().join("files");
        lay_files(&files, debian, drop_in).context("the node's files")?;
        let node = Node::boot(debian, &files, &bucket)?;
        let instance = Self { node, store, folder };
        let state = instance.node.said(&["systemctl", "is-active", UNIT])?.out;
        ensure!(state.trim() == "active", "the unit is {state}\n{}", instance.story());
        Ok(instance)
    }

    /// The machine.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The machine, to be shut down.
    pub fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    /// The folder that is `/bucket` in the machine.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    /// Publishes a release of the test's app that differs from others by `tag`, and waits until
    /// the instance has switched to it, settled, and ended the one before.
    ///
    /// # Errors
    /// When the bucket cannot be written, or the instance does not come to it.
    pub fn deploy(&self, tag: &str) -> anyhow::Result<u64> {
        let release = blocking(self.publish(tag))?;
        let done = || {
            let report = self.report().ok()?;
            let outcome = report.outcome(release)?.ended.clone()?;
            report.draining.is_empty().then_some(())?;
            Some((report.serving.is_some_and(|it| it.release == release), outcome))
        };
        let (serves, outcome) = within(LIMIT, done)
            .with_context(|| format!("no outcome of v{release}\n{}", self.story()))?;
        ensure!(serves, "v{release} does not serve: {outcome:?}\n{}", self.story());
        Ok(release)
    }

    async fn publish(&self, tag: &str) -> anyhow::Result<u64> {
        let archive = self.folder.path().join("archive");
        let beside = self.folder.path().join("tag");
        fs::write(&beside, tag)?;
        let manifest = Manifest { executable: APP.to_owned(), arch: "amd64".to_owned() };
        let files = [(APP.to_owned(), binary("test-app")), ("tag".to_owned(), beside)];
        let artifact = pack(&manifest, &files, &archive)?.artifact;
        let name = layout::artifact(&artifact.digest);
        if self.store.stat(&name).await?.is_none() {
            self.store.upload(&name, &archive, Expect::Absent, &|_| {}).await?;
        }
        let draft = Draft {
            id: Id::random(),
            by: "ann@laptop".to_owned(),
            kind: Kind::Deploy,
            message: None,
            source: None,
            artifact,
            environment: None,
            settings: settings(),
            rollout: deploy::rollout::Plan { now: true, ..Default::default() },
        };
        let step = |state: State| -> Result<State, Refused> {
            state.published(draft.clone(), None, None, Timestamp::now())
        };
        let swapped = swap(&self.store, APP, step).await?;
        swapped.state.current().context("no release in the state")
    }

    /// What the agent says of itself when it is asked.
    ///
    /// # Errors
    /// When it does not answer, or has nothing to say yet.
    pub fn report(&self) -> anyhow::Result<Report> {
        self.node.in_network(|| agent::report(HEALTH))??.context("the agent has no report yet")
    }

    /// The last report in the bucket.
    ///
    /// # Errors
    /// When there is none.
    pub fn last_report(&self) -> anyhow::Result<Report> {
        let object = blocking(self.store.read(&layout::instance(NAME)))?;
        Ok(Report::from_object(&object.data)?)
    }

    /// Whether load balancers are told to send requests here: None where nobody answers.
    pub fn is_healthy(&self) -> Option<bool> {
        self.node.in_network(|| agent::is_healthy(HEALTH)).ok()?.ok()
    }

    /// Requests to the app, from the node's network.
    ///
    /// # Errors
    /// When they cannot be begun.
    pub fn load(&self) -> anyhow::Result<Loads> {
        self.node.in_network(|| Loads::start(APP_ADDRESS))
    }

    /// The processes of the app, as the node numbers them.
    pub fn app_processes(&self) -> BTreeSet<u32> {
        self.node.processes_with("ENGR_VERSION").into_iter().map(|(pid, _)| pid).collect()
    }

    /// The unit's main process.
    ///
    /// # Errors
    /// When the unit has none.
    pub fn main_process(&self) -> anyhow::Result<u32> {
        let pid = self.node.run(&["systemctl", "show", "--property=MainPID", "--value", UNIT])?;
        let pid = pid.parse().with_context(|| format!("MainPID {pid:?}"))?;
        ensure!(pid != 0, "the unit has no main process\n{}", self.story());
        Ok(pid)
    }

    /// How often systemd has started the unit again by itself.
    ///
    /// # Errors
    /// When it does not say.
    pub fn restarts(&self) -> anyhow::Result<u32> {
        let count =
            self.node.run(&["systemctl", "show", "--property=NRestarts", "--value", UNIT])?;
        count.parse().with_context(|| format!("NRestarts {count:?}"))
    }

    /// Sends a signal to one of the node's processes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn kill(&self, pid: u32, signal: Signal) -> anyhow::Result<()> {
        self.node.kill(pid, signal)
    }

    /// What there is to know when a test fails.
    pub fn story(&self) -> String {
        let said = |command: &[&str]| match self.node.said(command) {
            Ok(said) => format!("$ {}\n{}{}", command.join(" "), said.out, said.err),
            Err(error) => format!("$ {}\n{error}", command.join(" ")),
        };
        let commands: [&[&str]; 3] = [
            &["systemctl", "--no-pager", "status", UNIT],
            &["systemctl", "--no-pager", "--failed"],
            &["journalctl", "--no-pager", "--output=short-monotonic", "--lines=200"],
        ];
        format!("{}\n{}", commands.map(said).join("\n"), self.node.console())
    }
}

fn settings() -> Settings {
    Settings {
        args: vec!["engineer".to_owned()],
        ports: vec![APP_ADDRESS.port()],
        ready_within: Span::from_secs(20),
        health_window: Span::from_millis(100),
        settle: Span(Duration::from_millis(300)),
        shutdown_delay: Span(SHUTDOWN_DELAY),
        ..Settings::default()
    }
}

/// What the image installs, for this Debian, and the instance's settings.
fn lay_files(files: &Path, debian: Debian, drop_in: &str) -> anyhow::Result<()> {
    let lay = |from: &Path, to: &str| -> anyhow::Result<()> {
        let to = place(files, to)?;
        fs::copy(from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
        Ok(())
    };
    let write = |to: &str, text: &str| Ok::<_, anyhow::Error>(fs::write(place(files, to)?, text)?);
    let image = |name: &str| PathBuf::from(IMAGE).join(name);
    lay(&binary("agentd"), "usr/lib/engineer/agentd")?;
    for script in ["tell-machine-ends", "take-controllers-back"] {
        lay(&image(script), &format!("usr/lib/engineer/{script}"))?;
    }
    lay(&image(UNIT), &format!("usr/lib/systemd/system/{UNIT}"))?;
    let wanted = format!("etc/systemd/system/multi-user.target.wants/{UNIT}");
    symlink(format!("/usr/lib/systemd/system/{UNIT}"), place(files, &wanted)?)?;
    lay(&image("sysusers.conf"), "usr/lib/sysusers.d/engineer.conf")?;
    let drop_ins = format!("etc/systemd/system/{UNIT}.d");
    if debian == Debian::Twelve {
        lay(&image("systemd-252.conf"), &format!("{drop_ins}/systemd-252.conf"))?;
    }
    // A bucket is elsewhere; this one lies in a file system that the unit may not write to.
    write(&format!("{drop_ins}/bucket.conf"), "[Service]\nReadWritePaths=/bucket\n")?;
    write(&format!("{drop_ins}/test.conf"), drop_in)?;
    // Without it this were a first boot, which enables what the recipe has masked.
    write("etc/machine-id", &format!("{:032x}\n", u128::from(std::process::id())))?;
    write("etc/hostname", "node\n")?;
    let config = json!({
        "app": APP, "project": "local", "instance": NAME, "bucket": "file:///bucket",
        "listen": {"on": APP_ADDRESS.ip()}, "health": HEALTH,
        "user": USER,
    });
    write("var/lib/engineer/agent.json", &config.to_string())
}

/// A path below `files`, whose folder is made.
fn place(files: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let path = files.join(path);
    fs::create_dir_all(path.parent().context("a folder")?)?;
    Ok(path)
}
