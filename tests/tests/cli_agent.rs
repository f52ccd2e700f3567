//! Another agent for the fleet: what a person sees who names one, and follows it, with agents that
//! report what the test wants.

use std::fs;
use std::process::Command;

use deploy::desired_agent::{AgentBinary, DesiredAgent, VERSION_MARK};
use deploy::layout;
use deploy::lock::Lock;
use deploy::publish::swap;
use deploy::report::{AgentStage, AgentUpdate, BadAgent, UpdatePhase};
use deploy::state::{Refused, State};
use deploy::store::{Expect, Store};
use deploy::{Digest, Timestamp};
use serde_json::{Value, json};
use tests::engr::{Place, Transcript, binary};
use tests::fake_agent::fake_agent;
use tests::fake_fleet::FakeFleet;
use tests::running::Running;

/// The parts of a transcript that differ from run to run, and from machine to machine.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"tester@[\w.-]+", "tester@HOST");
    settings.add_filter(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", "CLOCK");
    settings.add_filter(r"\b\d+(\.\d+)? (s|B|kB|MB)\b", "N $2");
    settings.add_filter(r"serving +\d+", "serving  PID");
    settings.add_filter(r"[0-9a-f]{64}", "SHA256");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHA");
    settings.add_filter(r"\b(amd64|arm64)\b", "ARCH");
    // A column is as wide as what stands in it.
    settings.add_filter(r" {2,}", "  ");
    settings
}

macro_rules! assert_transcript {
    ($transcript:expr, @$expected:literal) => {
        settings().bind(|| insta::assert_snapshot!($transcript.to_string(), @$expected));
    };
}

/// Instances that serve v1, whose agents are 0.1.0 and can update themselves.
async fn fleet(place: &Place, count: usize) -> FakeFleet {
    let fleet = FakeFleet::new(place, count);
    fleet.publish("one").await;
    for number in 1..=count {
        says(&fleet, &format!("hello-{number}"), "0.1.0", None, None).await;
    }
    fleet
}

/// The instance reports that it runs that version, and is so far with an update; and why it is bad.
async fn says(
    fleet: &FakeFleet,
    name: &str,
    version: &str,
    update: Option<(&DesiredAgent, UpdatePhase)>,
    reason: Option<&str>,
) {
    let change = |report: &mut deploy::report::Report| {
        report.agent.version = version.to_owned();
        report.agent.digest = Some(Digest::of(version.as_bytes()));
        report.agent.update =
            update.map(|(agent, phase)| AgentUpdate { id: agent.id.clone(), phase, word: 0 });
        let bad = update.zip(reason).map(|((agent, _), reason)| {
            let binary = agent.binaries.values().next().expect("a binary");
            BadAgent {
                digest: binary.digest,
                version: binary.version.clone(),
                update: agent.id.clone(),
                at: Timestamp::now(),
                stage: AgentStage::Trial,
                reason: reason.to_owned(),
            }
        });
        report.agent.bad.extend(bad);
    };
    fleet.report(name, 1, change).await;
}

/// The agent that is named once the command under way has named one.
async fn named(fleet: &FakeFleet) -> DesiredAgent {
    fleet.state_where(|state| state.agent.is_some()).await.agent.expect("an agent")
}

fn engr(place: &Place, args: &[&str]) -> Transcript {
    place.engr(&[&["hello"], args].concat())
}

/// Names `version`, and follows nothing.
fn name(place: &Place, version: &str) -> Transcript {
    fake_agent(place, version, version);
    engr(place, &["agent:update", "--binary", version, "--detach"])
}

#[tokio::test]
async fn an_agent_is_uploaded_named_and_followed_until_all_run_it() {
    let place = Place::new();
    let fleet = fleet(&place, 2).await;
    fake_agent(&place, "new", "0.2.0");
    let args = ["hello", "agent:update", "--binary", "new", "-m", "faster"];
    let running = Running::start(&place, &args);
    let agent = named(&fleet).await;
    says(&fleet, "hello-1", "0.2.0", Some((&agent, UpdatePhase::Good)), None).await;
    says(&fleet, "hello-2", "0.1.0", Some((&agent, UpdatePhase::Waiting)), None).await;
    let status = engr(&place, &["status"]);
    says(&fleet, "hello-2", "0.2.0", Some((&agent, UpdatePhase::Good)), None).await;
    let ended = running.ended(&place).await;
    assert_transcript!(ended, @"
    $ engr hello agent:update --binary new -m faster
    agent  agentd 0.2.0 for ARCH, SHA, N MB
    upload  N MB  N s
    ARCH  ~ what each was made with → 0.2.0 (SHA)
      hello-1  runs 0.2.0 after N s
      hello-2  runs 0.2.0 after N s
    rollout  agentd 0.2.0 runs on all 2 instances  N s
    undo  engr hello agent:rollback
    (0)
    ");
    assert_transcript!(status, @"
    $ engr hello status
    hello v1, deploy by ann@laptop at CLOCK
    agentd is to be 0.2.0 for ARCH (SHA), by tester@HOST at CLOCK (faster): 1 of 2 run it

    INSTANCE  RELEASE  PHASE  PID  UPTIME  RESTARTS  ADDRESS  AGENT  REPORTED  LAST FAILURE
    hello-1  v1  serving  PID  N s  0  -  0.2.0  N s ago  -
    hello-2  v1  serving  PID  N s  0  -  0.1.0 (waiting)  N s ago  -
    (0)
    ");
    let binary = agent.binaries.values().next().unwrap();
    let object = fleet.store().read(&layout::agent(&binary.digest)).await.unwrap();
    assert_eq!(object.data, fs::read(place.path().join("new")).unwrap());
    assert_eq!((&*binary.version, agent.message.as_deref()), ("0.2.0", Some("faster")));
    assert_transcript!(engr(&place, &["status"]), @"
    $ engr hello status
    hello v1, deploy by ann@laptop at CLOCK

    INSTANCE  RELEASE  PHASE  PID  UPTIME  RESTARTS  ADDRESS  AGENT  REPORTED  LAST FAILURE
    hello-1  v1  serving  PID  N s  0  -  0.2.0  N s ago  -
    hello-2  v1  serving  PID  N s  0  -  0.2.0  N s ago  -
    (0)
    ");
}

#[tokio::test]
async fn a_bad_canary_ends_it_and_says_why() {
    let place = Place::new();
    let fleet = fleet(&place, 2).await;
    fake_agent(&place, "new", "0.2.0");
    let running = Running::start(&place, &["hello", "agent:update", "--binary", "new"]);
    let agent = named(&fleet).await;
    let bad = (&agent, UpdatePhase::Bad);
    says(&fleet, "hello-1", "0.1.0", Some(bad), Some("it crashed 3 times")).await;
    says(&fleet, "hello-2", "0.1.0", Some((&agent, UpdatePhase::Halted)), None).await;
    let ended = running.ended(&place).await;
    assert_transcript!(ended, @"
    $ engr hello agent:update --binary new
    agent  agentd 0.2.0 for ARCH, SHA, N MB
    upload  N MB  N s
    ARCH  ~ what each was made with → 0.2.0 (SHA)
      hello-1  has marked it bad: it crashed 3 times
      hello-2  does not try it: it was bad where it was tried first
    ! engr: agentd 0.2.0 runs on none of 2: the agents before it run on
    !  → the agents' lines say more: `engr hello logs`
    !  → take it back with `engr hello agent:rollback`
    (20)
    ");
    assert_transcript!(engr(&place, &["status"]), @"
    $ engr hello status
    hello v1, deploy by ann@laptop at CLOCK
    agentd is to be 0.2.0 for ARCH (SHA), by tester@HOST at CLOCK: 0 of 2 run it

    INSTANCE  RELEASE  PHASE  PID  UPTIME  RESTARTS  ADDRESS  AGENT  REPORTED  LAST FAILURE
    hello-1  v1  serving  PID  N s  0  -  0.1.0 (the wanted one is bad)  N s ago  -
    hello-2  v1  serving  PID  N s  0  -  0.1.0 (halted)  N s ago  -
    hello-1 has marked agentd 0.2.0 (SHA) bad: it crashed 3 times
    (0)
    ");
    assert_transcript!(place.engr(&["doctor", "hello"]), @"
    $ engr doctor hello
    engr
      ok  version  engr 0.1.0
    hello
      ok  project  local
      ok  bucket  file://ROOT/home/engr/local/hello/bucket
      ok  state  v1
      ok  agents  2 × agentd 0.1.0
      weak  agents  0.2.0 for ARCH (SHA) does not run everywhere: hello-1 has marked it bad (it crashed 3 times); hello-2 does not try it
      → try it again with `engr <app> agent:update --retry`, or take it back with `engr <app> agent:rollback`
    (0)
    ");
    let status = engr(&place, &["status", "--json"]).result();
    assert_eq!(status["agent"]["id"], json!(agent.id));
    assert_eq!(status["instances"][0]["agent_update"]["phase"], "bad");
    assert_eq!(status["instances"][0]["agent_bad"][0]["reason"], "it crashed 3 times");
}

#[tokio::test]
async fn programs_read_how_each_instance_fares() {
    let place = Place::new();
    let fleet = fleet(&place, 3).await;
    fake_agent(&place, "new", "0.2.0");
    let running = Running::start(&place, &["hello", "agent:update", "--binary", "new", "--json"]);
    let agent = named(&fleet).await;
    says(&fleet, "hello-1", "0.2.0", Some((&agent, UpdatePhase::Good)), None).await;
    let bad = (&agent, UpdatePhase::Bad);
    says(&fleet, "hello-2", "0.1.0", Some(bad), Some("no pidfd")).await;
    // An agent of before there were updates.
    fleet.report("hello-3", 1, |_| {}).await;
    let ended = running.ended(&place).await;
    let result = ended.result();
    assert_eq!((ended.code, &result["outcome"]), (Some(21), &json!("mixed")), "{ended}");
    assert_eq!(result["agent"]["id"], json!(agent.id));
    let agents = result["agents"].as_array().unwrap();
    let phases: Vec<_> = agents.iter().map(|one| (&one["phase"], &one["reason"])).collect();
    let unable = json!("its agent, 0.0.0, cannot update itself");
    let (no_reason, no_pidfd) = (Value::Null, json!("no pidfd"));
    assert_eq!(
        phases,
        [(&json!("good"), &no_reason), (&json!("bad"), &no_pidfd), (&json!("unable"), &unable)]
    );
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let types: Vec<_> = lines.map(|line| line["type"].clone()).collect();
    for kind in ["agent", "agent-instance", "phase", "result"] {
        assert!(types.contains(&json!(kind)), "{kind} in {ended}");
    }
}

#[tokio::test]
async fn another_agent_in_its_place_and_a_time_out_end_the_following() {
    let place = Place::new();
    let fleet = fleet(&place, 1).await;
    fake_agent(&place, "new", "0.2.0");
    let args = ["hello", "agent:update", "--binary", "new", "--wait-timeout", "300ms"];
    let late = Running::start(&place, &args).ended(&place).await;
    assert_transcript!(late, @"
    $ engr hello agent:update --binary new --wait-timeout 300ms
    agent  agentd 0.2.0 for ARCH, SHA, N MB
    upload  N MB  N s
    ARCH  ~ what each was made with → 0.2.0 (SHA)
    ! engr: agentd 0.2.0 does not run everywhere after N s; instances go on: hello-1 is behind
    !  → come back with `engr hello status --watch`
    (22)
    ");
    // The same again: nothing is named, and it is followed.
    let again = Running::start(&place, &args).ended(&place).await;
    assert!(again.stdout.contains("it is what the fleet is to run already"), "{again}");
    let first = named(&fleet).await;

    let running = Running::start(&place, &["hello", "agent:rollback"]);
    fleet.state_where(|state| state.agent.as_ref() != Some(&first)).await;
    let other = name(&place, "0.3.0");
    assert_eq!(other.code, Some(0), "{other}");
    let ended = running.ended(&place).await;
    assert_transcript!(ended, @"
    $ engr hello agent:rollback
    ARCH  ~ 0.2.0 (SHA) → what each was made with
    ! engr: another agent took the place of the agentd that each was made with before it had ended
    !  → come back with `engr hello status --watch`
    (11)
    ");
}

#[tokio::test]
async fn who_asks_for_it_tries_again_what_was_bad() {
    let place = Place::new();
    let fleet = fleet(&place, 1).await;
    name(&place, "0.2.0");
    let first = named(&fleet).await;
    assert!(!first.retry);
    let again = ["agent:update", "--binary", "0.2.0", "--retry", "--detach"];
    assert_transcript!(engr(&place, &again), @"
    $ engr hello agent:update --binary 0.2.0 --retry --detach
    agent  agentd 0.2.0 for ARCH, SHA, N MB
    upload  nothing to upload, the bucket has it  N s
    it is named; see how the instances fare: engr hello status --watch
    (0)
    ");
    let second = named(&fleet).await;
    assert!(second.retry && second.id != first.id);
    assert_eq!(second.binaries, first.binaries);
}

#[tokio::test]
async fn a_plan_names_and_uploads_nothing() {
    let place = Place::new();
    let fleet = fleet(&place, 1).await;
    name(&place, "0.2.0");
    fake_agent(&place, "new", "0.3.0");
    assert_transcript!(engr(&place, &["agent:update", "--binary", "new", "--plan"]), @"
    $ engr hello agent:update --binary new --plan
    agent  agentd 0.3.0 for ARCH, SHA, N MB
    ARCH  ~ 0.2.0 (SHA) → 0.3.0 (SHA)
    (3)
    ");
    assert_transcript!(engr(&place, &["agent:update", "--binary", "0.2.0", "--plan"]), @"
    $ engr hello agent:update --binary 0.2.0 --plan
    agent  agentd 0.2.0 for ARCH, SHA, N MB
      it is what the fleet is to run already
    (0)
    ");
    assert_eq!(fleet.store().list(layout::AGENTS).await.unwrap().len(), 1);
    // The agent beside this engr, which says its version by itself and by its bytes.
    let planned = engr(&place, &["agent:update", "--plan", "--json"]).result();
    let binaries = planned["agent"]["binaries"].as_object().unwrap();
    assert_eq!(binaries.values().next().unwrap()["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn what_is_no_agent_of_the_fleets_machines_is_refused() {
    let place = Place::new();
    fleet(&place, 1).await;
    let own = fs::read(binary("fake-agentd")).unwrap();
    let mut foreign = own.clone();
    foreign[18] = if own[18] == 62 { 183 } else { 62 };
    fs::write(place.path().join("foreign"), foreign).unwrap();
    place.write("text", "hello");
    fs::copy("/bin/true", place.path().join("true")).unwrap();
    // It says another version than its bytes do.
    fake_agent(&place, "liar", &format!("1; {VERSION_MARK}2"));
    for wrong in ["foreign", "text", "true", "liar", "missing"] {
        let refused = engr(&place, &["agent:update", "--binary", wrong]);
        assert_eq!(refused.code, Some(2), "{refused}");
    }
    assert_transcript!(engr(&place, &["agent:update", "--binary", "foreign"]), @"
    $ engr hello agent:update --binary foreign
    ! engr: foreign is built for ARCH, and the fleet is ARCH
    !  → name one for ARCH with `--binary PATH`
    (2)
    ");
    assert_transcript!(engr(&place, &["agent:update", "--binary", "text"]), @"
    $ engr hello agent:update --binary text
    ! engr: text is no Linux executable for ARCH or ARCH, and the fleet is ARCH
    !  → name one for ARCH with `--binary PATH`
    (2)
    ");
    assert_transcript!(engr(&place, &["agent:update", "--binary", "true"]), @"
    $ engr hello agent:update --binary true
    ! engr: true is not an agentd that says its version
    !  → name one with `--binary PATH`; `PATH --version` says `agentd` and a version
    (2)
    ");
    assert_transcript!(engr(&place, &["agent:update", "--binary", "missing"]), @"
    $ engr hello agent:update --binary missing
    ! engr: cannot read missing: No such file or directory (os error 2)
    (2)
    ");
}

#[tokio::test]
async fn a_lock_stops_it_before_anything_is_uploaded() {
    let place = Place::new();
    let fleet = fleet(&place, 1).await;
    let lock = Lock {
        by: "bob@desk".to_owned(),
        since: Timestamp::now(),
        message: "incident 7".to_owned(),
        until: None,
    };
    let step = |state: State| Ok::<_, Refused>(state.locked(lock.clone(), Timestamp::now()));
    swap(fleet.store(), "hello", step).await.unwrap();
    assert_transcript!(name(&place, "0.2.0"), @"
    $ engr hello agent:update --binary 0.2.0 --detach
    agent  agentd 0.2.0 for ARCH, SHA, N MB
    ! engr: bob@desk has locked hello since CLOCK (N s): incident 7
    !  → nothing was published; wait for the lock's end with `--wait-lock`
    !  → if it is over, lift it with `engr hello unlock`
    (11)
    ");
    assert_eq!(fleet.store().list(layout::AGENTS).await.unwrap(), []);
}

#[tokio::test]
async fn a_rollback_names_the_one_before_and_the_history_tells() {
    let place = Place::new();
    let fleet = fleet(&place, 1).await;
    assert_transcript!(engr(&place, &["agent:rollback"]), @"
    $ engr hello agent:rollback
    ! engr: no agent was ever named for hello
    !  → name one with `engr hello agent:update`
    (2)
    ");
    name(&place, "0.2.0");
    name(&place, "0.3.0");
    assert_transcript!(engr(&place, &["agent:rollback", "--detach", "-m", "slow"]), @"
    $ engr hello agent:rollback --detach -m slow
    ARCH  ~ 0.3.0 (SHA) → 0.2.0 (SHA)
    it is named; see how the instances fare: engr hello status --watch
    (0)
    ");
    assert_transcript!(engr(&place, &["agent:rollback", "0.4.0"]), @"
    $ engr hello agent:rollback 0.4.0
    ! engr: no other agent 0.4.0 was named for hello
    !  → there were 0.3.0 (SHA)
    (2)
    ");
    assert_transcript!(engr(&place, &["agent:rollback", "v0.3.0", "--detach"]), @"
    $ engr hello agent:rollback v0.3.0 --detach
    ARCH  ~ 0.2.0 (SHA) → 0.3.0 (SHA)
    it is named; see how the instances fare: engr hello status --watch
    (0)
    ");
    assert_transcript!(engr(&place, &["releases", "--all", "-n", "4"]), @"
    $ engr hello releases --all -n 4
      RELEASE  WHEN  WHO  WHAT  COMMIT  ARTIFACT  OUTCOME  MESSAGE
      CLOCK  tester@HOST  agent rollback  0.3.0 for ARCH (SHA)
      CLOCK  tester@HOST  agent rollback  0.2.0 for ARCH (SHA): slow
      CLOCK  tester@HOST  agent set  0.3.0 for ARCH (SHA)
      CLOCK  tester@HOST  agent set  0.2.0 for ARCH (SHA)
    (0)
    ");
    let steps = engr(&place, &["releases", "--all", "--json"]).result();
    assert_eq!(steps["steps"][1]["step"], "agent-rollback");
    assert_eq!(steps["steps"][3]["step"], "agent-set");
    assert_eq!(steps["steps"][1]["agent"]["message"], "slow");

    // What is no longer there cannot be named.
    let digest = Digest::of(&fs::read(place.path().join("0.2.0")).unwrap());
    fleet.store().delete(&layout::agent(&digest), Expect::Any).await.unwrap();
    assert_transcript!(engr(&place, &["agent:rollback", "0.2.0"]), @"
    $ engr hello agent:rollback 0.2.0
    ! engr: agents/SHA256 is no longer in the bucket
    !  → bring it again with `engr <app> agent:update --binary PATH`
    (1)
    ");
}

#[tokio::test]
async fn the_first_one_can_be_taken_back_too() {
    let place = Place::new();
    let fleet = fleet(&place, 1).await;
    name(&place, "0.2.0");
    let running = Running::start(&place, &["hello", "agent:rollback"]);
    let state = fleet.state_where(|state| state.agent.as_ref().is_some_and(|it| it.rollback)).await;
    let agent = state.agent.unwrap();
    assert!(agent.binaries.is_empty(), "{agent:?}");
    says(&fleet, "hello-1", "0.1.0", Some((&agent, UpdatePhase::Good)), None).await;
    let ended = running.ended(&place).await;
    assert_transcript!(ended, @"
    $ engr hello agent:rollback
    ARCH  ~ 0.2.0 (SHA) → what each was made with
      hello-1  runs 0.1.0 after N s
    rollout  the agentd that each was made with runs on 1 instance  N s
    undo  engr hello agent:rollback
    (0)
    ");
}

#[tokio::test]
async fn an_unfinished_prune_is_not_trusted_with_what_nobody_has_here() {
    let place = Place::new();
    let fleet = fleet(&place, 1).await;
    name(&place, "0.2.0");
    name(&place, "0.3.0");
    let step = |state: State| {
        let pruned = Some(deploy::prune::Pruned { count: 1, from: 0, unfinished: true });
        Ok::<_, Refused>(State { pruned, ..state })
    };
    swap(fleet.store(), "hello", step).await.unwrap();
    assert_transcript!(engr(&place, &["agent:rollback"]), @"
    $ engr hello agent:rollback
    ! engr: that agent cannot be named: a prune of hello has not come to its end and may still remove it
    !  → let it come to its end with `engr hello prune`
    (11)
    ");
    // Who has the bytes brings them again.
    let again = engr(&place, &["agent:update", "--binary", "0.2.0", "--detach"]);
    assert_eq!(again.code, Some(0), "{again}");
}

/// The real agent says whether it could run an instance, though another holds it.
#[tokio::test]
async fn a_self_check_changes_nothing() {
    let place = Place::new();
    fleet(&place, 1).await;
    let folder = place.home().join("local/hello/instances/hello-1");
    let names = || {
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    let before = names();
    let run = |folder: &std::path::Path| {
        let mut command = Command::new(binary("agentd"));
        command.args(["run", "--self-check", "--dir"]).arg(folder).output().unwrap()
    };
    let output = run(&folder);
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said, json!({"ok": true, "version": env!("CARGO_PKG_VERSION")}));
    assert_eq!(names(), before);
    let output = run(&place.root());
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("agentd: cannot read ") && text.contains("agent.json"), "{text}");
}

/// It fits what the programs tell of themselves.
#[test]
fn the_binary_that_is_named_is_the_one_that_was_built() {
    let content = fs::read(binary("agentd")).unwrap();
    let mark = format!("{VERSION_MARK}{};", env!("CARGO_PKG_VERSION"));
    let found = content.windows(mark.len()).filter(|part| *part == mark.as_bytes()).count();
    assert_eq!(found, 1);
    let binary = AgentBinary { digest: Digest::of(&content), size: 1, version: String::new() };
    assert_eq!(layout::agent(&binary.digest).len(), "agents/".len() + 64);
}
