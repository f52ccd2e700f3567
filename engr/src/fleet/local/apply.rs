//! Carries the plan out.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use deploy::agent_config::AgentConfig;
use deploy::layout;
use deploy::local_fleet::{BalancedPort, LocalDir};
use deploy::store::{ErrorKind, Expect, Store, with_tries};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::daemon::{self, LOOK_EVERY, Started};
use super::found::Found;
use super::plan::{self, Wanted};
use super::ports::{self, Picker};
use super::{files, home, orphans};
use crate::failure::{CommandResult, Exit, OrFail};
use crate::fleet::{Change, Told};

/// How long an agent or the balancer may take until it is up.
pub(super) const UP_WITHIN: Duration = Duration::from_secs(15);

/// How long an agent that was started anew may take until its app serves again.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// How long a daemon may take to end by itself: an agent lets its app finish first.
const STOP_MAX: Duration = Duration::from_secs(75);

/// Brings the fleet in `dir` from `found` to `wanted`.
pub(super) async fn apply(
    dir: &LocalDir,
    store: &dyn Store,
    wanted: &Wanted,
    found: Found,
    told: Told<'_>,
) -> CommandResult<()> {
    let changes = plan::changes(wanted, &found);
    ports::check_free(&ports_to_take(wanted, &found))?;
    let picker = Picker::new(&dir.0, found.ports_in_use());
    let mut fleet = Making { dir, wanted, found: &found, picker };
    fleet.start_new(&changes, told).await?;
    for change in &changes {
        if let Change::Reconfigure(name) = change {
            fleet.start_anew(name).await?;
            told(change);
        }
    }
    fleet.tell_balancer().await?;
    for change in &changes {
        match change {
            Change::Balancer(_) => told(change),
            Change::Remove(name) => {
                remove(dir, store, name).await?;
                told(change);
            }
            Change::Create(_) | Change::Start(_) | Change::Reconfigure(_) => {}
        }
    }
    Ok(())
}

/// The ports that the balancer does not have yet.
fn ports_to_take(wanted: &Wanted, found: &Found) -> Vec<BalancedPort> {
    let has = |port: &BalancedPort| {
        let listens = |known: &BalancedPort| known.listen == port.listen;
        found.balancer_pid.is_some() && found.fleet.ports.iter().any(listens)
    };
    wanted.listen.iter().filter(|port| !has(port)).cloned().collect()
}

/// A fleet while it is changed.
struct Making<'a> {
    dir: &'a LocalDir,
    wanted: &'a Wanted,
    found: &'a Found,
    picker: Picker,
}

impl Making<'_> {
    /// Starts the agents that do not run, all at once.
    async fn start_new(&mut self, changes: &[Change], told: Told<'_>) -> CommandResult<()> {
        let mut starting = Vec::new();
        for change in changes {
            if let Change::Create(name) | Change::Start(name) = change {
                let config = self.configure(name)?;
                starting.push((change, start_agent(self.dir, name)?, config));
            }
        }
        for (change, started, config) in starting {
            await_agent(started, &config).await?;
            told(change);
        }
        Ok(())
    }

    /// Starts a running agent anew, with other settings. Returns when its app serves again if it
    /// did before: the next instance's turn comes then.
    async fn start_anew(&mut self, name: &str) -> CommandResult<()> {
        let before =
            self.found.instance(name).and_then(|instance| instance.config.as_ref()?.health);
        let served = match before {
            Some(health) => ask_health(health).await == Some(200),
            None => false,
        };
        stop_daemon(&self.dir.instance(name).lock()).await?;
        let config = self.configure(name)?;
        await_agent(start_agent(self.dir, name)?, &config).await?;
        let began = Instant::now();
        while let Some(health) = config.health.filter(|_| served) {
            // An app that does not come back is the release's trouble, which the agent reports.
            if ask_health(health).await == Some(200) || began.elapsed() > SERVES_WITHIN {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Writes the settings of instance `name`, whose agent does not run.
    fn configure(&mut self, name: &str) -> CommandResult<AgentConfig> {
        let folder = self.dir.instance(name);
        home::make_folder(folder.path())?;
        let had = self.found.instance(name).and_then(|instance| instance.config.as_ref());
        let keep = |address: SocketAddr| {
            // What holds the port may be the instance's own app, which has outlived its agent.
            ports::is_free(address) || orphans::holds_port(folder.path(), address.port())
        };
        let config = plan::config(self.wanted, name, had, keep, || self.picker.pick())?;
        files::write(&folder.config(), &config)?;
        Ok(config)
    }

    /// Writes `fleet.json`, and sees to it that a balancer goes by it, or that none runs for a
    /// worker.
    async fn tell_balancer(&self) -> CommandResult<()> {
        let mut configs = Vec::new();
        for name in self.wanted.names() {
            configs.extend(files::read_config(&self.dir.instance(&name))?);
        }
        files::write(&self.dir.fleet(), &self.wanted.fleet(&configs))?;
        if self.wanted.listen.is_empty() {
            return stop_daemon(&self.dir.balancer_lock()).await;
        }
        if daemon::find(&self.dir.balancer_lock())?.is_none() {
            return start_balancer(self.dir).await;
        }
        await_ports(self.dir, &self.wanted.listen).await
    }
}

/// Stops and removes everything but the bucket.
pub(super) async fn destroy(
    dir: &LocalDir,
    store: &dyn Store,
    found: Found,
    told: Told<'_>,
) -> CommandResult<()> {
    if found.balancer_pid.is_some() {
        stop_daemon(&dir.balancer_lock()).await?;
        told(&Change::Balancer("stop".to_owned()));
    }
    for instance in found.instances {
        remove(dir, store, &instance.name).await?;
        told(&Change::Remove(instance.name));
    }
    files::remove_folder(&dir.instances())?;
    let half_written = dir.fleet().with_extension("json.new");
    for file in [dir.fleet(), half_written, dir.balancer_lock(), dir.balancer_log()] {
        files::remove_file(&file)?;
    }
    // With the bucket in it, it stays.
    let _ = std::fs::remove_dir(&dir.0);
    Ok(())
}

/// Stops and removes one instance, and what it has said of itself in the bucket.
async fn remove(dir: &LocalDir, store: &dyn Store, name: &str) -> CommandResult<()> {
    let folder = dir.instance(name);
    stop_daemon(&folder.lock()).await?;
    orphans::stop(folder.path()).await?;
    let report = layout::instance(name);
    match with_tries(async || store.delete(&report, Expect::Any).await).await {
        // With its bucket gone, what it said is gone too.
        Err(error) if !matches!(error.kind, ErrorKind::NotFound | ErrorKind::NoBucket) => {
            return Err(error.into());
        }
        _ => {}
    }
    files::remove_folder(folder.path())
}

async fn stop_daemon(lock: &std::path::Path) -> CommandResult<()> {
    let Some(process) = daemon::find(lock)? else { return Ok(()) };
    let cannot = format!("cannot stop process {}", process.pid());
    process.stop(STOP_MAX).await.or_fail(Exit::Internal, cannot)
}

fn start_agent(dir: &LocalDir, name: &str) -> CommandResult<Started> {
    let folder = dir.instance(name);
    let args = [OsStr::new("launch"), OsStr::new("--dir"), folder.path().as_os_str()];
    daemon::start(format!("the agent of {name}"), &args, folder.lock(), folder.console())
}

/// Waits until the agent holds its lock and answers health checks.
async fn await_agent(mut started: Started, config: &AgentConfig) -> CommandResult<()> {
    let began = Instant::now();
    loop {
        let answers = match config.health {
            Some(health) => ask_health(health).await.is_some(),
            None => true,
        };
        if answers && started.holds_lock()? {
            return Ok(());
        }
        started.check()?;
        if began.elapsed() > UP_WITHIN {
            let limit = UP_WITHIN.as_secs();
            return Err(started.failure(&format!("is not up after {limit} seconds")));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn start_balancer(dir: &LocalDir) -> CommandResult<()> {
    let args = [OsStr::new("balance"), OsStr::new("--dir"), dir.0.as_os_str()];
    let (lock, log): (PathBuf, PathBuf) = (dir.balancer_lock(), dir.balancer_log());
    let mut started = daemon::start("the balancer".to_owned(), &args, lock, log)?;
    let began = Instant::now();
    // It writes its id once it listens.
    while !started.holds_lock()? {
        started.check()?;
        if began.elapsed() > UP_WITHIN {
            let limit = UP_WITHIN.as_secs();
            return Err(started.failure(&format!("is not up after {limit} seconds")));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Waits until a balancer that runs already has taken new ports; one that ends instead is started
/// anew.
async fn await_ports(dir: &LocalDir, ports: &[BalancedPort]) -> CommandResult<()> {
    let began = Instant::now();
    for BalancedPort { listen, .. } in ports {
        while TcpStream::connect(listen).await.is_err() {
            if daemon::find(&dir.balancer_lock())?.is_none() {
                return start_balancer(dir).await;
            }
            if began.elapsed() > UP_WITHIN {
                let log = dir.balancer_log();
                let message = format!("the balancer does not listen on {listen}");
                return Err(crate::failure::Failure::new(Exit::Internal, anyhow::anyhow!(message))
                    .hint(format!("its log is {}", log.display())));
            }
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// The status of an agent's answer to a health check; `None` when it does not answer.
async fn ask_health(agent: SocketAddr) -> Option<u16> {
    let ask = async {
        let mut stream = TcpStream::connect(agent).await?;
        let request = format!("GET /health HTTP/1.1\r\nHost: {agent}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status).await?;
        std::io::Result::Ok(status)
    };
    // An agent that is not up yet fails in many ways: all of them mean no answer.
    let status = timeout(Duration::from_secs(1), ask).await.ok()?.ok()?;
    status.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}
