//! The local fleet and the commands around it, with real agents: `sync`, `destroy-app`, `logs`,
//! `run`, `serve`, `demo`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use deploy::local_fleet::{LocalDir, LocalFleet};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::engr::{Place, Transcript, binary, needs};

const SOON: Duration = Duration::from_secs(30);

/// How long a demo may take, on a busy machine that has compiled nothing yet.
const DEMO_MAX: Duration = Duration::from_secs(300);

/// Waits until `look` gives something.
fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(SOON, what, look)
}

fn wait_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < limit, "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An app on a local fleet, which is removed with this value.
struct App {
    place: Place,
    port: u16,
}

impl App {
    fn new(instances: u32) -> Self {
        let app = Self { place: Place::new(), port: free_port() };
        app.configure(json!({"port": app.port, "instance-count": instances}));
        app
    }

    /// The app's settings. Its program is the file `program`, taken as it is.
    fn configure(&self, settings: Value) {
        let mut all = json!({"project": "local", "build": {
            "command": "cp program out && chmod +x out", "output": "out",
        }});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        self.place.write("engr.json", &json!({"apps": {"hello": all}}).to_string());
    }

    fn engr(&self, args: &[&str]) -> Transcript {
        self.place.engr(&[&["hello"], args].concat())
    }

    fn succeeds(&self, args: &[&str]) -> Transcript {
        let transcript = self.engr(args);
        assert_eq!(transcript.code, Some(0), "{transcript}");
        transcript
    }

    fn start(&self, args: &[&str]) -> Live {
        Live::start(&self.place, &[&["hello"], args].concat())
    }

    fn dir(&self) -> LocalDir {
        LocalDir(self.place.home().join("local/hello"))
    }

    fn fleet(&self) -> LocalFleet {
        serde_json::from_slice(&fs::read(self.dir().fleet()).unwrap()).unwrap()
    }

    fn agent_pid(&self, name: &str) -> i32 {
        pid_in(&self.dir().instance(name).lock())
    }

    /// The processes that belong to this fleet.
    fn processes(&self) -> Vec<(i32, String)> {
        let home = self.place.home().to_string_lossy().into_owned();
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&home).then_some((pid, line))
        });
        pids.collect()
    }

    fn agents(&self) -> usize {
        self.processes().iter().filter(|(_, line)| line.contains("agentd run")).count()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let end = self.engr(&["destroy-app", "--yes", "hello", "--bucket"]);
        if !std::thread::panicking() {
            assert_eq!(end.code, Some(0), "{end}");
            assert_eq!(self.processes(), []);
        }
    }
}

fn pid_in(lock: &Path) -> i32 {
    fs::read_to_string(lock).unwrap().trim().parse().unwrap()
}

/// Kills a process that is none of this one's children, and waits until it is gone.
fn kill_hard(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_for("a killed process's end", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, None | Some('Z' | 'X')).then_some(())
    });
}

/// An `engr` that goes on, and what it has printed so far. Interrupted when it is dropped.
struct Live {
    child: Child,
    output: PathBuf,
}

impl Live {
    fn start(place: &Place, args: &[&str]) -> Self {
        let output = place.temporary().join(format!("output-{}", args.join("-").replace('/', "-")));
        let file = File::create(&output).unwrap();
        let mut command = place.command(binary("engr"));
        command.args(args).stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), output }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Waits until it has said `text` so many times.
    fn says(&self, text: &str, times: usize) {
        wait_for(text, || (self.said().matches(text).count() >= times).then_some(()));
    }

    fn interrupt(&self) {
        // It may have ended; not waited for yet, so the id is still its own.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT);
    }

    fn ended(&mut self) -> ExitStatus {
        self.ended_within(SOON)
    }

    fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        wait_within(limit, "engr's end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.interrupt();
        if !std::thread::panicking() {
            self.ended();
        }
    }
}

fn connects(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

#[test]
fn a_fleet_is_synced_to_a_fixed_point() {
    let app = App::new(2);
    let port = app.port;
    let plan = app.engr(&["sync", "--plan"]);
    assert_eq!(plan.code, Some(3), "{plan}");
    assert_eq!(
        plan.stdout,
        format!(
            "+ create hello-1\n+ create hello-2\n~ balancer: start at 127.0.0.1:{port}\n\
             3 to do: `engr hello sync`\n"
        )
    );
    assert_eq!(app.agents(), 0);
    let made = app.succeeds(&["sync"]);
    assert_eq!(
        made.stdout,
        format!(
            "created hello-1\ncreated hello-2\nbalancer: start at 127.0.0.1:{port}\n\
             in sync: 2 instances, http://127.0.0.1:{port}\n"
        )
    );
    assert!(connects(([127, 0, 0, 1], port).into()));
    assert_eq!(app.engr(&["sync", "--plan"]).stdout, "the fleet is what it should be\n");
    let before = app.processes();
    app.succeeds(&["sync"]);
    assert_eq!(app.processes(), before);

    app.configure(json!({"port": port, "instance-count": 3}));
    assert!(app.succeeds(&["sync"]).stdout.starts_with("created hello-3\nin sync: 3 instances"));
    app.configure(json!({"port": port, "instance-count": 1}));
    let fewer = app.succeeds(&["sync"]);
    assert!(fewer.stdout.starts_with("removed hello-2\nremoved hello-3\nin sync: 1 instance,"));
    assert_eq!(app.agents(), 1);
    assert!(!app.dir().instance("hello-2").path().exists());
}

#[test]
fn other_ports_are_taken_over_and_instances_keep_theirs() {
    let app = App::new(1);
    app.succeeds(&["sync"]);
    let own = app.fleet().instances[0].addresses[0];
    let (second, agent) = (free_port(), app.agent_pid("hello-1"));
    app.configure(json!({"ports": [app.port, second]}));
    let more = app.succeeds(&["sync"]);
    assert!(more.stdout.starts_with("reconfigured hello-1\nbalancer: listen at"), "{more}");
    assert_ne!(app.agent_pid("hello-1"), agent);
    assert_eq!(app.fleet().instances[0].addresses[0], own);
    assert!(connects(([127, 0, 0, 1], second).into()));

    app.configure(json!({"server": false}));
    let worker = app.succeeds(&["sync"]);
    assert_eq!(worker.stdout, "balancer: stop: the app has no ports\nin sync: 1 instance\n");
    assert!(!connects(([127, 0, 0, 1], second).into()));
}

#[test]
fn what_was_killed_is_started_again() {
    let app = App::new(2);
    app.succeeds(&["sync"]);
    kill_hard(app.agent_pid("hello-2"));
    kill_hard(pid_in(&app.dir().balancer_lock()));
    let again = app.succeeds(&["sync"]);
    assert!(again.stdout.starts_with("started hello-2\nbalancer: start at"), "{again}");
    assert_eq!(app.agents(), 2);
}

#[test]
fn a_sync_killed_anywhere_is_made_up_for_by_the_next() {
    let app = App::new(0);
    for round in 0..12_u32 {
        let (count, port) = (round % 4, app.port);
        app.configure(json!({"port": port, "instance-count": count}));
        let mut sync = app.start(&["sync"]);
        std::thread::sleep(Duration::from_millis(u64::from(round * 7 % 60)));
        sync.child.kill().unwrap();
        sync.child.wait().unwrap();
        app.succeeds(&["sync"]);
        assert_eq!(app.engr(&["sync", "--plan"]).code, Some(0), "round {round}");
        assert_eq!(app.agents(), count as usize, "round {round}");
    }
}

#[test]
fn two_syncs_at_once_do_the_work_once() {
    let app = App::new(3);
    let mut first = app.start(&["sync"]);
    let second = app.succeeds(&["sync"]);
    assert!(first.ended().success(), "{}", first.said());
    let said = first.said() + &second.stdout;
    assert_eq!(said.matches("created").count(), 3, "{said}");
    assert_eq!(app.agents(), 3);
}

#[test]
fn a_taken_port_is_told_with_its_holder_before_anything_is_done() {
    let app = App::new(1);
    let _holder = TcpListener::bind(("127.0.0.1", app.port)).unwrap();
    let refused = app.engr(&["sync"]);
    assert_eq!(refused.code, Some(2), "{refused}");
    let holder = format!("port {} is taken by process {}", app.port, std::process::id());
    assert!(refused.stderr.contains(&holder), "{refused}");
    assert_eq!(app.agents(), 0);
}

#[test]
fn an_agent_that_does_not_come_up_is_shown_with_its_words() {
    let app = App::new(1);
    app.place.write("../home/engr/local/hello/instances/hello-1/logs", "in the way");
    let failed = app.engr(&["sync"]);
    assert_eq!(failed.code, Some(1), "{failed}");
    for part in ["the agent of hello-1 ended at its start (exit status: 1)", "cannot write", "logs"]
    {
        assert!(failed.stderr.contains(part), "{part} in {failed}");
    }
}

#[test]
fn destroying_is_confirmed_and_asks_for_the_bucket_separately() {
    let app = App::new(2);
    app.succeeds(&["sync"]);
    let unasked = app.engr(&["destroy-app"]);
    assert_eq!(unasked.code, Some(2), "{unasked}");
    assert!(unasked.stderr.contains("--yes hello"), "{unasked}");
    assert_eq!(app.engr(&["destroy-app", "--yes", "other"]).code, Some(2));
    assert_eq!(app.agents(), 2);

    let kept = app.succeeds(&["destroy-app", "--yes", "hello"]);
    assert!(kept.stdout.contains("the bucket stays"), "{kept}");
    assert_eq!(app.processes(), []);
    assert!(app.dir().bucket().exists() && !app.dir().instances().exists());
    app.succeeds(&["sync"]);
    let all = app.succeeds(&["destroy-app", "--yes", "hello", "--bucket"]);
    assert!(all.stdout.contains("removed the bucket"), "{all}");
    assert!(all.stdout.contains("engr.json still has the app"), "{all}");
    assert!(!app.dir().0.exists());
}

#[test]
fn logs_are_those_of_all_instances_also_of_new_ones() {
    let app = App::new(2);
    assert_eq!(app.engr(&["logs"]).code, Some(2));
    app.succeeds(&["sync"]);
    let all = app.succeeds(&["logs", "--json"]);
    let line = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    let lines: Vec<Value> = all.stdout.lines().map(line).collect();
    let from: BTreeSet<&str> = lines.iter().map(|l| l["instance"].as_str().unwrap()).collect();
    assert_eq!(from, BTreeSet::from(["hello-1", "hello-2"]));
    assert!(lines.iter().all(|line| line["stream"] == "agent" && line["release"].is_null()));
    assert!(lines.is_sorted_by_key(|line| line["time"].as_str().unwrap().to_owned()), "{all}");
    assert_eq!(app.succeeds(&["logs", "-n", "1"]).stdout.lines().count(), 1);
    let one = app.succeeds(&["logs", "--instance", "hello-2"]);
    assert!(one.stdout.lines().all(|line| line.contains(" hello-2 agent ")), "{one}");
    let unknown = app.engr(&["logs", "--instance", "hello-9"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
    assert!(unknown.stderr.contains("it has hello-1, hello-2"), "{unknown}");

    let following = app.start(&["logs", "-f", "-n", "0"]);
    app.configure(json!({"port": app.port, "instance-count": 3}));
    app.succeeds(&["sync"]);
    following.says(" hello-3 agent ", 1);
}

#[test]
fn a_command_gets_the_deployed_environment_and_gives_its_exit_code() {
    let app = App::new(0);
    app.succeeds(&["env:set", "GREETING=hi there"]);
    let said = "echo $GREETING, $ENGR_APP, $ENGR_PROJECT, $PORT, [$ENGR_VERSION]; exit 7";
    let ran = app.engr(&["run", "sh", "-c", said]);
    assert_eq!(ran.code, Some(7), "{ran}");
    assert_eq!(ran.stdout, format!("hi there, hello, local, {}, []\n", app.port));
    let unknown = app.engr(&["run", "no-such-command"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
}

#[test]
fn the_app_is_served_here_and_anew_when_its_source_changes() {
    let app = App::new(0);
    app.succeeds(&["env:set", "GREETING=hi"]);
    let program = |version: &str, rest: &str| {
        let script = format!(
            "#!/bin/sh\necho {version}, $GREETING, $PORT, $ENGR_DEVELOPMENT\ntrap 'echo {version} \
             ends; exit' TERM\n{rest}\nwhile :; do sleep 0.05; done\n"
        );
        app.place.write("program", &script);
    };
    program("one", "");
    let port = app.port;
    let mut served = app.start(&["serve"]);
    served.says(&format!("one, hi, {port}, 1"), 1);
    program("two", "");
    served.says(&format!("two, hi, {port}, 1"), 1);
    assert!(served.said().contains("program changed: building"), "{}", served.said());
    assert!(served.said().contains("one ends"), "{}", served.said());

    fs::remove_file(app.place.path().join("program")).unwrap();
    served.says("what was built before runs on", 1);
    program("three", "exit 3");
    served.says("the app ended (exit status: 3): waiting for a change", 1);
    program("four", "");
    served.says("four, hi", 1);
    served.interrupt();
    assert_eq!(served.ended().code(), Some(130), "{}", served.said());
    assert!(served.said().contains("four ends"), "{}", served.said());

    let _holder = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let taken = app.engr(&["local-serve"]);
    assert_eq!(taken.code, Some(2), "{taken}");
    assert!(taken.stderr.contains("--port"), "{taken}");
}

#[test]
fn an_app_that_does_not_heed_is_killed_after_its_stop_timeout() {
    let app = App::new(0);
    app.configure(json!({"server": false, "instance-count": 0, "stop-timeout": "200ms"}));
    app.place.write("program", "#!/bin/sh\ntrap '' TERM\necho up\nwhile :; do sleep 0.05; done\n");
    let mut served = app.start(&["local-serve"]);
    served.says("up", 1);
    served.interrupt();
    assert_eq!(served.ended().code(), Some(130), "{}", served.said());
    assert!(served.said().contains("did not end within 0.2 s"), "{}", served.said());
}

#[test]
fn the_demo_loses_no_request_and_leaves_nothing() {
    assert_demo(&Place::new(), &[]);
}

/// On a server that it starts by itself, since nothing names another.
#[test]
fn the_demo_on_cloud_storage_loses_no_request_and_leaves_nothing() {
    let mut place = Place::new();
    place.set_endpoint("");
    let port = free_port().to_string();
    let said = assert_demo(&place, &["--gcs", "--port", &port]);
    assert!(said.contains("Cloud Storage is engr-gcs-server at http://127.0.0.1:"), "{said}");
    assert!(said.contains("created"), "the bucket is made by the first deploy: {said}");
    let server = place.temporary().to_string_lossy().into_owned();
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&server)
    });
    assert_eq!(left.count(), 0, "its server has ended");
}

fn assert_demo(place: &Place, args: &[&str]) -> String {
    needs("go", "version");
    let mut demo = Live::start(place, &[&["demo", "--lang", "go"], args].concat());
    let status = demo.ended_within(DEMO_MAX);
    let said = demo.said();
    assert!(status.success(), "{said}");
    let all = said.lines().find(|line| line.starts_with("all")).expect("a table");
    let numbers: Vec<u64> = all.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] > 1_000 && numbers[1] == 0, "{said}");
    assert_eq!(fs::read_dir(place.temporary()).unwrap().count(), 1, "but this test's own file");
    said
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    needs("go", "version");
    let place = Place::new();
    // A port of its own: the other demo, beside this one, takes the first that it finds free.
    let port = free_port().to_string();
    let args = ["demo", "--lang", "go", "--instances", "2", "--port", &port];
    let mut demo = Live::start(&place, &args);
    // With nothing compiled before, Go takes its time.
    wait_within(DEMO_MAX, "the first deploy", || {
        let ended = demo.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended too early: {}", demo.said());
        demo.said().contains("to v1,").then_some(())
    });
    demo.interrupt();
    assert_eq!(demo.ended().code(), Some(130), "{}", demo.said());
    assert_eq!(fs::read_dir(place.temporary()).unwrap().count(), 1, "but this test's own file");
}
