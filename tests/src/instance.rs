//! One instance, driven through its bucket alone, as fast as it can switch: no command line, no
//! balancer, one agent.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use deploy::agent_config::{AgentConfig, InstanceDir, Listen};
use deploy::artifact::{Manifest, pack};
use deploy::environment::Environment;
use deploy::id::Id;
use deploy::log_line::LogLine;
use deploy::publish::swap;
use deploy::release::{Draft, Kind};
use deploy::report::{Ending, Report};
use deploy::settings::{Health, Settings, default_health_timeout};
use deploy::store::{Directory, Expect, Store};
use deploy::{Span, Timestamp, layout};
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

use crate::agent::{Agent, Life};
use crate::engr::binary;
use crate::fleet::{LIMIT, within};

/// The app, and its executable.
pub const APP: &str = "shop";

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The app's executable: one of the tests' apps.
    pub program: PathBuf,
    /// Its mode.
    pub mode: String,
    /// What it listens on.
    pub host: IpAddr,
    /// Its port without TLS, and that with it.
    pub ports: [u16; 2],
    /// Where the agent answers.
    pub health: SocketAddr,
    /// How long a version is looked at before it gets connections.
    pub health_window: Duration,
    /// How long the old version is kept in reserve.
    pub settle: Duration,
    /// Who starts the agent anew.
    pub life: Life,
    /// What follows the executable on its command line.
    pub args: Vec<String>,
    /// It serves no port, and says nothing of its readiness.
    pub is_worker: bool,
}

/// A running instance. All of it ends with the value.
#[derive(Debug)]
pub struct Instance {
    agent: Agent,
    dir: InstanceDir,
    store: Directory,
    draft: Draft,
    runtime: Runtime,
    _folder: TempDir,
}

impl Instance {
    /// Starts the agent, and publishes the first release, which serves then.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn start(setup: &Setup) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let store = Directory::open(folder.path().join("bucket"))?;
        let draft = runtime.block_on(upload(setup, &store, folder.path()))?;
        let config = AgentConfig {
            app: APP.to_owned(),
            project: "local".to_owned(),
            instance: format!("{APP}-1"),
            bucket: store.url(),
            endpoint: None,
            listen: Listen::On(setup.host),
            health: Some(setup.health),
            user: None,
        };
        let dir = InstanceDir(folder.path().join("instance"));
        let agent = Agent::start_as(setup.life, Command::new(binary("agentd")), &dir, &config);
        let instance = Self { agent, dir, store, draft, runtime, _folder: folder };
        let first = instance.publish()?;
        instance.switched(first)?;
        Ok(instance)
    }

    /// Publishes the same once more; gives the release's number.
    ///
    /// # Errors
    /// When the bucket does not take it.
    pub fn publish(&self) -> anyhow::Result<u64> {
        let draft = Draft { id: Id::random(), ..self.draft.clone() };
        let step = |state: deploy::state::State| {
            state.published(draft.clone(), None, None, Timestamp::now())
        };
        let swapped = self.runtime.block_on(swap(&self.store, APP, step))?;
        swapped.state.current().context("a release was published")
    }

    /// Waits until the release has the new connections.
    ///
    /// # Errors
    /// When it failed, or that takes too long.
    pub fn switched(&self, release: u64) -> anyhow::Result<()> {
        let looked = within(LIMIT, || {
            let report = self.agent.report()?;
            let outcome = report.outcome(release)?.clone();
            (outcome.switched.is_some() || outcome.ended.is_some()).then_some(outcome)
        });
        let outcome = looked.with_context(|| format!("v{release} is not switched to"))?;
        if let Some(Ending::Failed(failure)) = outcome.ended {
            bail!("v{release} failed: {failure:?}");
        }
        Ok(())
    }

    /// Waits until no more than `most` old versions are on their way out.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn drained_to(&self, most: usize) -> anyhow::Result<()> {
        let few = || self.agent.report().filter(|report| report.draining.len() <= most);
        within(LIMIT, few).with_context(|| format!("more than {most} old versions stay"))?;
        Ok(())
    }

    /// The process that was started for the instance: its launcher, or its agent.
    pub fn launcher(&self) -> u32 {
        self.agent.id()
    }

    /// What the agent says of itself, if it answers.
    pub fn report(&self) -> Option<Report> {
        self.agent.report()
    }

    /// All lines of the log, the agent's too, in their order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn lines(&self) -> anyhow::Result<Vec<LogLine>> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.dir.logs())?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
        files.sort();
        let mut lines = Vec::new();
        for file in files {
            for line in std::fs::read_to_string(&file)?.lines() {
                lines.push(serde_json::from_str(line)?);
            }
        }
        Ok(lines)
    }
}

/// Puts what the releases name into the bucket.
async fn upload(setup: &Setup, store: &Directory, folder: &Path) -> anyhow::Result<Draft> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let manifest = Manifest { executable: APP.to_owned(), arch: arch.to_owned() };
    let archive = folder.join("archive");
    let artifact = pack(&manifest, &[(APP.to_owned(), setup.program.clone())], &archive)?.artifact;
    let name = layout::artifact(&artifact.digest);
    store.upload(&name, &archive, Expect::Any, &|_| {}).await?;
    let variables = [
        ("TEST_CLOCK", "1".to_owned()),
        ("TEST_MODE", setup.mode.clone()),
        ("TEST_HOST", setup.host.to_string()),
        ("TEST_TLS_PORT", setup.ports[1].to_string()),
        ("TEST_TLS_CERT", load::TEST_CERT.to_owned()),
        ("TEST_TLS_KEY", load::TEST_KEY.to_owned()),
    ];
    let variables: BTreeMap<_, _> =
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let (data, environment) = Environment(variables).to_object();
    store.write(&layout::environment(&environment), &data, Expect::Any).await?;
    ensure!(setup.ports[0] != setup.ports[1], "one port cannot be both");
    // What binds by itself says nothing of its readiness.
    let asked = setup.mode.starts_with("reuseport");
    let health =
        asked.then(|| Health { path: "/health".to_owned(), timeout: default_health_timeout() });
    let settings = Settings {
        args: setup.args.clone(),
        ports: if setup.is_worker { Vec::new() } else { setup.ports.to_vec() },
        health,
        health_window: Span(setup.health_window),
        settle: Span(setup.settle),
        ..Settings::default()
    };
    Ok(Draft {
        id: Id::random(),
        by: "tests".to_owned(),
        kind: Kind::Restart,
        message: None,
        source: None,
        artifact,
        environment: Some(environment),
        settings,
        rollout: deploy::rollout::Plan { now: true, ..Default::default() },
    })
}
