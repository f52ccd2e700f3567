//! A fleet whose agents are this test: it reports what a test wants to see followed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::time::Duration;

use deploy::agent_config::{AgentConfig, Listen};
use deploy::id::Id;
use deploy::layout;
use deploy::local_fleet::{LocalDir, LocalFleet, LocalInstance};
use deploy::publish::{load, swap};
use deploy::release::{Artifact, Draft, Kind};
use deploy::report::{Agent, Ending, Failure, Outcome, Phase, Report, Stage, Version};
use deploy::rollout::{self, Lease, Progress};
use deploy::settings::Settings;
use deploy::state::{Refused, State};
use deploy::store::{Directory, Expect, Store, Watch};
use deploy::{Digest, Timestamp};

use crate::engr::Place;

/// How long a test waits for something that should come at once.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The app's name.
pub const APP: &str = "hello";

/// Instances of a local worker app, `hello-1` and so on.
#[derive(Debug)]
pub struct FakeFleet {
    dir: LocalDir,
    store: Directory,
    /// Held: the agents live.
    locks: BTreeMap<String, File>,
}

impl FakeFleet {
    /// Makes the app's `engr.json` and `count` instances whose agents seem to run.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn new(place: &Place, count: usize) -> Self {
        let app = format!(
            r#"{{"apps": {{"{APP}": {{"project": "local", "server": false,
                "instance-count": {count}, "build": {{"command": "true", "output": "out"}}}}}}}}"#
        );
        place.write("engr.json", &app);
        let dir = LocalDir(place.home().join("local").join(APP));
        fs::create_dir_all(dir.instances()).expect("the fleet's folder");
        let store = Directory::open(dir.bucket()).expect("a bucket");
        let mut fleet = Self { dir, store, locks: BTreeMap::new() };
        let names: Vec<_> = (1..=count).map(|number| format!("{APP}-{number}")).collect();
        let instances = names.iter().map(|name| fleet.instance(name)).collect();
        let known = LocalFleet { ports: Vec::new(), instances };
        let known = serde_json::to_vec(&known).expect("JSON");
        fs::write(fleet.dir.fleet(), known).expect("fleet.json");
        fleet
    }

    fn instance(&mut self, name: &str) -> LocalInstance {
        let folder = self.dir.instance(name);
        fs::create_dir_all(folder.path()).expect("the instance's folder");
        let health = SocketAddr::from(([127, 0, 0, 1], 9));
        let config = AgentConfig {
            endpoint: None,
            app: APP.to_owned(),
            project: "local".to_owned(),
            instance: name.to_owned(),
            bucket: self.store.url(),
            listen: Listen::Mapped(BTreeMap::new()),
            health: Some(health),
            user: None,
        };
        let config = serde_json::to_vec(&config).expect("JSON");
        fs::write(folder.config(), config).expect("agent.json");
        let lock = File::create(folder.lock()).expect("the lock's file");
        lock.lock().expect("the lock");
        fs::write(folder.lock(), std::process::id().to_string()).expect("the lock's text");
        self.locks.insert(name.to_owned(), lock);
        LocalInstance { name: name.to_owned(), health, addresses: Vec::new() }
    }

    /// The app's bucket.
    pub fn store(&self) -> &Directory {
        &self.store
    }

    /// The agent of that instance seems dead from now on.
    ///
    /// # Panics
    /// When there is no such instance.
    pub fn kill(&mut self, name: &str) {
        self.locks.remove(name).expect("the instance");
    }

    /// Publishes a release of an artifact that is `content`.
    ///
    /// # Panics
    /// When the bucket cannot be written.
    pub async fn publish(&self, content: &str) -> u64 {
        let digest = Digest::of(content.as_bytes());
        let (name, size) = (layout::artifact(&digest), content.len() as u64);
        let there = self.store.stat(&name).await.expect("the bucket");
        if there.is_none() {
            let put = self.store.write(&name, content.as_bytes(), Expect::Absent);
            put.await.expect("the artifact is written");
        }
        let draft = Draft {
            id: Id::random(),
            by: "ann@laptop".to_owned(),
            kind: Kind::Deploy,
            message: None,
            source: None,
            artifact: Artifact { digest, size },
            environment: None,
            settings: Settings::default(),
            rollout: deploy::rollout::Plan { now: true, ..Default::default() },
        };
        let step = |state: State| -> Result<State, Refused> {
            state.published(draft.clone(), None, None, Timestamp::now())
        };
        let swapped = swap(&self.store, APP, step).await.expect("the release is published");
        swapped.state.current().expect("a release")
    }

    /// The conductor, which is the first instance, says how far the current release is.
    ///
    /// # Panics
    /// When there is no release, or the bucket cannot be written.
    pub async fn progress(&self, stage: rollout::Stage, change: impl FnOnce(&mut Progress)) {
        let loaded = load(&self.store, APP).await.expect("the state");
        let release = loaded.state.release.expect("a release");
        let conductor = Lease { by: format!("{APP}-1"), life: Id::fixed("life"), beat: 1 };
        let plan = release.rollout.clone().expect("a plan");
        let mut progress = Progress { stage, ..Progress::begin(&release, &plan, conductor) };
        change(&mut progress);
        let data = progress.to_object();
        let written = self.store.write(layout::ROLLOUT, &data, Expect::Any);
        written.await.expect("the rollout is written");
    }

    /// The state, once `wanted` holds of it.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn state_where(&self, wanted: impl Fn(&State) -> bool) -> State {
        let mut watch = self.store.watch(layout::STATE).expect("a watch");
        let state = async {
            loop {
                let state = next(&mut *watch).await;
                if wanted(&state) {
                    return state;
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, state).await.expect("the state comes to it")
    }

    /// The instance's report, with `serving` as what it serves and `change` made to it.
    ///
    /// # Panics
    /// When the bucket cannot be written.
    pub async fn report(&self, name: &str, serving: u64, change: impl FnOnce(&mut Report)) {
        let now = Timestamp::now();
        let pid = std::process::id();
        let mut report = Report {
            looked: None,
            instance: name.to_owned(),
            written: now,
            agent: Agent {
                pid,
                launcher: None,
                version: "0.0.0".to_owned(),
                started: now,
                digest: None,
                update: None,
                bad: Vec::new(),
            },
            addresses: Vec::new(),
            seen: Some(serving),
            waits: None,
            phase: Phase::Serving,
            serving: Some(Version {
                release: serving,
                pid,
                started: now,
                restarts: 0,
                status: None,
                unwell: None,
            }),
            draining: Vec::new(),
            outcomes: Vec::new(),
            left: None,
            crash_loop: None,
            last_failure: None,
        };
        change(&mut report);
        let (object, data) = (layout::instance(name), report.to_object());
        let written = self.store.write(&object, &data, Expect::Any);
        written.await.expect("the report is written");
    }

    /// Reports that the instance serves `release`, and switched to it a moment ago.
    pub async fn done(&self, name: &str, release: u64) {
        self.report(name, release, |report| report.outcomes.push(done(release))).await;
    }

    /// Reports that `release` failed, and that the one before serves on.
    pub async fn failed(&self, name: &str, release: u64) {
        let change = |report: &mut Report| {
            report.seen = Some(release);
            report.outcomes.push(failed(release));
            report.last_failure = Some(failure(release));
        };
        self.report(name, release - 1, change).await;
    }

    /// Reports that `release` lies on its disk, and that it waits for its turn.
    pub async fn waits(&self, name: &str, release: u64) {
        let change = |report: &mut Report| {
            (report.seen, report.waits) = (Some(release), Some(release));
        };
        self.report(name, release - 1, change).await;
    }

    /// Reports that it had switched to `release`, and has gone back to the one before.
    pub async fn reverted(&self, name: &str, release: u64) {
        let change = |report: &mut Report| {
            report.seen = Some(release);
            report.outcomes.push(Outcome { reverted: Some(Timestamp::now()), ..done(release) });
        };
        self.report(name, release - 1, change).await;
    }
}

/// It switched to `release` a moment ago, and serves it.
pub fn done(release: u64) -> Outcome {
    let switched = Some(Timestamp::now());
    Outcome { release, switched, ended: Some(Ending::Done), note: None, reverted: None }
}

/// It never switched to `release`.
pub fn failed(release: u64) -> Outcome {
    let ended = Some(Ending::Failed(failure(release)));
    Outcome { release, switched: None, ended, note: None, reverted: None }
}

/// How [`failed`] says it.
pub fn failure(release: u64) -> Failure {
    Failure {
        release,
        at: Timestamp::now(),
        stage: Stage::Ready,
        message: "exited with code 3 before it was ready".to_owned(),
        exit_code: Some(3),
        signal: None,
        last_lines: vec!["connecting".to_owned(), "panic: no database".to_owned()],
    }
}

async fn next(watch: &mut dyn Watch) -> State {
    loop {
        let object = watch.next().await.expect("the bucket is watched");
        // A test may have written damage.
        if let Ok(state) = State::from_object(&object.data) {
            return state;
        }
    }
}
