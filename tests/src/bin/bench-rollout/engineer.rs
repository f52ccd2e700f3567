//! `engr`, with the time of each of its phases.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use deploy::store::gcs::POLL_INTERVAL;
use serde_json::{Value, json};
use tests::engr::{Place, binary};

use crate::app::{self, PORTS};
use crate::host::Host;
use crate::run::Run;
use crate::site::Site;

pub(crate) const BUCKET: &str = "gs://bench-rollout";

/// A shell that deploys.
pub(crate) struct Engineer {
    place: Place,
    /// More words for `engr hello deploy`.
    flags: Vec<String>,
    poll_interval: Option<String>,
}

/// When what had happened, in seconds from the start of a run whose build took no time.
pub(crate) struct Phases {
    pub(crate) served: f64,
    pub(crate) ended: f64,
    pub(crate) from_publish: f64,
    /// All phases, as `engr` tells them.
    pub(crate) told: String,
}

impl Engineer {
    pub(crate) fn new(site: &Site, flags: &[String], poll_interval: Option<&str>) -> Self {
        let mut place = Place::new();
        place.set_endpoint(site.server.url());
        let poll_interval = poll_interval.map(str::to_owned);
        Self { place, flags: flags.to_vec(), poll_interval }
    }

    /// Makes the bucket with the first release, and starts the agents, which take it.
    pub(crate) fn begin(
        &self,
        site: &Site,
        executable: &Path,
        hosts: &mut [Host],
    ) -> anyhow::Result<()> {
        self.take(executable, 0)?;
        let mut first = self.place.command(binary("engr"));
        first.args(["hello", "deploy", "--yes", "--detach", "--json"]);
        first.stdout(std::process::Stdio::null());
        let status = site.spawn(first)?.wait()?;
        ensure!(status.success(), "the first deploy: {status}");
        hosts.iter_mut().try_for_each(|host| host.start_agent(BUCKET, site.server.url()))
    }

    /// From now on this is deployed, with a build of so many seconds that compiles nothing.
    pub(crate) fn take(&self, executable: &Path, build_seconds: u64) -> anyhow::Result<()> {
        app::place(executable, &self.place.path().join("built"))?;
        let command = format!("sleep {build_seconds}; cp built hello");
        let mut app = json!({
            "project": "bench", "bucket": BUCKET, "port": PORTS[1],
            "build": {"command": command, "output": "hello"},
        });
        if let Some(interval) = &self.poll_interval {
            app["poll-interval"] = interval.as_str().into();
        }
        self.place.write("engr.json", &json!({"apps": {"hello": app}}).to_string());
        Ok(())
    }

    pub(crate) fn deploy(&self) -> Command {
        let mut command = self.place.command(binary("engr"));
        command.args(["hello", "deploy", "--json"]).args(&self.flags);
        command
    }
}

/// What a run of `engr` comes to.
pub(crate) fn phases(run: &Run) -> anyhow::Result<Phases> {
    let (mut build, mut published, mut told) = (None, None, Vec::new());
    for (at, line) in &run.lines {
        let event: Value = serde_json::from_str(line).context("no line of JSON")?;
        match event["type"].as_str() {
            Some("phase") => {
                let seconds = event["seconds"].as_f64().context("a phase without its time")?;
                let phase = event["phase"].as_str().context("a phase without a name")?;
                if phase == "build" {
                    build = Some(seconds);
                } else {
                    told.push(format!("{phase} {seconds:.3}"));
                }
            }
            Some("published") => published = Some(*at),
            _ => {}
        }
    }
    let build = build.context("nothing was built")?;
    let published = published.context("nothing was published")?;
    Ok(Phases {
        served: run.served - build,
        ended: run.ended - build,
        from_publish: run.served - published,
        told: told.join(", "),
    })
}

/// A moment of its own between two polls for each run: one run ends with polls, so without this the
/// next would always begin so long after them.
pub(crate) fn pause(run: u32, runs: u32) {
    std::thread::sleep(POLL_INTERVAL.mul_f64((f64::from(run) + 0.5) / f64::from(runs)));
}
