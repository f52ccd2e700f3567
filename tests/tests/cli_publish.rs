//! Publishing without a fleet: the claim between real processes, what a deploy leaves behind
//! however it ends, and the commands that show and change releases.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use deploy::claim::Claim;
use deploy::history::History;
use deploy::id::Id;
use deploy::layout;
use deploy::state::State;
use deploy::store::{Expect, Store};
use deploy::{Digest, Timestamp};
use nix::sys::signal::Signal;
use serde_json::json;
use tests::bare_app::App;

/// The parts of a transcript that differ from run to run, and from machine to machine.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"tester@[\w.-]+", "tester@HOST");
    settings.add_filter(r"\b\d+(\.\d+)? s\b", "TIME");
    settings.add_filter(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", "CLOCK");
    settings.add_filter(r"pause_ms=\d+", "pause_ms=N");
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

#[tokio::test]
async fn the_second_of_two_deploys_is_told_at_once_who_deploys() {
    let app = App::new();
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach"]);
    gate.reached().await;
    let began = Instant::now();
    let second = app.deploy();
    assert!(began.elapsed() < Duration::from_secs(1), "{second}");
    assert_transcript!(second, @r#"
        $ engr hello deploy --detach
        ! engr: tester@HOST has been deploying since CLOCK (TIME)
        !   → wait for it with `--wait-lock`
        !   → if it was left behind, break it with `engr hello unlock`
        (11)
    "#);
    let other = app.engr(&["restart", "--json"]);
    assert_eq!(other.code, Some(2), "no release yet\n{other}");
    gate.open();
    let first = first.ended(&app.place).await;
    assert_eq!(first.code, Some(0), "{first}");
    assert_eq!((app.state().await.current(), app.state().await.claim), (Some(1), None));
}

#[tokio::test]
async fn commands_without_a_build_respect_the_claim_too() {
    let app = App::new();
    app.deploy();
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach"]);
    gate.reached().await;
    for args in [&["restart"][..], &["env:set", "A=1"], &["env:set", "--stage", "A=1"]] {
        let refused = app.engr(args);
        assert_eq!(refused.code, Some(11), "{refused}");
        assert!(refused.stderr.contains("has been deploying since"), "{refused}");
    }
    let refused = app.engr(&["restart", "--json"]);
    let result = refused.result();
    assert_eq!((&result["type"], &result["outcome"]), (&json!("result"), &json!("failed")));
    assert_eq!((&result["exit_code"], refused.code), (&json!(11), Some(11)));
    gate.open();
    assert_eq!(first.ended(&app.place).await.code, Some(0));
    assert_eq!(app.state().await.current(), Some(2));
}

#[tokio::test]
async fn wait_lock_waits_for_the_claims_end() {
    let app = App::new();
    app.deploy();
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach"]);
    gate.reached().await;
    let short = app.engr(&["restart", "--wait-lock=300ms"]);
    assert_eq!(short.code, Some(11), "{short}");
    assert!(short.stderr.contains(", and still is"), "{short}");
    let second = app.start(&["restart", "--detach", "--wait-lock", "--json"]);
    gate.open();
    assert_eq!(first.ended(&app.place).await.code, Some(0));
    let second = second.ended(&app.place).await;
    assert_eq!(second.code, Some(0), "{second}");
    assert_eq!(second.result()["release"], 3, "{second}");
}

#[tokio::test]
async fn a_claim_is_renewed_while_the_build_goes_on() {
    let app = App::new();
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach"]);
    gate.reached().await;
    let expires = |state: State| state.claim.expect("a claim").expires;
    let (at_first, began) = (expires(app.state().await), Instant::now());
    while expires(app.state().await) == at_first {
        assert!(began.elapsed() < deploy::claim::CLAIM_LIFE, "the claim is not renewed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    gate.open();
    let first = first.ended(&app.place).await;
    assert_eq!(first.code, Some(0), "{first}");
}

#[tokio::test]
async fn a_claim_that_is_broken_in_the_middle_publishes_nothing() {
    let app = App::new();
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach"]);
    gate.reached().await;
    let unlocked = app.engr(&["unlock"]);
    assert_transcript!(unlocked, @r#"
        $ engr hello unlock
        unlocked: tester@HOST has been deploying since CLOCK (TIME)
        (0)
    "#);
    // It need not come to its publish: it is told at once.
    let first = first.ended(&app.place).await;
    assert_eq!(first.code, Some(11), "{first}");
    assert!(first.stderr.contains("the claim was taken away"), "{first}");
    let state = app.state().await;
    assert_eq!((state.current(), state.claim), (None, None));
    assert_eq!(app.store.list("artifacts/").await.unwrap(), []);
    assert_transcript!(app.engr(&["unlock"]), @r#"
        $ engr hello unlock
        hello is not locked, and nobody holds a claim on it
        (0)
    "#);
}

#[tokio::test]
async fn a_claim_that_another_takes_is_not_given_up_for_him() {
    let app = App::new();
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach"]);
    gate.reached().await;
    let now = Timestamp::now();
    let his = deploy::claim::Claim::new(deploy::id::Id::fixed("his"), "bob@desk".into(), now);
    app.change(|state| Ok(State { claim: Some(his.clone()), ..state })).await;
    let first = first.ended(&app.place).await;
    assert_eq!(first.code, Some(11), "{first}");
    assert!(first.stderr.contains("bob@desk is deploying now"), "{first}");
    assert_eq!(app.state().await.claim, Some(his));
}

#[tokio::test]
async fn an_interrupt_before_the_publish_gives_the_claim_up() {
    let app = App::new();
    let gate = app.gated();
    for (signal, json) in [(Signal::SIGINT, false), (Signal::SIGTERM, true)] {
        let args = if json { &["deploy", "--json"][..] } else { &["deploy"] };
        let first = app.start(args);
        gate.reached().await;
        first.signal(signal);
        let first = first.ended(&app.place).await;
        gate.open();
        assert_eq!(first.code, Some(130), "{first}");
        let state = app.state().await;
        assert_eq!((state.current(), state.claim), (None, None));
        match json {
            true => assert_eq!(first.result()["outcome"], "interrupted"),
            false => assert!(first.stderr.contains("nothing was published"), "{first}"),
        }
    }
}

#[tokio::test]
async fn a_build_that_fails_gives_the_claim_up() {
    let app = App::new();
    app.builds("echo no such thing >&2; exit 3");
    let failed = app.deploy();
    assert_eq!(failed.code, Some(10), "{failed}");
    assert!(failed.stderr.contains("no such thing\n"), "{failed}");
    assert_eq!(app.state().await.claim, None);
    let failed = app.engr(&["deploy", "--json"]);
    assert_eq!((&failed.result()["exit_code"], failed.code), (&json!(10), Some(10)));
}

#[tokio::test]
async fn a_killed_deployer_blocks_nobody_past_the_claims_end() {
    let app = App::new();
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach"]);
    gate.reached().await;
    first.signal(Signal::SIGKILL);
    // Its build may live on for as long as it likes; it can publish nothing.
    gate.open();
    assert_eq!(first.ended(&app.place).await.code, None);
    app.builds("printf '#!/bin/sh\\n' > out; chmod +x out");
    let refused = app.deploy();
    assert_eq!(refused.code, Some(11), "{refused}");
    // The claim's life passes.
    let shorter = |state: State| {
        let expires = Timestamp::now() + Duration::from_secs(1);
        Ok(State {
            claim: state.claim.map(|claim| deploy::claim::Claim { expires, ..claim }),
            ..state
        })
    };
    app.change(shorter).await;
    let waited = app.engr(&["deploy", "--detach", "--wait-lock=20s"]);
    assert_eq!(waited.code, Some(0), "{waited}");
    assert_eq!(app.state().await.current(), Some(1));
}

#[tokio::test]
async fn kill_at_any_moment_leaves_the_bucket_whole() {
    let app = App::new();
    for number in 0..24 {
        app.content(&format!("number {number}"));
        let victim = app.start(&["deploy", "--detach"]);
        tokio::time::sleep(Duration::from_millis(number * 4)).await;
        victim.signal(Signal::SIGKILL);
        victim.ended(&app.place).await;
        let status = app.engr(&["status", "--json"]);
        assert_eq!(status.code, Some(0), "killed after {} ms: {status}", number * 4);
        assert_eq!(app.engr(&["unlock"]).code, Some(0));
    }
    app.content("the last");
    assert_eq!(app.deploy().code, Some(0));
    let history = History::read(&app.store).await.unwrap();
    assert_eq!(history.damaged, []);
    let numbers: Vec<u64> = history.releases.iter().map(|release| release.number).collect();
    let gapless: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, gapless);
    for release in &history.releases {
        let object = app.store.read(&layout::artifact(&release.artifact.digest)).await.unwrap();
        assert_eq!(Digest::of(&object.data), release.artifact.digest);
    }
}

#[tokio::test]
async fn if_current_is_checked_before_anything_is_built() {
    let app = App::new();
    app.deploy();
    app.builds("touch built; exit 1");
    for args in [&["deploy", "--if-current", "v7"][..], &["restart", "--if-current=7"]] {
        let refused = app.engr(args);
        assert_eq!(refused.code, Some(11), "{refused}");
        assert!(refused.stderr.contains("the current release is v1, not v7"), "{refused}");
    }
    assert!(!app.place.path().join("built").exists());
    let state = app.state().await;
    assert_eq!((state.current(), state.claim), (Some(1), None));
    let passed = app.engr(&["restart", "--if-current", "v1", "--detach"]);
    assert_eq!(passed.code, Some(0), "{passed}");
}

#[tokio::test]
async fn the_same_source_uploads_nothing() {
    let app = App::new();
    assert_transcript!(app.deploy(), @r#"
        $ engr hello deploy --detach
        claim   held by tester@HOST  TIME
        build   hello for ARCH, 13 B  TIME
        archive   SHA, 166 B  TIME
        upload   166 B  TIME
        publish   v1  TIME
        v1 is published, and the fleet goes on by itself: follow it with `engr hello wait v1`
        (0)
    "#);
    assert_transcript!(app.deploy(), @r#"
        $ engr hello deploy --detach
        claim   held by tester@HOST  TIME
        build   hello for ARCH, 13 B  TIME
        archive   SHA, 166 B  TIME
        upload   nothing to upload, the bucket has it  TIME
        publish   v2  TIME
        v2 is published, and the fleet goes on by itself: follow it with `engr hello wait v2`
        undo   engr hello rollback v1
        (0)
    "#);
    assert_eq!(app.store.list("artifacts/").await.unwrap().len(), 1);
}

#[tokio::test]
async fn build_only_keeps_the_archive_and_publishes_nothing() {
    let app = App::new();
    let built = app.engr(&["deploy", "--build-only", "--json"]);
    assert_eq!(built.code, Some(0), "{built}");
    let result = built.result();
    assert_eq!(result["outcome"], "built");
    let path = app
        .place
        .path()
        .join("target/engr")
        .join(PathBuf::from(result["path"].as_str().unwrap()).file_name().unwrap());
    let digest = Digest::of(&fs::read(path).unwrap());
    assert_eq!(result["artifact"], json!(digest));
    assert_eq!(app.state().await.current(), None);
    assert_eq!(app.store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_writes_nothing() {
    let app = App::new();
    assert_transcript!(app.engr(&["deploy", "--plan"]), @"
    $ engr hello deploy --plan
    build   hello for ARCH, 13 B  TIME
    archive   SHA, 166 B  TIME
    artifact   + SHA
    rollout   all at once; watched for 1m, and halted if one fails
    (3)
    ");
    assert_eq!(app.store.list("").await.unwrap(), []);
    app.deploy();
    let versions = app.store.versions(layout::STATE).await.unwrap();
    let nothing = app.engr(&["deploy", "--plan", "--json"]);
    assert_eq!((nothing.code, &nothing.result()["outcome"]), (Some(0), &json!("unchanged")));
    app.content("two");
    app.place.engr(&["hello", "config:set", "drain", "5s", "--stage"]);
    assert_eq!(app.store.versions(layout::STATE).await.unwrap(), versions);
    assert_transcript!(app.engr(&["deploy", "--plan"]), @"
    $ engr hello deploy --plan
    build   hello for ARCH, 13 B  TIME
    archive   SHA, 167 B  TIME
    artifact   ~ SHA → SHA
    settings   + drain 5s
    rollout   all at once; watched for 1m, and halted if one fails
    (3)
    ");
    let changes = app.engr(&["deploy", "--plan", "--json"]);
    assert_eq!((changes.code, &changes.result()["outcome"]), (Some(3), &json!("changes")));
    assert_eq!(app.store.versions(layout::STATE).await.unwrap(), versions);
    assert_eq!(app.store.list("artifacts/").await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_artifact_of_the_bucket_is_deployed_by_its_first_digits() {
    let app = App::new();
    app.deploy();
    app.content("two");
    app.deploy();
    app.builds("exit 1");
    let history = History::read(&app.store).await.unwrap();
    let first = history.releases[0].artifact.digest;
    let deployed = app.engr(&["deploy", "--detach", "--json", "--artifact", &first.short()]);
    assert_eq!(deployed.code, Some(0), "{deployed}");
    assert_eq!(deployed.result()["artifact"], json!(first));
    assert_eq!(app.state().await.release.unwrap().artifact.digest, first);
    assert_transcript!(app.engr(&["deploy", "--artifact", "zzzzzz"]), @r#"
        $ engr hello deploy --artifact zzzzzz
        ! engr: no artifact of the bucket begins with "zzzzzz"
        !   → write 6 or more of its hex digits, of one of these:
        !   → SHA (v3, v1)
        !   → SHA (v2)
        (2)
    "#);
}

#[tokio::test]
async fn an_artifact_that_was_damaged_is_replaced_by_the_next_deploy() {
    let app = App::new();
    app.deploy();
    let digest = app.state().await.release.unwrap().artifact.digest;
    let lost = app.store.delete(&layout::artifact(&digest), Expect::Any).await;
    lost.unwrap();
    let refused = app.engr(&["restart"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("is no longer in the bucket"), "{refused}");
    assert_eq!(app.deploy().code, Some(0));
    assert_eq!(app.engr(&["restart", "--detach"]).code, Some(0));
}

#[tokio::test]
async fn a_damaged_state_is_healed_and_said() {
    let app = App::new();
    app.deploy();
    app.store.write(layout::STATE, b"{\"schema\": 1, \"rel", Expect::Any).await.unwrap();
    let healed = app.deploy();
    assert_eq!(healed.code, Some(0), "{healed}");
    assert!(healed.stdout.contains("of state.json is damaged; generation "), "{healed}");
    // The lost generation may have held v2.
    assert_eq!(app.state().await.current(), Some(3));
}

#[tokio::test]
async fn rollback_names_what_it_can_go_back_to() {
    let app = App::new();
    assert_transcript!(app.engr(&["rollback"]), @r#"
        $ engr hello rollback
        ! engr: hello has no release yet
        !   → make one with `engr hello deploy`
        (2)
    "#);
    app.deploy();
    app.engr(&["env:set", "TOKEN=s3cret", "--detach"]);
    assert_transcript!(app.engr(&["rollback", "v2"]), @r#"
        $ engr hello rollback v2
        ! engr: v2 is the current release
        !   → start it anew with `engr hello restart`
        (2)
    "#);
    assert_transcript!(app.engr(&["rollback", "v9"]), @r#"
        $ engr hello rollback v9
        ! engr: hello has no release v9
        !   → it has v2, v1
        (2)
    "#);
    assert_transcript!(app.engr(&["rollback"]), @r#"
        $ engr hello rollback
        ! engr: no release of hello before v2 is known to have succeeded with other content
        !   → name one: `engr hello rollback vN`; it has v2, v1
        (2)
    "#);
    assert_transcript!(app.engr(&["rollback", "v1", "--detach", "-m", "too slow"]), @r#"
        $ engr hello rollback v1 --detach -m too slow
        rollback  v2 → v1 (deploy)
        environment - TOKEN
        publish   v3  TIME
        v3 is published, and the fleet goes on by itself: follow it with `engr hello wait v3`
        undo   engr hello rollback v2
        (0)
    "#);
    assert_transcript!(app.engr(&["releases"]), @r#"
        $ engr hello releases
           RELEASE  WHEN   WHO   WHAT   COMMIT  ARTIFACT   OUTCOME  MESSAGE
        *  v3   CLOCK  tester@HOST  rollback of v1  -   SHA  -   too slow
           v2   CLOCK  tester@HOST  env TOKEN   -   SHA  -
           v1   CLOCK  tester@HOST  deploy   -   SHA  -
        (0)
    "#);
    let state = app.state().await;
    assert_eq!(state.release.unwrap().environment, None);
}

#[tokio::test]
async fn releases_all_tells_of_every_claim_and_how_it_ended() {
    let app = App::new();
    assert_transcript!(app.engr(&["releases", "--all"]), @r#"
        $ engr hello releases --all
        hello has no release yet: `engr hello deploy`
        (0)
    "#);
    app.engr(&["deploy", "--detach", "-m", "the first"]);
    app.engr(&["env:set", "--stage", "A=1"]);
    app.builds("exit 1");
    app.deploy();
    let claim = |id: &str, at: Timestamp| Claim::new(Id::fixed(id), "bob@desk".to_owned(), at);
    let now = Timestamp::now();
    app.change(|state| state.claimed(claim("broken", now), now)).await;
    app.engr(&["unlock"]);
    let before = now - Duration::from_secs(60);
    app.change(|state| state.claimed(claim("left", before), before)).await;
    assert_transcript!(app.engr(&["releases", "--all"]), @r#"
        $ engr hello releases --all
           RELEASE  WHEN   WHO   WHAT   COMMIT  ARTIFACT   OUTCOME  MESSAGE
           CLOCK  bob@desk   claim expired   held since CLOCK
           CLOCK  bob@desk   claimed
           CLOCK  tester@HOST  claim broken   bob@desk's, held since CLOCK
           CLOCK  bob@desk   claimed
           CLOCK  tester@HOST  claim given up   held since CLOCK
           CLOCK  tester@HOST  claimed
           CLOCK  tester@HOST  staged   an environment, for the next deploy
        *  v1   CLOCK  tester@HOST  deploy   -   SHA  -   the first
           CLOCK  tester@HOST  claimed   SHA   renewed once
        (0)
    "#);
    assert_transcript!(app.engr(&["releases", "--all", "-n", "2"]), @r#"
        $ engr hello releases --all -n 2
          RELEASE  WHEN   WHO   WHAT   COMMIT  ARTIFACT  OUTCOME  MESSAGE
           CLOCK  bob@desk  claim expired   held since CLOCK
           CLOCK  bob@desk  claimed
        (0)
    "#);
    assert_transcript!(app.engr(&["releases", "-n", "1"]), @r#"
        $ engr hello releases -n 1
           RELEASE  WHEN   WHO   WHAT   COMMIT  ARTIFACT   OUTCOME  MESSAGE
        *  v1   CLOCK  tester@HOST  deploy  -   SHA  -   the first
        (0)
    "#);
    let listed = app.engr(&["releases", "--all", "--json", "-n", "3"]).result();
    let steps = listed["steps"].as_array().unwrap();
    let words: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(words, ["claim-expired", "claimed", "claim-broken"]);
    assert_eq!(steps[2]["claim"]["by"], "bob@desk");
    assert!(steps[2]["by"].as_str().unwrap().starts_with("tester@"), "{listed}");
    assert_eq!(listed["releases"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_environment_before_the_first_release_is_staged() {
    let app = App::new();
    assert_transcript!(app.engr(&["env"]), @r#"
        $ engr hello env
        hello has no variables: `engr hello env:set K=V`
        (0)
    "#);
    assert_transcript!(app.engr(&["env:set", "A=1", "TOKEN=s3cret"]), @r#"
        $ engr hello env:set A=1 TOKEN=s3cret
        environment + A
        environment + TOKEN
        staged: there is no release yet, and the first deploy sets it
        (0)
    "#);
    assert_transcript!(app.engr(&["env"]), @r#"
        $ engr hello env
        staged for the next deploy:
        + A
        + TOKEN
        (0)
    "#);
    assert_eq!(app.engr(&["env:get", "TOKEN"]).stdout, "s3cret\n");
    app.deploy();
    assert_transcript!(app.engr(&["env"]), @r#"
        $ engr hello env
        A
        TOKEN
        (0)
    "#);
    assert_eq!(app.state().await.staged_environment, None);
}

#[tokio::test]
async fn each_change_of_the_environment_is_one_release() {
    let app = App::new();
    app.deploy();
    assert_transcript!(app.engr(&["env:set", "A=1", "TOKEN=s3cret", "--detach"]), @r#"
        $ engr hello env:set A=1 TOKEN=s3cret --detach
        environment + A
        environment + TOKEN
        publish   v2  TIME
        v2 is published, and the fleet goes on by itself: follow it with `engr hello wait v2`
        undo   engr hello rollback v1
        (0)
    "#);
    assert_transcript!(app.engr(&["env:set", "A", "1", "--detach"]), @r#"
        $ engr hello env:set A 1 --detach
        nothing changes
        (0)
    "#);
    assert_transcript!(app.engr(&["env:set", "--stage", "A=s3cret", "B=s3cret"]), @r#"
        $ engr hello env:set --stage A=s3cret B=s3cret
        environment ~ A
        environment + B
        staged for the next deploy
        (0)
    "#);
    assert_transcript!(app.engr(&["env:unset", "--stage", "TOKEN"]), @r#"
        $ engr hello env:unset --stage TOKEN
        environment - TOKEN
        staged for the next deploy
        (0)
    "#);
    assert_transcript!(app.engr(&["env"]), @r#"
        $ engr hello env
        A
        TOKEN
        staged for the next deploy:
        ~ A
        + B
        - TOKEN
        (0)
    "#);
    assert_transcript!(app.engr(&["env", "--json"]), @r#"
        $ engr hello env --json
        {"app":"hello","release":2,"variables":[{"name":"A"},{"name":"TOKEN"}],"staged":[{"name":"A","change":"changed"},{"name":"B","change":"added"},{"name":"TOKEN","change":"removed"}]}
        (0)
    "#);
    // A change on top of staged ones publishes them all.
    assert_transcript!(app.engr(&["env:set", "C=s3cret", "--detach"]), @r#"
        $ engr hello env:set C=s3cret --detach
        environment ~ A
        environment + B
        environment + C
        environment - TOKEN
        publish   v3  TIME
        v3 is published, and the fleet goes on by itself: follow it with `engr hello wait v3`
        undo   engr hello rollback v2
        (0)
    "#);
    assert_transcript!(app.engr(&["env", "--reveal"]), @r#"
        $ engr hello env --reveal
        A=s3cret
        B=s3cret
        C=s3cret
        (0)
    "#);
    let state = app.state().await;
    assert_eq!((state.current(), state.staged_environment), (Some(3), None));
    let listed = app.engr(&["releases", "--json"]).result();
    assert_eq!(listed["releases"][0]["what"], "env A B C TOKEN");
}

#[tokio::test]
async fn staging_back_to_what_is_current_stages_nothing() {
    let app = App::new();
    app.deploy();
    app.engr(&["env:set", "--stage", "A=1"]);
    assert_transcript!(app.engr(&["env:unset", "--stage", "A"]), @r#"
        $ engr hello env:unset --stage A
        environment - A
        the environment is the current one again: nothing is staged any longer
        (0)
    "#);
    let state = app.state().await;
    assert_eq!((state.current(), state.staged_environment), (Some(1), None));
}

#[tokio::test]
async fn unknown_variables_are_refused_with_the_nearest() {
    let app = App::new();
    app.deploy();
    app.engr(&["env:set", "DATABASE_URL=s3cret", "--detach"]);
    assert_transcript!(app.engr(&["env:unset", "DATABSE_URL"]), @r#"
        $ engr hello env:unset DATABSE_URL
        ! engr: hello has no variable DATABSE_URL
        !   → did you mean DATABASE_URL?
        (2)
    "#);
    assert_transcript!(app.engr(&["env:get", "DATABASE"]), @r#"
        $ engr hello env:get DATABASE
        ! engr: hello has no variable DATABASE
        !   → did you mean DATABASE_URL?
        (2)
    "#);
    assert_transcript!(app.engr(&["env:set", "s3cret"]), @r#"
        $ engr hello env:set s3cret
        ! engr: a word has no `=`
        !   → write each variable as K=V, K=@file or K=-
        (2)
    "#);
    assert_transcript!(app.engr(&["env:set", "PORT=1"]), @r#"
        $ engr hello env:set PORT=1
        ! engr: "PORT" cannot be a variable of yours
        !   → Engineer sets it by itself
        (2)
    "#);
}

#[tokio::test]
async fn settings_that_reach_the_app_publish_a_release() {
    let app = App::new();
    let before = app.engr(&["config:set", "drain", "5s"]);
    assert_eq!((before.code, app.state().await.current()), (Some(0), None), "{before}");
    app.deploy();
    // No instance runs it, which is no success; the release is there all the same.
    let set = app.engr(&["config:set", "drain", "7s"]);
    assert_eq!(set.code, Some(20), "{set}");
    let release = app.state().await.release.unwrap();
    assert_eq!((release.number, release.settings.drain), (2, Some(deploy::Span::from_secs(7))));
    assert_eq!(release.kind.to_string(), "config drain");
}

#[tokio::test]
async fn verbose_shows_what_is_tried_again() {
    let app = App::new();
    // The object's folder is a file: the bucket cannot be used at the moment.
    let object = app.place.home().join("local/hello/bucket/objects/state.json");
    fs::write(object, "").unwrap();
    let quiet = app.engr(&["env"]);
    assert_transcript!(quiet, @r#"
        $ engr hello env
        ! engr: cannot read state.json in file://ROOT/home/engr/local/hello/bucket: the bucket cannot be used at the moment: Not a directory (os error 20)
        (1)
    "#);
    let verbose = app.engr(&["env", "-v"]);
    assert_transcript!(verbose, @"
    $ engr hello env -v
    ! debug   a store call failed and is tried again: error=cannot read state.json in file://ROOT/home/engr/local/hello/bucket: the bucket cannot be used at the moment: Not a directory (os error 20), tries=1, pause_ms=N
    ! debug   a store call failed and is tried again: error=cannot read state.json in file://ROOT/home/engr/local/hello/bucket: the bucket cannot be used at the moment: Not a directory (os error 20), tries=2, pause_ms=N
    ! debug   a store call failed and is tried again: error=cannot read state.json in file://ROOT/home/engr/local/hello/bucket: the bucket cannot be used at the moment: Not a directory (os error 20), tries=3, pause_ms=N
    ! debug   a store call failed and is tried again: error=cannot read state.json in file://ROOT/home/engr/local/hello/bucket: the bucket cannot be used at the moment: Not a directory (os error 20), tries=4, pause_ms=N
    ! debug   a store call failed and is tried again: error=cannot read state.json in file://ROOT/home/engr/local/hello/bucket: the bucket cannot be used at the moment: Not a directory (os error 20), tries=5, pause_ms=N
    ! debug   a store call failed and is tried again: error=cannot read state.json in file://ROOT/home/engr/local/hello/bucket: the bucket cannot be used at the moment: Not a directory (os error 20), tries=6, pause_ms=N
    ! engr: cannot read state.json in file://ROOT/home/engr/local/hello/bucket: the bucket cannot be used at the moment: Not a directory (os error 20)
    (1)
    ");
    // But for the pauses, which are left to chance.
    let steady = |stderr: &str| {
        let lines = stderr.lines().map(|line| line.split(", pause_ms=").next().map(str::to_owned));
        lines.collect::<Vec<_>>()
    };
    for words in [["-v", "hello", "env"], ["hello", "--verbose", "env"]] {
        assert_eq!(steady(&app.place.engr(&words).stderr), steady(&verbose.stderr));
    }
    // Behind the command that is run it is that command's.
    fs::remove_file(app.place.home().join("local/hello/bucket/objects/state.json")).unwrap();
    let run = app.engr(&["run", "echo", "-v"]);
    assert_eq!(run.stdout, "-v\n", "{run}");
}

#[tokio::test]
async fn status_at_a_time_shows_what_was_desired_then() {
    let app = App::new();
    app.deploy();
    let between = Timestamp::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    app.deploy();
    let at = |time: &str| app.engr(&["status", "--json", "--at", time]).result();
    assert_eq!(at(&between.to_string())["release"], 1);
    assert_eq!(at("0s")["release"], 2);
    assert_eq!(at("1d")["release"], json!(null));
    assert_transcript!(app.engr(&["status", "--at", "tea time"]), @r#"
        $ engr hello status --at tea time
        ! engr: "tea time" is not a time
        !   → write 2026-11-22T10:00Z, "2026-11-22 10:00", 10:00, or an age like 2h
        (2)
    "#);
}
