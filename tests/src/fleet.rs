//! A real fleet in a folder of its own: `engr`, its agents, the balancer and the app, as somebody
//! at a shell has them. All of it goes with the value, and whatever stays behind fails the test.

mod bucket;
mod left;
mod loads;
mod port;
mod status;
mod turn;
mod wait;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use deploy::agent_config::InstanceDir;
use deploy::artifact::{Manifest, pack};
use deploy::local_fleet::LocalDir;
use deploy::log_line::{LogLine, Stream};
use deploy::release::Artifact;
use deploy::store::{Directory, Expect, Gcs, Store};
use deploy::{Digest, layout};
use gcs_server::Server;
use serde_json::{Map, Value, json};

use crate::engr::{Place, Transcript, binary};
use crate::programs::Programs;
use crate::running::Running;

pub use left::{Process, end};
pub use loads::{CLIENTS, Loads};
pub use port::free as free_port;
pub use status::{Instance, Line, Status};
pub use wait::{LIMIT, blocking, until, within};

use bucket::Bucket;
use turn::Turn;

/// The app's name.
pub const APP: &str = "shop";

/// The app's executable in the folder that it is deployed from.
const PROGRAM: &str = "app";

/// What ships beside it: another text makes another artifact.
const TAG: &str = "tag";

/// An app and its fleet.
#[derive(Debug)]
pub struct Fleet {
    /// Outlives what lies in `place`.
    bucket: Bucket,
    place: Place,
    port: u16,
    settings: Map<String, Value>,
    /// Every port that the fleet was seen to have.
    ports: Mutex<BTreeSet<SocketAddr>>,
    /// Builds that were killed leave their folders.
    may_leave_builds: bool,
    /// Looks after `place` has gone.
    _gone: left::MustGo,
    _turn: Turn,
}

impl Fleet {
    /// An app with so many instances and no release. Other tests may run beside it.
    pub fn new(instances: u32) -> Self {
        Self::with_turn(instances, Turn::shared(), Bucket::of_this_run)
    }

    /// The same, while no other fleet of this process is there: for tests that load the machine or
    /// measure time.
    pub fn alone(instances: u32) -> Self {
        Self::with_turn(instances, Turn::alone(), Bucket::of_this_run)
    }

    /// With a bucket of Cloud Storage, whatever the other fleets of the run have.
    pub fn on_cloud_storage(instances: u32) -> Self {
        Self::with_turn(instances, Turn::shared(), Bucket::on_a_server)
    }

    fn with_turn(instances: u32, turn: Turn, bucket: impl FnOnce(&mut Place) -> Bucket) -> Self {
        left::adopt_orphans();
        let mut place = Place::new();
        let bucket = bucket(&mut place);
        let port = port::free();
        let mut settings = json!({
            "project": "local", "port": port, "instance-count": instances,
            "build": {"command": "true", "output": PROGRAM}, "include": [TAG],
            "settle": "300ms", "health-window": "100ms", "ready-within": "20s",
            // No order, and no halt: tests of rollouts set their own rules.
            "rollout": {"canary": 0, "max-failures": instances},
        });
        bucket.add_settings(&mut settings);
        let Value::Object(settings) = settings else { unreachable!("an object is written above") };
        let _gone = left::MustGo(place.root());
        let fleet = Self {
            bucket,
            place,
            port,
            settings,
            ports: Mutex::default(),
            may_leave_builds: false,
            _gone,
            _turn: turn,
        };
        fleet.tag("one");
        fleet.write_settings();
        fleet
    }

    /// With the Rust app, which links `engineer`, in that mode.
    #[must_use]
    pub fn with_test_app(mut self, mode: &str) -> Self {
        self.program(&binary("test-app"));
        self.set("args", json!([mode]));
        self
    }

    /// Sets a key of the app in `engr.json`, or removes it (`null`).
    pub fn set(&mut self, key: &str, value: Value) {
        match value {
            Value::Null => self.settings.remove(key),
            value => self.settings.insert(key.to_owned(), value),
        };
        self.write_settings();
    }

    fn write_settings(&self) {
        let file = json!({"apps": {APP: self.settings}});
        self.place.write("engr.json", &serde_json::to_string_pretty(&file).expect("it serializes"));
    }

    /// From now on this executable is deployed.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn program(&self, executable: &Path) {
        let to = self.place.path().join(PROGRAM);
        let _ = fs::remove_file(&to);
        fs::copy(executable, to).expect("the executable is copied");
    }

    /// From now on this shell script is deployed.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn script(&self, text: &str) {
        let path = self.place.path().join(PROGRAM);
        let _ = fs::remove_file(&path);
        fs::write(&path, text).expect("the script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    /// From now on the artifact is another one than with any other `text`.
    pub fn tag(&self, text: &str) {
        self.place.write(TAG, text);
    }

    /// Where `engr` is run.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where the app is reached.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The files of the fleet.
    pub fn dir(&self) -> LocalDir {
        LocalDir(self.place.home().join("local").join(APP))
    }

    /// The files of instance `number`, counted from 1.
    pub fn instance_dir(&self, number: u32) -> InstanceDir {
        self.dir().instance(&format!("{APP}-{number}"))
    }

    /// The app's bucket.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn store(&self) -> Box<dyn Store> {
        match &self.bucket {
            Bucket::Folder => Box::new(Directory::open(self.dir().bucket()).expect("the bucket")),
            Bucket::Gcs(server) => Box::new(bucket::gcs(server)),
        }
    }

    /// The server of a bucket of Cloud Storage, and the bucket.
    ///
    /// # Panics
    /// When the bucket is a folder.
    pub fn cloud_storage(&self) -> (&Server, Gcs) {
        match &self.bucket {
            Bucket::Folder => panic!("the bucket is a folder"),
            Bucket::Gcs(server) => (server, bucket::gcs(server)),
        }
    }

    /// Where the bucket keeps the generations of an object, by its name.
    pub fn object_folder(&self, name: &str) -> PathBuf {
        self.dir().bucket().join("objects").join(name.replace('/', "%2F"))
    }

    /// Puts an artifact into the bucket whose executable is this file, which nobody has looked at:
    /// `engr` refuses to deploy some. Gives its digest.
    ///
    /// # Panics
    /// When it cannot be packed or uploaded.
    pub fn upload(&self, executable: &Path) -> Digest {
        let manifest = Manifest { executable: APP.to_owned(), arch: "amd64".to_owned() };
        let archive = self.place.path().join("archive");
        let files = [(APP.to_owned(), executable.to_owned())];
        let Artifact { digest, .. } = pack(&manifest, &files, &archive).expect("packed").artifact;
        let (store, name) = (self.store(), layout::artifact(&digest));
        blocking(store.upload(&name, &archive, Expect::Any, &|_| {})).expect("uploaded");
        digest
    }

    /// From now on those programs' `engr` is run. The agents and the balancer that it starts are
    /// of the same programs; those that run already stay what they are.
    pub fn use_programs(&mut self, programs: &Programs) {
        self.place.set_engr(programs.engr());
    }

    /// Runs `engr shop` with these arguments.
    pub fn engr(&self, args: &[&str]) -> Transcript {
        self.place.engr(&[&[APP], args].concat())
    }

    /// Runs it, and fails the test unless it ends with 0.
    #[track_caller]
    pub fn must(&self, args: &[&str]) -> Transcript {
        let done = self.engr(args);
        assert_eq!(done.code, Some(0), "{done}\n{}", self.story());
        done
    }

    /// Deploys; gives the release, which all instances serve.
    #[track_caller]
    pub fn deploy(&self) -> u64 {
        self.publish(&["deploy"])
    }

    /// Runs a command that publishes a release; gives its number. All instances serve it then.
    #[track_caller]
    pub fn publish(&self, args: &[&str]) -> u64 {
        let done = self.must(&[args, &["--json"]].concat());
        let release = done.result()["release"].as_u64();
        let release = release.unwrap_or_else(|| panic!("no release in:\n{done}"));
        self.assert_serves(release);
        release
    }

    /// Starts `engr shop` with these arguments, and goes on.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(&self.place, &[&[APP], args].concat())
    }

    /// What `status --json` says.
    #[track_caller]
    pub fn status(&self) -> Status {
        let said = self.must(&["status", "--json"]);
        let status = Status::read(&said);
        let addresses = status.instances.iter().flat_map(|instance| &instance.addresses);
        let addresses = addresses.filter_map(|address| address.parse::<SocketAddr>().ok());
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).extend(addresses);
        status
    }

    /// Fails the test unless every instance serves `release`, with a process of its own, and the
    /// balancer leads there and nowhere else.
    #[track_caller]
    pub fn assert_serves(&self, release: u64) {
        let status = self.status();
        assert_eq!(status.release, Some(release), "{status:#?}");
        for instance in &status.instances {
            assert_eq!(instance.release, Some(release), "{instance:#?}");
            let pid = instance.pid.unwrap_or_else(|| panic!("no process: {instance:#?}"));
            let of = left::variable(pid, "ENGR_VERSION");
            let expected = release.to_string();
            assert_eq!(of, Some(expected), "process {pid}:\n{}", self.story());
        }
        if self.settings.get("server") == Some(&json!(false)) {
            return;
        }
        for _ in 0..2 * status.instances.len() {
            let answer = self.get("/").unwrap_or_else(|error| panic!("{error}\n{}", self.story()));
            assert_eq!(answer.release(), Some(release), "{answer:?}");
        }
    }

    /// Asks the app, by the balancer, on a connection of its own.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address(), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let host = self.address();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let answer = || {
            let (head, body) = text.split_once("\r\n\r\n")?;
            let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
            Some(Answer { status, body: body.to_owned() })
        };
        answer().ok_or_else(|| io::Error::other(format!("no answer: {text:?}")))
    }

    /// Load on the app, by the balancer.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn load(&self) -> Loads {
        Loads::start(self.address())
    }

    /// The lines of all instances: the app's and the agents', oldest first.
    #[track_caller]
    pub fn logs(&self) -> Vec<Line> {
        let said = self.must(&["logs", "-n", "2000", "--json"]);
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        said.stdout.lines().map(read).collect()
    }

    /// Every line that the instances' spools have, in their order there.
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn log_lines(&self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for instance in self.status().instances {
            let folder = self.dir().instance(&instance.name).logs();
            let entries = fs::read_dir(folder).expect("the spool");
            let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
            files.sort();
            for file in files {
                let text = fs::read_to_string(&file).expect("a file of the spool");
                lines.extend(text.lines().map(|line| {
                    serde_json::from_str::<LogLine>(line)
                        .unwrap_or_else(|error| panic!("{error} in {}: {line}", file.display()))
                }));
            }
        }
        lines
    }

    /// Each process of the app counts its lines on each stream (`TEST_LINES`); every number must be
    /// there once. Gives how many lines there are.
    ///
    /// # Panics
    /// When one is missing, or there twice.
    #[track_caller]
    pub fn assert_lines_whole(&self) -> usize {
        let mut counted: HashMap<(String, bool), u64> = HashMap::new();
        let mut lines = 0;
        for line in self.log_lines() {
            let Some((pid, number)) =
                line.text.strip_prefix("line ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            let number: u64 = number.parse().expect("a number");
            let stream = (pid.to_owned(), line.stream == Stream::Out);
            let last = counted.entry(stream.clone()).or_default();
            assert_eq!(number, *last + 1, "{stream:?}");
            *last = number;
            lines += 1;
        }
        lines
    }

    /// All processes of the fleet, and whatever they have started.
    pub fn processes(&self) -> Vec<Process> {
        left::processes(&self.place.root())
    }

    /// The processes of the app alone.
    pub fn app_processes(&self) -> Vec<Process> {
        let is_app = |process: &Process| left::variable(process.pid, "ENGR_VERSION").is_some();
        self.processes().into_iter().filter(is_app).collect()
    }

    /// The processes of that release.
    pub fn app_processes_of(&self, release: u64) -> Vec<Process> {
        let release = release.to_string();
        let is_of = |process: &Process| {
            left::variable(process.pid, "ENGR_VERSION").as_deref() == Some(&release)
        };
        self.processes().into_iter().filter(is_of).collect()
    }

    /// Kills all that runs of instance `number`: its launcher, its agent, and its app.
    ///
    /// # Panics
    /// When something of it does not end.
    pub fn lose(&self, number: u32) {
        let name = format!("{APP}-{number}");
        let folder = self.dir().instance(&name).path().display().to_string();
        let is_of = |process: &Process| {
            process.command.trim_end().ends_with(&folder)
                || left::variable(process.pid, "ENGR_INSTANCE").as_ref() == Some(&name)
        };
        until("all of the instance has ended", || {
            let living: Vec<_> = self.processes().into_iter().filter(is_of).collect();
            // The launcher first: it would start another agent.
            let launcher = living.iter().find(|it| it.command.contains("agentd launch"));
            for process in launcher.into_iter().chain(&living) {
                left::kill_if_there(process.pid);
            }
            living.is_empty().then_some(())
        });
    }

    /// A test that kills `engr` in a build may leave that build's folder in the temporary one.
    pub fn may_leave_builds(&mut self) {
        self.may_leave_builds = true;
    }

    /// What there is to know about the fleet when a test fails.
    pub fn story(&self) -> String {
        let status = self.engr(&["status"]);
        let logs = self.engr(&["logs", "-n", "60"]);
        let balancer = fs::read_to_string(self.dir().balancer_log()).unwrap_or_default();
        format!("{status}\n{logs}\nbalancer.log:\n{balancer}\n{:#?}", self.processes())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let mut ports =
            std::mem::take(&mut *self.ports.lock().unwrap_or_else(PoisonError::into_inner));
        ports.insert(self.address());
        let destroyed = self.engr(&["destroy-app", "--yes", APP, "--bucket"]);
        let mut complaints = Vec::new();
        if destroyed.code != Some(0) {
            complaints.push(destroyed.to_string());
        }
        for process in left::end_all(&self.place.root()) {
            complaints.push(format!("left running: {process:?}"));
        }
        if self.dir().0.exists() {
            complaints.push(format!("left: {}", self.dir().0.display()));
        }
        for port in ports {
            if let Err(error) = TcpListener::bind(port) {
                complaints.push(format!("left listening: {port} ({error})"));
            }
        }
        let left = fs::read_dir(self.place.temporary()).into_iter().flatten().flatten();
        let left: Vec<_> = left.map(|entry| entry.path()).collect();
        if !left.is_empty() && !self.may_leave_builds {
            complaints.push(format!("left: {left:?}"));
        }
        if complaints.is_empty() {
            return;
        }
        let complaints = complaints.join("\n");
        // A second panic would end the process before the first is told.
        if thread::panicking() { eprintln!("{complaints}") } else { panic!("{complaints}") }
    }
}

/// What the app answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The release that a test's app says it is.
    pub fn release(&self) -> Option<u64> {
        serde_json::from_str::<Value>(&self.body).ok()?["release"].as_u64()
    }
}
