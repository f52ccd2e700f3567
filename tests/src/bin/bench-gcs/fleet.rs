//! A fleet of 3 with the demo's Go app, as somebody at a shell has it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests::engr::{Place, Transcript, binary};

use crate::place::Service;

const MAIN: &str = include_str!("../../../../engr/src/demo/go/main.go");
const MODULE: &str = include_str!("../../../../engr/src/demo/go/go.mod");
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../engineer/go");

pub(crate) const INSTANCES: usize = 3;

pub(crate) struct Fleet<'a> {
    place: Place,
    /// None: the bucket is a folder.
    service: Option<&'a Service>,
    app: Value,
    port: u16,
    edits: u32,
}

impl<'a> Fleet<'a> {
    /// One that has deployed its app once. The times after a switch are short: they are settings,
    /// not costs.
    pub(crate) fn start(service: Option<&'a Service>, port: u16) -> anyhow::Result<Self> {
        let place = Place::new();
        let mut app = json!({
            "project": "local", "package": ".", "port": port, "instance-count": INSTANCES,
            "rollout": {"canary": 0},
            "settle": "100ms",
        });
        if service.is_some() {
            app["bucket"] = "gs://bench-hello".into();
        }
        place.write("go.mod", &MODULE.replace("./engineer", LIBRARY));
        let mut fleet = Self { place, service, port, app, edits: 0 };
        fleet.configure();
        fleet.deploy()?;
        Ok(fleet)
    }

    fn configure(&self) {
        self.place.write("engr.json", &json!({"apps": {"hello": self.app}}).to_string());
    }

    /// From now on a build takes so much longer.
    pub(crate) fn build_for(&mut self, time: Duration) {
        self.app["generate"] = json!([format!("sleep {}", time.as_secs())]);
        self.configure();
    }

    fn command(&self) -> Command {
        let mut engr = self.place.command(binary("engr"));
        if let Some(service) = self.service {
            engr.env("STORAGE_EMULATOR_HOST", service.server.url());
            engr.envs(service.authorities.as_ref().map(|path| ("SSL_CERT_FILE", path)));
        }
        engr
    }

    fn engr(&self, args: &[&str]) -> anyhow::Result<Transcript> {
        let run = self.place.transcript(args, &self.command().args(args).output()?);
        ensure!(run.code == Some(0), "a command failed:\n{run}");
        Ok(run)
    }

    /// Deploys a small edit. Gives the seconds from the publish to the last switch.
    pub(crate) fn deploy(&mut self) -> anyhow::Result<f64> {
        self.edits += 1;
        let edited = MAIN.replace("version 1", &format!("version {}", self.edits));
        self.place.write("main.go", &edited.replace(":8080", &format!(":{}", self.port)));
        switched(&self.engr(&["hello", "deploy", "--yes", "--json"])?.result())
    }

    /// The same of a way back to the release before.
    pub(crate) fn rollback(&self) -> anyhow::Result<f64> {
        switched(&self.engr(&["hello", "rollback", "--json"])?.result())
    }

    /// The agents' process ids.
    pub(crate) fn agents(&self) -> anyhow::Result<Vec<i32>> {
        let status = self.engr(&["hello", "status", "--json"])?.result();
        let instances = status["instances"].as_array().context("no instances")?;
        let pids = instances.iter().filter_map(|instance| instance["agent_pid"].as_i64());
        Ok(pids.map(i32::try_from).collect::<Result<_, _>>()?)
    }
}

fn switched(result: &Value) -> anyhow::Result<f64> {
    result["publish_to_last_switch_seconds"].as_f64().context("no time in the result")
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.engr(&["hello", "destroy-app", "--yes", "hello", "--bucket"]) {
            eprintln!("the fleet could not be removed: {error:#}");
        }
    }
}
