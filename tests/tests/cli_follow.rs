//! Following a rollout to each of its ends, with agents that report what the test wants.

use std::time::{Duration, Instant};

use deploy::rollout::Stage;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::engr::{Place, Transcript};
use tests::fake_fleet::{FakeFleet, done, failed};
use tests::running::Running;

/// Two instances that serve v1, and a restart under way that has published v2.
async fn restarting(place: &Place, args: &[&str]) -> (FakeFleet, Running) {
    let fleet = FakeFleet::new(place, 2);
    assert_eq!(fleet.publish("one").await, 1);
    fleet.done("hello-1", 1).await;
    fleet.done("hello-2", 1).await;
    let running = Running::start(place, &[&["hello", "restart"], args].concat());
    fleet.state_where(|state| state.current() == Some(2)).await;
    (fleet, running)
}

fn events(transcript: &Transcript) -> Vec<Value> {
    let lines = transcript.stdout.lines();
    lines.map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[tokio::test]
async fn a_rollout_that_succeeds_ends_with_its_numbers() {
    let place = Place::new();
    let (fleet, running) = restarting(&place, &["--json", "-m", "again"]).await;
    fleet.done("hello-1", 2).await;
    fleet.done("hello-2", 2).await;
    let ended = running.ended(&place).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended}");
    let events = events(&ended);
    let results = events.iter().filter(|event| event["type"] == "result").count();
    assert_eq!((results, &events.last().unwrap()["type"]), (1, &json!("result")), "{ended}");
    let result = ended.result();
    assert_eq!(result["outcome"], "done");
    assert_eq!((&result["exit_code"], &result["release"]), (&json!(0), &json!(2)));
    assert_eq!(result["undo"], "engr hello rollback v1");
    assert_eq!(result["instances"].as_array().map(Vec::len), Some(2));
    assert!(result["publish_to_last_switch_seconds"].as_f64().unwrap() < 30.0, "{ended}");
    let last = |name: &str| {
        let of = |event: &&Value| event["type"] == "instance" && event["name"] == name;
        events.iter().rfind(of).map(|event| event["phase"].clone())
    };
    assert_eq!([last("hello-1"), last("hello-2")], [Some(json!("done")), Some(json!("done"))]);
}

#[tokio::test]
async fn a_release_that_fails_everywhere_shows_why_and_what_serves_on() {
    let place = Place::new();
    let (fleet, running) = restarting(&place, &[]).await;
    fleet.failed("hello-1", 2).await;
    fleet.failed("hello-2", 2).await;
    fleet.progress(Stage::Halted, |_| {}).await;
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(20), "{ended}");
    for part in [
        "hello-1  failed to become ready: exited with code 3 before it was ready",
        "hello-2, last lines\n  │ connecting\n  │ panic: no database\n",
    ] {
        assert!(ended.stdout.contains(part), "{part:?} in:\n{ended}");
    }
    assert_eq!(
        ended.stderr,
        "engr: v2 failed on all 2 instances; v1 serves on\n  \
         → see more of its lines with `engr hello logs --release v2`\n"
    );
}

#[tokio::test]
async fn a_failure_in_json_has_the_exit_code_and_the_last_lines() {
    let place = Place::new();
    let (fleet, running) = restarting(&place, &["--json"]).await;
    fleet.failed("hello-1", 2).await;
    fleet.failed("hello-2", 2).await;
    fleet.progress(Stage::Halted, |_| {}).await;
    let ended = running.ended(&place).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(20), ""), "{ended}");
    let result = ended.result();
    assert_eq!((&result["outcome"], &result["exit_code"]), (&json!("failed"), &json!(20)));
    assert_eq!(result["error"], "v2 failed on all 2 instances; v1 serves on");
    let failure = &result["instances"][0]["failure"];
    assert_eq!((&failure["exit-code"], &failure["stage"]), (&json!(3), &json!("ready")));
    assert_eq!(failure["last-lines"], json!(["connecting", "panic: no database"]));
    let results = events(&ended).iter().filter(|event| event["type"] == "result").count();
    assert_eq!(results, 1, "{ended}");
}

#[tokio::test]
async fn mixed_versions_have_a_code_of_their_own() {
    let place = Place::new();
    let (fleet, running) = restarting(&place, &[]).await;
    fleet.done("hello-1", 2).await;
    fleet.failed("hello-2", 2).await;
    // As many as the rules allow.
    fleet.progress(Stage::Watching, |_| {}).await;
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(21), "{ended}");
    assert!(ended.stderr.contains("v2 failed on 1 of 2 instances"), "{ended}");
    assert!(ended.stderr.contains("`engr hello rollback v1`"), "{ended}");
}

#[tokio::test]
async fn a_newer_release_ends_the_following() {
    let place = Place::new();
    let (fleet, running) = restarting(&place, &["--json"]).await;
    assert_eq!(fleet.publish("two").await, 3);
    fleet.report("hello-1", 1, |report| report.seen = Some(3)).await;
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(11), "{ended}");
    let result = ended.result();
    assert_eq!((&result["outcome"], &result["superseded_by"]), (&json!("superseded"), &json!(3)));
}

#[tokio::test]
async fn the_wait_ends_and_names_who_is_missing() {
    let place = Place::new();
    let (mut fleet, running) = restarting(&place, &["--wait-timeout", "2s"]).await;
    fleet.done("hello-1", 2).await;
    fleet.kill("hello-2");
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(22), "{ended}");
    let named = "hello-2  its agent does not run; `engr hello sync` starts it";
    assert!(ended.stdout.contains(named), "{ended}");
    for part in ["its rollout goes on: hello-2's agent does not run", "`engr hello wait v2`"] {
        assert!(ended.stderr.contains(part), "{part:?} in:\n{ended}");
    }
}

#[tokio::test]
async fn an_interrupt_leaves_the_rollout_alone_and_says_how_to_come_back() {
    let place = Place::new();
    let (fleet, running) = restarting(&place, &[]).await;
    let began = Instant::now();
    running.signal(Signal::SIGINT);
    let ended = running.ended(&place).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{ended}");
    assert_eq!(ended.code, Some(130), "{ended}");
    assert_eq!(
        ended.stderr,
        "engr: safe to leave: the rollout of v2 goes on\n  \
         → come back with `engr hello wait v2`\n"
    );
    let state = fleet.state_where(|_| true).await;
    assert_eq!((state.current(), state.claim), (Some(2), None));
}

#[tokio::test]
async fn an_app_without_instances_is_no_success() {
    let place = Place::new();
    let fleet = FakeFleet::new(&place, 0);
    fleet.publish("one").await;
    let ended = place.engr(&["hello", "restart"]);
    assert_eq!(ended.code, Some(20), "{ended}");
    assert!(ended.stderr.contains("has no instance to run it"), "{ended}");
}

#[tokio::test]
async fn status_tells_of_each_instance_and_of_a_dead_agent() {
    let place = Place::new();
    let mut fleet = FakeFleet::new(&place, 3);
    fleet.publish("one").await;
    fleet.failed("hello-1", 2).await;
    fleet.done("hello-2", 1).await;
    fleet.kill("hello-2");
    let shown = place.engr(&["hello", "status", "--json"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    let status = shown.result();
    assert_eq!((&status["app"], &status["release"]), (&json!("hello"), &json!(1)));
    assert_eq!(status["claim"], json!(null));
    let instance = |index: usize| {
        let one = &status["instances"][index];
        [&one["name"], &one["release"], &one["phase"], &one["agent_pid"]].map(Clone::clone)
    };
    let pid = json!(std::process::id());
    assert_eq!(instance(0), [json!("hello-1"), json!(1), json!("serving"), pid.clone()]);
    assert_eq!(instance(1), [json!("hello-2"), json!(null), json!("down"), json!(null)]);
    assert_eq!(instance(2), [json!("hello-3"), json!(null), json!("silent"), pid]);
    assert_eq!(status["instances"][0]["last_failure"]["exit-code"], 3);

    let table = place.engr(&["hello", "status"]);
    assert!(table.stdout.starts_with("hello v1, deploy by ann@laptop at "), "{table}");
    assert!(table.stdout.contains("ago: exited with code 3 before it was ready\n"), "{table}");
}

#[tokio::test]
async fn a_rollback_without_a_name_goes_to_the_last_release_that_succeeded() {
    let place = Place::new();
    let fleet = FakeFleet::new(&place, 1);
    for content in ["one", "two", "three"] {
        fleet.publish(content).await;
    }
    let outcomes = vec![done(1), failed(2), done(3)];
    fleet.report("hello-1", 3, |report| report.outcomes = outcomes).await;
    let listed = place.engr(&["hello", "releases", "--json"]).result();
    let outcomes: Vec<_> =
        listed["releases"].as_array().unwrap().iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!(outcomes, [json!("done"), json!("failed"), json!("done")]);

    let back = place.engr(&["hello", "rollback", "--detach"]);
    assert_eq!(back.code, Some(0), "{back}");
    assert!(back.stdout.starts_with("rollback  v3 → v1 (deploy)\nartifact    ~ "), "{back}");
    assert!(back.stdout.ends_with("undo      engr hello rollback v3\n"), "{back}");
    let state = fleet.state_where(|state| state.current() == Some(4)).await;
    let digest = state.release.map(|release| release.artifact.digest);
    assert_eq!(digest, Some(deploy::Digest::of(b"one")));
}
