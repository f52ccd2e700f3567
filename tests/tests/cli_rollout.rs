//! A rollout that the fleet conducts, as somebody at a shell sees it and orders it about: the agents
//! and their conductor are this test.

use deploy::Timestamp;
use deploy::desired_agent::order_key;
use deploy::lock::Lock;
use deploy::publish::swap;
use deploy::release::Release;
use deploy::rollout::{Halt, Mark, Progress, Stage, Verb};
use deploy::state::{Refused, State};
use serde_json::{Value, json};
use tests::engr::{Place, Transcript};
use tests::fake_fleet::{APP, FakeFleet, failure};
use tests::running::Running;

/// The parts of a transcript that differ from run to run, and from machine to machine.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"tester@[\w.-]+", "tester@HOST");
    settings.add_filter(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", "CLOCK");
    settings.add_filter(r"\b\d+m \d+s\b", "N s");
    settings.add_filter(r"\b\d+(\.\d+)? (s|B|kB|MB)\b", "N $2");
    settings.add_filter(r"serving(, waits)? +\d+", "serving$1  PID");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHA");
    // A column is as wide as what stands in it.
    settings.add_filter(r" {2,}", "  ");
    settings
}

macro_rules! assert_transcript {
    ($transcript:expr, @$expected:literal) => {
        settings().bind(|| insta::assert_snapshot!($transcript.to_string(), @$expected));
    };
}

const NAMES: [&str; 3] = ["hello-1", "hello-2", "hello-3"];

/// Three instances that serve v1, which was good for all of them.
async fn serving(place: &Place) -> FakeFleet {
    let fleet = FakeFleet::new(place, 3);
    assert_eq!(fleet.publish("one").await, 1);
    for name in NAMES {
        fleet.done(name, 1).await;
    }
    fleet.progress(Stage::Done, |progress| progress.mark = Mark::All).await;
    fleet
}

/// The same with v2 on its way, and with who goes first of the three, second and third.
async fn restarting(place: &Place, args: &[&str]) -> (FakeFleet, Running, [&'static str; 3]) {
    let fleet = serving(place).await;
    let running = Running::start_heard(place, &[&[APP, "restart"], args].concat());
    let state = fleet.state_where(|state| state.current() == Some(2)).await;
    let order = order(&state.release.unwrap());
    for name in NAMES {
        fleet.waits(name, 2).await;
    }
    (fleet, running, order)
}

fn order(release: &Release) -> [&'static str; 3] {
    let mut names = NAMES;
    names.sort_by_key(|name| order_key(&release.id, name));
    names
}

/// Lets the instances on, up to that one.
fn up_to(name: &str) -> impl FnOnce(&mut Progress) {
    move |progress| progress.mark = Mark::UpTo(order_key(&progress.release, name))
}

/// It goes no further, as that instance has failed.
fn failed_on(name: &str) -> impl FnOnce(&mut Progress) {
    let halt = Halt {
        at: Timestamp::now(),
        message: format!("{name}: exited with code 3"),
        instance: Some(name.to_owned()),
        failure: Some(failure(2)),
        by: None,
    };
    move |progress| progress.halt = Some(halt)
}

fn events(transcript: &Transcript, kind: &str) -> Vec<Value> {
    let lines = transcript.stdout.lines();
    let events = lines.map(|line| serde_json::from_str(line).expect("a JSON line"));
    events.filter(|event: &Value| event["type"] == kind).collect()
}

async fn locked(fleet: &FakeFleet) {
    let now = Timestamp::now();
    let message = "incident".to_owned();
    let lock = Lock { by: "ann@laptop".to_owned(), since: now, message, until: None };
    let step = |state: State| -> Result<_, Refused> { Ok(state.locked(lock.clone(), now)) };
    swap(fleet.store(), APP, step).await.unwrap();
}

#[tokio::test]
async fn a_rollout_is_told_stage_by_stage_and_ends_when_all_serve() {
    let place = Place::new();
    let (fleet, running, [first, second, third]) = restarting(&place, &[]).await;
    fleet.progress(Stage::Canary, up_to(first)).await;
    running.says(&format!("canary    {first} goes first\n")).await;
    fleet.done(first, 2).await;
    running.says(&format!("canary    {first} is healthy, and bakes for 10s\n")).await;
    fleet.progress(Stage::Rolling, |progress| progress.mark = Mark::All).await;
    running.says("rolling   1 of 3 have switched; the others follow\n").await;
    fleet.done(second, 2).await;
    fleet.done(third, 2).await;
    running.says(&format!("{third}  switched to v2")).await;
    fleet.progress(Stage::Watching, |progress| progress.mark = Mark::All).await;
    let ended = running.ended(&place).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended}");
    assert!(ended.stdout.contains("rollout   v2 serves on all 3 instances  "), "{ended}");
    let end = "watched   for 1m more by the fleet; safe to leave\n";
    assert!(ended.stdout.contains(end), "{ended}");
    assert!(ended.stdout.ends_with("undo      engr hello rollback v1\n"), "{ended}");
}

#[tokio::test]
async fn each_stage_is_an_event() {
    let place = Place::new();
    let (fleet, running, [first, ..]) = restarting(&place, &["--json"]).await;
    fleet.progress(Stage::Canary, up_to(first)).await;
    running.says("\"stage\":\"canary\"").await;
    let [others @ .., last] = NAMES;
    for name in others {
        fleet.done(name, 2).await;
    }
    running.says("\"phase\":\"done\"").await;
    fleet.progress(Stage::Done, |progress| progress.mark = Mark::All).await;
    running.says("\"stage\":\"done\"").await;
    fleet.done(last, 2).await;
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    let of = |event: &Value| {
        ["release", "stage", "may_switch", "instances", "conductor"].map(|key| event[key].clone())
    };
    let told: Vec<_> = events(&ended, "rollout").iter().map(of).collect();
    let event = |stage: &str, may_switch: u32| {
        [json!(2), json!(stage), json!(may_switch), json!(3), json!("hello-1")]
    };
    assert_eq!(told, [event("canary", 1), event("done", 3)], "{ended}");
    let waiting = |event: &Value| event["phase"] == "waiting";
    assert!(events(&ended, "instance").iter().any(waiting), "{ended}");
    assert_eq!(ended.result()["stage"], "done");
}

#[tokio::test]
async fn a_release_that_is_taken_back_says_where_and_why() {
    let place = Place::new();
    let (fleet, running, [first, second, third]) = restarting(&place, &[]).await;
    fleet.done(first, 2).await;
    running.says(&format!("{first}  switched to v2")).await;
    fleet.progress(Stage::Reverted, failed_on(first)).await;
    let why = format!("{first}: exited with code 3");
    running.says(&format!("reverted  {why}; all go back\n")).await;
    for name in [first, second, third] {
        fleet.reverted(name, 2).await;
    }
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(20), "{ended}");
    for part in [
        format!("          {first}  is back at v1\n"),
        format!("{first}, last lines\n  │ connecting\n  │ panic: no database\n"),
    ] {
        assert!(ended.stdout.contains(&part), "{part:?} in:\n{ended}");
    }
    assert!(ended.stderr.starts_with("engr: v2 was taken back after "), "{ended}");
    assert!(ended.stderr.contains(&format!(" s: {why}; v1 serves on\n  → see more")), "{ended}");
}

#[tokio::test]
async fn a_release_that_is_taken_back_is_a_result_too() {
    let place = Place::new();
    let (fleet, running, [first, ..]) = restarting(&place, &["--json"]).await;
    for name in NAMES {
        fleet.reverted(name, 2).await;
    }
    fleet.progress(Stage::Reverted, failed_on(first)).await;
    let ended = running.ended(&place).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(20), ""), "{ended}");
    let result = ended.result();
    assert_eq!((&result["outcome"], &result["stage"]), (&json!("reverted"), &json!("reverted")));
    assert_eq!(result["halt"]["instance"], first);
    assert_eq!(result["halt"]["failure"]["exit-code"], 3);
    assert_eq!(result["instances"][0]["phase"], "reverted");
}

#[tokio::test]
async fn a_release_that_is_halted_says_how_to_go_on() {
    let place = Place::new();
    let (fleet, running, [first, second, third]) = restarting(&place, &[]).await;
    fleet.done(first, 2).await;
    fleet.failed(second, 2).await;
    fleet.report(third, 1, |report| report.seen = Some(2)).await;
    fleet.progress(Stage::Halted, failed_on(second)).await;
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(21), "{ended}");
    for part in [
        format!(" s: {second}: exited with code 3; it serves on 1 of 3\n"),
        "→ go on, whatever has failed until now, with `engr hello resume`\n".to_owned(),
        "→ take it back with `engr hello abort`, or go back with `engr hello rollback v1`\n".into(),
    ] {
        assert!(ended.stderr.contains(&part), "{part:?} in:\n{ended}");
    }
    assert!(ended.stdout.contains(&format!("{second}, last lines\n")), "{ended}");
}

#[tokio::test]
async fn who_is_silent_or_down_is_passed_over_with_the_fleet_and_named() {
    let place = Place::new();
    let (mut fleet, running, _) = restarting(&place, &["--json"]).await;
    fleet.done("hello-1", 2).await;
    fleet.kill("hello-3");
    let long_ago = Timestamp::now() - deploy::Span::from_secs(1_100).0;
    fleet.report("hello-2", 1, |report| report.written = long_ago).await;
    running.says("\"phase\":\"down\"").await;
    // It was heard to change, and so is silent for a while yet.
    fleet.progress(Stage::Rolling, |progress| progress.mark = Mark::All).await;
    running.says("\"stage\":\"rolling\"").await;
    running.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(running.ended(&place).await.code, Some(130));

    // Whoever comes later finds it so old that no clock can be that wrong.
    fleet.progress(Stage::Watching, |progress| progress.mark = Mark::All).await;
    let ended = place.engr(&[APP, "wait"]);
    assert_eq!(ended.code, Some(21), "{ended}");
    let start = "engr: v2 serves on 1 of 3 instances: hello-2 has not reported for 18m ";
    assert!(ended.stderr.starts_with(start), "{ended}");
    assert!(ended.stderr.contains("s; hello-3's agent does not run\n"), "{ended}");
    let ended = place.engr(&[APP, "wait", "--json"]);
    let phases: Vec<_> = ended.result()["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["phase"].clone())
        .collect();
    assert_eq!(phases, [json!("done"), json!("stale"), json!("down")], "{ended}");
    let status = place.engr(&[APP, "status", "--json"]).result();
    assert_eq!(status["instances"][1]["stale"], true, "{status}");
}

#[tokio::test]
async fn a_paused_rollout_goes_on_when_it_is_resumed() {
    let place = Place::new();
    let (fleet, running, [first, ..]) = restarting(&place, &[]).await;
    fleet.progress(Stage::Canary, up_to(first)).await;
    assert_transcript!(place.session(&["hello pause", "hello pause", "hello status"]), @"
    $ engr hello pause
    v2 is paused: no further instance begins to switch, and it goes on with `engr hello resume`
    follow it with `engr hello wait v2`
    (0)
    $ engr hello pause
    v2 is paused already, by tester@HOST
    (0)
    $ engr hello status
    hello v2, restart by tester@HOST at CLOCK
    tester@HOST has paused the rollout of v2 at CLOCK: 3 waiting; `engr hello resume`

    INSTANCE  RELEASE  PHASE  PID  UPTIME  RESTARTS  ADDRESS  REPORTED  LAST FAILURE
    hello-1  v1  serving, waits  PID  N s  0  -  N s ago  -
    hello-2  v1  serving, waits  PID  N s  0  -  N s ago  -
    hello-3  v1  serving, waits  PID  N s  0  -  N s ago  -
    (0)
    ");
    running.says("paused    by tester@").await;
    let paused = fleet.state_where(|state| state.order.is_some()).await.order.unwrap();
    assert_eq!(paused.verb, Verb::Pause);
    let waited = place.engr(&[APP, "wait", "--wait-timeout", "1s"]);
    assert_eq!(waited.code, Some(22), "{waited}");
    assert!(waited.stderr.contains("its rollout goes on: tester@"), "{waited}");
    assert!(waited.stderr.contains(" has paused it; hello-1 waits for its turn; "), "{waited}");

    locked(&fleet).await;
    let kept = place.engr(&[APP, "resume"]);
    assert_eq!(kept.code, Some(11), "{kept}");
    assert!(kept.stderr.contains("ann@laptop has locked hello since "), "{kept}");
    assert_eq!(place.engr(&[APP, "unlock"]).code, Some(0));
    assert_transcript!(place.session(&["hello resume", "hello resume"]), @"
    $ engr hello resume
    v2 goes on
    follow it with `engr hello wait v2`
    (0)
    $ engr hello resume
    ! engr: v2 is neither paused nor halted: its rollout goes on
    !  → follow it with `engr hello wait v2`
    (2)
    ");
    running.says("resumed   by tester@").await;
    let resumed = fleet.state_where(|state| state.order.is_some()).await.order.unwrap();
    assert_eq!(resumed.verb, Verb::Resume);
    for name in NAMES {
        fleet.done(name, 2).await;
    }
    fleet.progress(Stage::Watching, |progress| progress.mark = Mark::All).await;
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    let steps = place.engr(&[APP, "releases", "--all", "--json"]).result();
    let steps: Vec<_> =
        steps["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    let expected = ["resumed", "unlocked", "locked", "paused", "published", "published"];
    assert_eq!(steps, expected.map(|step| json!(step)));
}

#[tokio::test]
async fn a_halted_rollout_that_is_resumed_has_not_ended() {
    let place = Place::new();
    let (fleet, running, [first, second, third]) = restarting(&place, &["--detach"]).await;
    assert_eq!(running.ended(&place).await.code, Some(0));
    fleet.done(first, 2).await;
    fleet.failed(second, 2).await;
    fleet.report(third, 1, |report| report.seen = Some(2)).await;
    fleet.progress(Stage::Halted, failed_on(second)).await;
    assert_eq!(place.engr(&[APP, "wait"]).code, Some(21));
    let resumed = place.engr(&[APP, "resume", "--json"]).result();
    assert_eq!((&resumed["outcome"], &resumed["release"]), (&json!("ordered"), &json!(2)));
    let order = fleet.state_where(|state| state.order.is_some()).await.order.unwrap();
    // The conductor has not heard of it yet.
    let waited = place.engr(&[APP, "wait", "--wait-timeout", "500ms"]);
    assert_eq!(waited.code, Some(22), "{waited}");
    let heard = |progress: &mut Progress| {
        (progress.order, progress.mark) = (Some(order.id.clone()), Mark::All);
    };
    fleet.done(third, 2).await;
    fleet.progress(Stage::Watching, heard).await;
    let ended = place.engr(&[APP, "wait", "v2"]);
    assert_eq!(ended.code, Some(21), "{ended}");
    assert!(
        ended.stderr.contains("v2 failed on 1 of 3 instances and serves on the rest"),
        "{ended}"
    );
}

#[tokio::test]
async fn an_abort_is_followed_to_the_release_before() {
    let place = Place::new();
    let (fleet, running, [first, ..]) = restarting(&place, &[]).await;
    fleet.done(first, 2).await;
    fleet.progress(Stage::Rolling, up_to(first)).await;
    locked(&fleet).await;
    let aborted = place.engr(&[APP, "abort"]);
    assert_eq!(aborted.code, Some(0), "{aborted}");
    let said =
        "v2 is called off, and all instances go back to v1\nfollow it with `engr hello wait v2`\n";
    assert_eq!(aborted.stdout, said, "{aborted}");
    running.says("aborted   by tester@").await;
    let order = fleet.state_where(|state| state.order.is_some()).await.order.unwrap();
    assert_eq!(order.verb, Verb::Abort);
    let by = Some(order.by.clone());
    let message = format!("{} has called it off", order.by);
    let halt = Halt { at: Timestamp::now(), message, instance: None, failure: None, by };
    fleet
        .progress(Stage::Reverted, |progress| {
            (progress.order, progress.halt) = (Some(order.id), Some(halt));
        })
        .await;
    for name in NAMES {
        fleet.reverted(name, 2).await;
    }
    let ended = running.ended(&place).await;
    assert_eq!(ended.code, Some(20), "{ended}");
    assert!(ended.stderr.contains(" has called it off; v1 serves on\n"), "{ended}");
    assert!(!ended.stderr.contains("engr hello logs"), "{ended}");
    let again = place.engr(&[APP, "abort"]);
    assert_eq!((again.code, &*again.stdout), (Some(0), "v2 was taken back already\n"));
    let resumed = place.engr(&[APP, "resume"]);
    assert_eq!(resumed.code, Some(2), "{resumed}");
    assert!(resumed.stderr.contains("`engr hello rollback v1`"), "{resumed}");
}

#[tokio::test]
async fn an_abort_is_waited_for_also_where_all_have_switched() {
    let place = Place::new();
    let (fleet, running, _) = restarting(&place, &[]).await;
    for name in NAMES {
        fleet.done(name, 2).await;
    }
    fleet.progress(Stage::Watching, |progress| progress.mark = Mark::All).await;
    assert_eq!(running.ended(&place).await.code, Some(0));
    assert_eq!(place.engr(&[APP, "pause"]).code, Some(2), "all have switched");
    assert_eq!(place.engr(&[APP, "abort"]).code, Some(0));
    // No conductor has heard of it.
    let waited = place.engr(&[APP, "wait", "--wait-timeout", "500ms"]);
    assert_eq!(waited.code, Some(22), "{waited}");
    assert!(waited.stdout.contains("aborted   by tester@"), "{waited}");
    // The next release knows what it follows on, whatever instances say yet.
    let next = place.engr(&[APP, "restart", "--detach"]);
    assert!(next.stdout.ends_with("undo      engr hello rollback v1\n"), "{next}");
}

#[tokio::test]
async fn what_became_of_a_release_is_told_until_the_next_one() {
    let place = Place::new();
    let (fleet, running, _) = restarting(&place, &["--detach"]).await;
    assert_eq!(running.ended(&place).await.code, Some(0));
    fleet.progress(Stage::Reverted, failed_on("hello-2")).await;
    for name in NAMES {
        fleet.reverted(name, 2).await;
    }
    assert_transcript!(place.session(&["hello status", "hello releases", "hello restart --detach"]), @"
    $ engr hello status
    hello v2, restart by tester@HOST at CLOCK
    v2 was taken back after N s: hello-2: exited with code 3; hello runs v1
    hello-2, last lines
      │ connecting
      │ panic: no database

    INSTANCE  RELEASE  PHASE  PID  UPTIME  RESTARTS  ADDRESS  REPORTED  LAST FAILURE
    hello-1  v1  serving  PID  N s  0  -  N s ago  -
    hello-2  v1  serving  PID  N s  0  -  N s ago  -
    hello-3  v1  serving  PID  N s  0  -  N s ago  -
    (0)
    $ engr hello releases
      RELEASE  WHEN  WHO  WHAT  COMMIT  ARTIFACT  OUTCOME  MESSAGE
    *  v2  CLOCK  tester@HOST  restart  -  SHA  reverted
      v1  CLOCK  ann@laptop  deploy  -  SHA  -

    v2 was taken back after N s: hello-2: exited with code 3; hello runs v1
    (0)
    $ engr hello restart --detach
    before  v2 was taken back after N s: hello-2: exited with code 3; hello runs v1
    publish  v3  N s
    v3 is published, and the fleet goes on by itself: follow it with `engr hello wait v3`
    undo  engr hello rollback v1
    (0)
    ");
    let base = fleet.state_where(|state| state.current() == Some(3)).await.base.unwrap();
    assert_eq!((base.release.number, base.reverted.into_iter().collect::<Vec<_>>()), (1, vec![2]));
    // The fleet speaks of v2 still, which is not what is to run any more.
    let status = place.engr(&[APP, "status", "--json"]).result();
    assert_eq!(status["rollout"]["stage"], "waiting", "{status}");
    let releases = place.engr(&[APP, "releases", "--json"]).result();
    assert_eq!(releases["releases"][1]["outcome"], "reverted", "{releases}");
    assert_eq!(releases["releases"][1]["halt"]["instance"], "hello-2", "{releases}");
    let wait = place.engr(&[APP, "wait", "v2"]);
    assert_eq!(wait.code, Some(20), "{wait}");
}

#[tokio::test]
async fn a_halted_rollout_in_status_and_in_json() {
    let place = Place::new();
    let (fleet, running, [first, second, third]) = restarting(&place, &["--detach"]).await;
    assert_eq!(running.ended(&place).await.code, Some(0));
    fleet.done(first, 2).await;
    fleet.failed(second, 2).await;
    fleet.report(third, 1, |report| report.seen = Some(2)).await;
    fleet.progress(Stage::Halted, failed_on(second)).await;
    let status = place.engr(&[APP, "status"]);
    for part in [
        format!(" s: {second}: exited with code 3\n{second}, last lines\n  │ connecting\n"),
        "`engr hello resume` goes on; `engr hello abort` brings all back to v1\n".to_owned(),
    ] {
        assert!(status.stdout.contains(&part), "{part:?} in:\n{status}");
    }
    let status = place.engr(&[APP, "status", "--json"]).result();
    let rollout = &status["rollout"];
    assert_eq!((&rollout["stage"], &rollout["base"]), (&json!("halted"), &json!(1)), "{status}");
    assert_eq!((&rollout["switched"], &rollout["instances"]), (&json!(1), &json!(3)), "{status}");
    assert_eq!(rollout["halt"]["failure"]["exit-code"], 3, "{status}");
    let releases = place.engr(&[APP, "releases", "--json"]).result();
    assert_eq!(releases["releases"][0]["outcome"], "halted", "{releases}");
}

#[tokio::test]
async fn wait_follows_the_current_release_or_a_named_one() {
    let place = Place::new();
    let fleet = FakeFleet::new(&place, 0);
    let none = place.engr(&[APP, "wait"]);
    assert_eq!(none.code, Some(2), "{none}");
    assert!(none.stderr.contains("hello has no release yet"), "{none}");
    fleet.publish("one").await;
    // None of none is no success.
    let empty = place.engr(&[APP, "wait"]);
    assert_eq!(empty.code, Some(20), "{empty}");
    assert!(empty.stderr.contains("has no instance to run it"), "{empty}");
    drop(fleet);

    let place = Place::new();
    let fleet = serving(&place).await;
    assert_transcript!(place.session(&["hello wait", "hello wait v9"]), @"
    $ engr hello wait
      hello-1  switched to v1 after N s
      hello-2  switched to v1 after N s
      hello-3  switched to v1 after N s
    rollout  v1 serves on all 3 instances  N s
    total  N s, N s from the publish to the last switch
    (0)
    $ engr hello wait v9
    ! engr: hello has no release v9
    !  → the current one is v1
    (2)
    ");
    fleet.publish("two").await;
    let old = place.engr(&[APP, "wait", "v1"]);
    assert_eq!(old.code, Some(0), "it was good:\n{old}");
    // Instances forget what they were at when they go on.
    fleet.report("hello-1", 1, |report| report.seen = Some(2)).await;
    let gone = place.engr(&[APP, "wait", "v1", "--json"]);
    assert_eq!((gone.code, &gone.result()["superseded_by"]), (Some(11), &json!(2)), "{gone}");
}

#[tokio::test]
async fn who_leaves_is_told_how_to_come_back() {
    let place = Place::new();
    let fleet = serving(&place).await;
    assert_transcript!(place.session(&["hello restart --detach"]), @"
    $ engr hello restart --detach
    publish  v2  N s
    v2 is published, and the fleet goes on by itself: follow it with `engr hello wait v2`
    undo  engr hello rollback v1
    (0)
    ");
    let release = fleet.state_where(|state| state.current() == Some(2)).await.release.unwrap();
    let plan = release.rollout.unwrap();
    assert!(!plan.now && plan.instances == 3, "{plan:?}");
    // What a rollback brings is known: none goes first.
    for name in NAMES {
        fleet.done(name, 2).await;
    }
    fleet.progress(Stage::Done, |progress| progress.mark = Mark::All).await;
    fleet.publish("two").await;
    fleet.progress(Stage::Done, |progress| progress.mark = Mark::All).await;
    assert_eq!(place.engr(&[APP, "rollback", "v1", "--detach"]).code, Some(0));
    let release = fleet.state_where(|state| state.current() == Some(4)).await.release.unwrap();
    assert!(release.rollout.unwrap().now);
    // The flags are for one release alone.
    let flags = ["--canary", "2", "--bake", "1s", "--max-parallel", "50%", "--on-failure", "halt"];
    let args = [&[APP, "restart", "--detach"], &flags[..]].concat();
    assert_eq!(place.engr(&args).code, Some(0));
    let release = fleet.state_where(|state| state.current() == Some(5)).await.release.unwrap();
    let rules = serde_json::to_value(release.rollout.unwrap().rules).unwrap();
    let keys = ["canary", "bake", "max-parallel", "on-failure"].map(|key| rules[key].clone());
    assert_eq!(keys, [json!(2), json!("1s"), json!("50%"), json!("halt")]);
}
