//! The freeze: what a person sees who locks an app, and who is stopped by that.

use std::time::Duration;

use deploy::Timestamp;
use deploy::lock::Lock;
use deploy::state::State;
use serde_json::json;
use tests::bare_app::App;

/// The parts of a transcript that differ from run to run, and from machine to machine.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"tester@[\w.-]+", "tester@HOST");
    settings.add_filter(r"\b\d+(\.\d+)? s\b", "TIME");
    settings.add_filter(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", "CLOCK");
    settings.add_filter(r"[0-9a-f]{64}", "SHA256");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHA");
    // A column is as wide as this machine's name.
    settings.add_filter(r" {3,}", "   ");
    settings.add_filter(r"for (amd64|arm64)", "for ARCH");
    settings
}

macro_rules! assert_transcript {
    ($transcript:expr, @$expected:literal) => {
        settings().bind(|| insta::assert_snapshot!($transcript.to_string(), @$expected));
    };
}

/// Bob locks the app, until so many seconds from now.
async fn lock(app: &App, until_secs: Option<u64>) {
    let now = Timestamp::now();
    let until = until_secs.map(|secs| now + Duration::from_secs(secs));
    let lock =
        Lock { by: "bob@desk".to_owned(), since: now, message: "incident 7".to_owned(), until };
    app.change(|state| Ok(state.locked(lock.clone(), now))).await;
}

#[tokio::test]
async fn a_lock_is_set_replaced_seen_and_lifted() {
    let app = App::new();
    app.deploy();
    assert_transcript!(app.engr(&["lock", "-m", "incident 7"]), @r#"
        $ engr hello lock -m incident 7
        locked   nothing is published to hello until `engr hello unlock`
        (0)
    "#);
    assert_transcript!(app.engr(&["status"]), @r#"
        $ engr hello status
        hello v1, deploy by tester@HOST at CLOCK
        tester@HOST has locked hello since CLOCK (TIME): incident 7

        no instances: make them with `engr hello sync`
        (0)
    "#);
    assert_transcript!(app.engr(&["lock", "-m", "still burning", "--until", "2h"]), @r#"
        $ engr hello lock -m still burning --until 2h
        locked   nothing is published to hello until CLOCK, or `engr hello unlock`
        replaced  tester@HOST has locked hello since CLOCK (TIME): incident 7
        (0)
    "#);
    assert_transcript!(app.engr(&["unlock"]), @r#"
        $ engr hello unlock
        unlocked: tester@HOST has locked hello since CLOCK (TIME), until CLOCK: still burning
        (0)
    "#);
    assert_transcript!(app.engr(&["releases", "--all", "-n", "3"]), @r#"
        $ engr hello releases --all -n 3
          RELEASE  WHEN   WHO   WHAT   COMMIT  ARTIFACT  OUTCOME  MESSAGE
           CLOCK  tester@HOST  unlocked   tester@HOST's, held since CLOCK
           CLOCK  tester@HOST  locked   until CLOCK, in another's place: still burning
           CLOCK  tester@HOST  locked   with no end: incident 7
        (0)
    "#);
    let status = app.engr(&["status", "--json"]).result();
    assert_eq!(status["lock"], json!(null));
    assert_eq!(app.engr(&["restart", "--detach"]).code, Some(0));
}

#[tokio::test]
async fn status_and_releases_tell_programs_of_the_lock() {
    let app = App::new();
    lock(&app, Some(3_600)).await;
    let status = app.engr(&["status", "--json"]).result();
    let told = &status["lock"];
    assert_eq!((&told["by"], &told["message"]), (&json!("bob@desk"), &json!("incident 7")));
    assert!(told["since"].is_string() && told["until"].is_string(), "{told}");
    let listed = app.engr(&["releases", "--all", "--json"]).result();
    assert_eq!(listed["steps"][0]["step"], "locked");
    assert_eq!(listed["steps"][0]["lock"]["message"], "incident 7");
}

#[tokio::test]
async fn an_end_that_is_none_is_refused() {
    let app = App::new();
    assert_transcript!(app.engr(&["lock", "-m", "why", "--until", "tea time"]), @r#"
        $ engr hello lock -m why --until tea time
        ! engr: "tea time" is not a time
        !   → write 2026-11-22T10:00Z, "2026-11-22 10:00", 10:00, or a length like 2h
        (2)
    "#);
    let past = app.engr(&["lock", "-m", "why", "--until", "2020-01-01"]);
    assert_transcript!(past, @r#"
        $ engr hello lock -m why --until 2020-01-01
        ! engr: CLOCK has been: a lock until then binds nobody
        !   → write 2026-11-22T10:00Z, "2026-11-22 10:00", 10:00, or a length like 2h
        (2)
    "#);
    assert_transcript!(app.engr(&["lock", "-m", " "]), @r#"
        $ engr hello lock -m  
        ! engr: a lock needs a reason, for those whom it stops
        !   → give it with `engr hello lock -m "why"`
        (2)
    "#);
    assert_transcript!(app.engr(&["lock"]), @r#"
        $ engr hello lock
        ! error: the following required arguments were not provided:
        !   --message <MSG>
        !
        ! Usage: engr hello lock --message <MSG>
        !
        ! For more information, try '--help'.
        (2)
    "#);
    assert_eq!(app.state().await.lock, None);
}

#[tokio::test]
async fn while_it_binds_nothing_is_published_or_built() {
    let app = App::new();
    app.deploy();
    app.engr(&["env:set", "A=1", "--detach"]);
    app.builds("touch built; exit 1");
    lock(&app, None).await;
    assert_transcript!(app.engr(&["deploy"]), @r#"
        $ engr hello deploy
        ! engr: bob@desk has locked hello since CLOCK (TIME): incident 7
        !   → nothing was published; wait for the lock's end with `--wait-lock`
        !   → if it is over, lift it with `engr hello unlock`
        (11)
    "#);
    assert!(!app.place.path().join("built").exists(), "refused before it builds");
    let digest = app.state().await.release.unwrap().artifact.digest.to_string();
    let engr_json = app.place.read("engr.json");
    for args in [
        &["deploy", "--artifact", &digest][..],
        &["rollback", "v1"],
        &["restart"],
        &["env:set", "B=2"],
        &["env:set", "--stage", "B=2"],
        &["env:unset", "A"],
        &["env:unset", "--stage", "A"],
        &["config:set", "drain", "7s"],
    ] {
        let refused = app.engr(args);
        assert_eq!(refused.code, Some(11), "{refused}");
        assert!(refused.stderr.contains("bob@desk has locked hello since"), "{refused}");
        assert!(refused.stderr.contains("incident 7"), "{refused}");
        assert!(refused.stderr.contains("`engr hello unlock`"), "{refused}");
    }
    assert_eq!(app.place.read("engr.json"), engr_json, "what is refused is not written down");
    let state = app.state().await;
    assert_eq!((state.current(), state.staged_environment, state.claim), (Some(2), None, None));
    let json = app.engr(&["restart", "--json"]);
    assert_eq!((&json.result()["exit_code"], json.code), (&json!(11), Some(11)));
    assert_transcript!(app.engr(&["config:set", "drain", "7s"]), @r#"
        $ engr hello config:set drain 7s
        ! engr: bob@desk has locked hello since CLOCK (TIME): incident 7
        !   → nothing was published; wait for the lock's end with `--wait-lock`
        !   → if it is over, lift it with `engr hello unlock`
        !   → or leave it to the next deploy with `--stage`
        (11)
    "#);
    assert_eq!(app.engr(&["config:set", "drain", "7s", "--stage"]).code, Some(0));
}

#[tokio::test]
async fn what_publishes_nothing_goes_on() {
    let app = App::new();
    app.deploy();
    app.content("two");
    lock(&app, None).await;
    assert_eq!(app.engr(&["deploy", "--plan"]).code, Some(3));
    assert_eq!(app.engr(&["deploy", "--build-only"]).code, Some(0));
    for read in [&["status"][..], &["releases"], &["env"], &["sync", "--plan"]] {
        assert_eq!(app.engr(read).code, Some(0));
    }
}

#[tokio::test]
async fn a_lock_that_is_over_binds_nobody() {
    let app = App::new();
    lock(&app, Some(0)).await;
    let deployed = app.deploy();
    assert_eq!(deployed.code, Some(0), "{deployed}");
    assert!(!app.engr(&["status"]).stdout.contains("locked"));
}

#[tokio::test]
async fn a_deploy_under_way_is_stopped_by_a_lock() {
    let app = App::new();
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach", "--wait-lock"]);
    gate.reached().await;
    assert_transcript!(app.engr(&["lock", "-m", "not this one"]), @r#"
        $ engr hello lock -m not this one
        locked   nothing is published to hello until `engr hello unlock`
        stopped   tester@HOST has been deploying since CLOCK (TIME), and cannot publish any more
        (0)
    "#);
    let first = first.ended(&app.place).await;
    assert_transcript!(first, @r#"
        $ engr hello deploy --detach --wait-lock
        claim   held by tester@HOST  TIME
        ! engr: tester@HOST has locked hello since CLOCK (TIME): not this one
        !   → nothing was published; wait for the lock's end with `--wait-lock`
        !   → if it is over, lift it with `engr hello unlock`
        (11)
    "#);
    let state = app.state().await;
    assert_eq!((state.current(), &state.claim), (None, &None), "its claim is given up");
    assert!(state.lock.is_some());
}

#[tokio::test]
async fn wait_lock_waits_for_a_locks_end_or_removal() {
    let app = App::new();
    app.deploy();
    lock(&app, None).await;
    let short = app.engr(&["restart", "--wait-lock=300ms"]);
    assert_transcript!(short, @r#"
        $ engr hello restart --wait-lock=300ms
        waiting   bob@desk has locked hello since CLOCK (TIME): incident 7
        ! engr: bob@desk has locked hello since CLOCK (TIME): incident 7 (it still binds)
        !   → wait longer with `--wait-lock=TIME`
        !   → if it is over, lift it with `engr hello unlock`
        (11)
    "#);
    let deploy = app.start(&["deploy", "--detach", "--wait-lock"]);
    let restart = app.start(&["restart", "--detach", "--wait-lock", "--json"]);
    deploy.watches().await;
    restart.watches().await;
    assert_eq!(app.state().await.current(), Some(1));
    assert_eq!(app.engr(&["unlock"]).code, Some(0));
    let (deploy, restart) = (deploy.ended(&app.place).await, restart.ended(&app.place).await);
    assert_eq!((deploy.code, restart.code), (Some(0), Some(0)), "{deploy}\n{restart}");
    let waiting = restart.stdout.lines().find(|line| line.contains(r#""type":"waiting""#));
    let waiting: serde_json::Value = serde_json::from_str(waiting.unwrap()).unwrap();
    assert_eq!((&waiting["what"], &waiting["message"]), (&json!("lock"), &json!("incident 7")));
    assert!(waiting.get("expires").is_none(), "{waiting}");

    lock(&app, Some(1)).await;
    let waited = app.engr(&["restart", "--detach", "--wait-lock"]);
    assert_eq!(waited.code, Some(0), "{waited}");
    let release = app.state().await.release.unwrap();
    let until = app.state().await.lock.and_then(|lock| lock.until).unwrap();
    assert!(release.published >= until, "{waited}");
}

#[tokio::test]
async fn unlock_says_what_each_was() {
    let app = App::new();
    lock(&app, None).await;
    let now = Timestamp::now();
    let id = deploy::id::Id::fixed("hers");
    let claim = deploy::claim::Claim::new(id, "ann@laptop".to_owned(), now);
    app.change(|state| Ok(State { claim: Some(claim.clone()), ..state })).await;
    assert_transcript!(app.engr(&["unlock"]), @r#"
        $ engr hello unlock
        unlocked: bob@desk has locked hello since CLOCK (TIME): incident 7
        unlocked: ann@laptop has been deploying since CLOCK (TIME)
        (0)
    "#);
    assert_transcript!(app.engr(&["unlock"]), @r#"
        $ engr hello unlock
        hello is not locked, and nobody holds a claim on it
        (0)
    "#);
}
