//! What a person sees of each command that has to do with a fleet: good and failing.

use std::fs::{self, File};
use std::path::Path;
use std::process::Child;

use serde_json::{Value, json};
use tests::engr::{Place, Transcript, binary};
use tests::fleet::{Fleet, until};

/// The parts of a transcript that differ from run to run, and from machine to machine.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"tester@[\w.-]+", "tester@HOST");
    settings.add_filter(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(\.\d{3})?", "CLOCK");
    settings.add_filter(r"127\.0\.0\.1:1\d{4}\b", "127.0.0.1:PORT");
    settings.add_filter(r"127\.0\.0\.1:[2-5]\d{4}\b", "127.0.0.1:OWN");
    settings.add_filter(r"\b\d+m \d+s\b", "N s");
    settings.add_filter(r"\b\d+(\.\d+)? (s|B|kB|MB)\b", "N $2");
    settings.add_filter(r"(serving|pid[ =]) *\d+", "$1 PID");
    settings.add_filter(r"[0-9a-f]{64}", "SHA256");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHA");
    settings.add_filter(r"for (amd64|arm64)", "for ARCH");
    // A column is as wide as what stands in it.
    settings.add_filter(r" {2,}", "  ");
    settings
}

macro_rules! assert_transcript {
    ($transcript:expr, @$expected:literal) => {
        settings().bind(|| insta::assert_snapshot!($transcript, @$expected));
    };
}

/// What a person sees who types each of these lines, one after the other.
fn session(fleet: &Fleet, lines: &[&str]) -> String {
    let run = |line: &&str| run(fleet, line).to_string();
    lines.iter().map(run).collect::<Vec<_>>().join("\n")
}

fn run(fleet: &Fleet, line: &str) -> Transcript {
    fleet.engr(&line.split_whitespace().collect::<Vec<_>>())
}

/// One instance that serves v1.
fn serving() -> Fleet {
    let fleet = Fleet::new(1).with_test_app("engineer");
    fleet.deploy();
    fleet
}

/// Waits until no old version is there any more.
fn drained(fleet: &Fleet) {
    until("the end of the old versions", || {
        fleet.status().instances.iter().all(|one| one.draining.is_empty()).then_some(())
    });
}

#[test]
fn help_lists_every_command_in_its_group() {
    let place = Place::new();
    insta::assert_snapshot!(place.session(&["shop"]), @"
    $ engr shop
    The commands of an app

    Usage: engr shop [OPTIONS] [COMMAND]

    Settings:
      create         Add the app to engr.json
      config         Show the app's settings
      config:get     Show one setting
      config:set     Change a setting; what the instances must know is published as a release
      config:unset   Remove a setting; published like a change

    Releases:
      deploy         Build the app and bring it to its fleet
      wait           Follow the current release, or another, to the end of its rollout
      status         Show what runs where
      releases       List the releases
      rollback       Go back to an earlier release
      restart        Start every instance's release anew, by overlap
      pause          Hold the current release's rollout: no further instance begins to switch
      resume         Let a rollout go on that is paused or halted
      abort          Call the current release's rollout off: all instances go back to the release before
      lock           Freeze the app: nothing is published until it is unlocked
      unlock         Lift a freeze, and break a claim that somebody left behind

    The app's environment:
      env            Show the environment
      env:get        Show one variable's value
      env:set        Set variables, all in one release: `K=V`, `K V`, `K=@file`, `K=-` (standard input)
      env:unset      Remove variables, all in one release

    Looking and running:
      logs           Show the app's and the agents' log lines
      run            Run a command here, with the app's deployed environment
      serve          Run the app here with its deployed environment, rebuilt when its source changes
      local-serve    Run the app here with this shell's environment, rebuilt when its source changes

    The fleet:
      sync           Bring the instances to `instance-count`
      prune          Remove old releases, and the artifacts and environments that no kept one names
      agent:update   Bring another `agentd` to the fleet: one instance first, then one after the other
      agent:rollback Go back to the `agentd` that was named before
      destroy-app    Stop and remove the fleet and, asked separately, the bucket

    Options:
          --endpoint <URL>  Where Cloud Storage is, for an emulator, which is asked without credentials
                            [env: STORAGE_EMULATOR_HOST]
      -v, --verbose         Say more on standard error, such as which calls to the bucket are tried
                            again
      -h, --help            Print help
    (0)
    ");
    insta::assert_snapshot!(place.session(&["shop rollback --help"]), @"
    $ engr shop rollback --help
    Go back to an earlier release

    Usage: engr shop rollback [OPTIONS] [vN]

    Arguments:
      [vN]  To which release [default: the last one that succeeded before the current one]

    Options:
      -m, --message <MSG>             Say what the release is for
          --if-current <vN>           Publish only if this release is the current one
          --wait-lock[=<TIME>]        Wait for another's claim, or a lock, to end, this long at the most
          --now                       Switch all instances as soon as they can; they are watched all the
                                      same
          --canary <N|SHARE>          How many instances go first, alone: 1, or 5%
          --bake <TIME>               How long these must be healthy until the others follow
          --max-parallel <N|SHARE>    How many of the others may be on their way at a time: 2, or 25%
          --max-failures <N>          So many instances may fail; with one more the rollout halts
          --watch-for <TIME>          How long all instances are watched after the last one has switched
          --on-failure <revert|halt>  Whether the instances that have switched go back when it halts, or
                                      stay
          --detach                    Return once it is published; do not follow the rollout
          --wait-timeout <TIME>       Stop following after this long (exit code 22); the rollout goes on
                                      [default: 15m]
          --json                      One JSON object a line
          --endpoint <URL>            Where Cloud Storage is, for an emulator, which is asked without
                                      credentials [env: STORAGE_EMULATOR_HOST]
      -v, --verbose                   Say more on standard error, such as which calls to the bucket are
                                      tried again
      -h, --help                      Print help
    (0)
    ");
}

#[test]
fn before_the_first_release_there_is_little_to_see() {
    let fleet = Fleet::new(1).with_test_app("engineer");
    assert_transcript!(session(&fleet, &["status", "releases", "env", "sync --plan"]), @r#"
        $ engr shop status
        shop has no release yet: `engr shop deploy`
        http://127.0.0.1:PORT

        no instances: make them with `engr shop sync`
        (0)
        $ engr shop releases
        shop has no release yet: `engr shop deploy`
        (0)
        $ engr shop env
        shop has no variables: `engr shop env:set K=V`
        (0)
        $ engr shop sync --plan
        + create shop-1
        ~ balancer: start at 127.0.0.1:PORT
        2 to do: `engr shop sync`
        (3)
    "#);
    assert_transcript!(session(&fleet, &["logs", "rollback", "restart", "env:get KEY"]), @r#"
        $ engr shop logs
        ! engr: shop has no instances here, and so no logs
        !  → `engr shop deploy` makes them
        (2)
        $ engr shop rollback
        ! engr: shop has no release yet
        !  → make one with `engr shop deploy`
        (2)
        $ engr shop restart
        ! engr: shop has no release yet
        !  → make one with `engr shop deploy`
        (2)
        $ engr shop env:get KEY
        ! engr: shop has no variable KEY
        (2)
    "#);
    assert_transcript!(session(&fleet, &["env:set KEY=1 OTHER=2", "env", "env --json"]), @r#"
        $ engr shop env:set KEY=1 OTHER=2
        environment + KEY
        environment + OTHER
        staged: there is no release yet, and the first deploy sets it
        (0)
        $ engr shop env
        staged for the next deploy:
        + KEY
        + OTHER
        (0)
        $ engr shop env --json
        {"app":"shop","release":null,"variables":[],"staged":[{"name":"KEY","change":"added"},{"name":"OTHER","change":"added"}]}
        (0)
    "#);
    assert_transcript!(session(&fleet, &["deploy --plan"]), @"
    $ engr shop deploy --plan
    build  shop for ARCH, N MB  N s
    archive  SHA, N MB  N s
    artifact  + SHA
    environment + KEY
    environment + OTHER
    instances  + shop-1
    instances  ~ balancer: start at 127.0.0.1:PORT
    rollout  at once; watched for 1m, and halted if more than 1 fail
    (3)
    ");
    let empty = fleet.engr(&["status", "--json"]).result();
    assert_eq!((&empty["release"], &empty["environment_staged"]), (&Value::Null, &json!(true)));
    assert_eq!((&empty["instances"], fleet.processes().len()), (&json!([]), 0));
}

#[test]
fn a_deploy_is_told_step_by_step_and_seen_in_status_and_releases() {
    let fleet = Fleet::new(1).with_test_app("engineer");
    assert_transcript!(fleet.engr(&["deploy", "-m", "the first\nof many"]), @r#"
        $ engr shop deploy -m the first
        of many
        claim  held by tester@HOST  N s
        build  shop for ARCH, N MB  N s
        archive  SHA, N MB  N s
        fleet  shop-1 created, balancer: start at 127.0.0.1:PORT  N s
        upload  N MB  N s
        publish  v1  N s
          shop-1  switched to v1 after N s
        rollout  v1 serves on 1 instance  N s
        watched  for 1m more by the fleet; safe to leave
        total  N s, N s from the publish to the last switch
        address  http://127.0.0.1:PORT
        (0)
    "#);
    fleet.tag("two");
    assert_transcript!(session(&fleet, &["deploy"]), @r#"
        $ engr shop deploy
        claim  held by tester@HOST  N s
        build  shop for ARCH, N MB  N s
        archive  SHA, N MB  N s
        upload  N MB  N s
        publish  v2  N s
          shop-1  switched to v2 after N s
        rollout  v2 serves on 1 instance  N s
        watched  for 1m more by the fleet; safe to leave
        total  N s, N s from the publish to the last switch
        address  http://127.0.0.1:PORT
        undo  engr shop rollback v1
        (0)
    "#);
    drained(&fleet);
    assert_transcript!(session(&fleet, &["status", "releases"]), @"
    $ engr shop status
    shop v2, deploy by tester@HOST at CLOCK
    rollout of v2: watched for N s of 1m; shop-1 conducts
    http://127.0.0.1:PORT

    INSTANCE  RELEASE  PHASE  PID  UPTIME  RESTARTS  ADDRESS  REPORTED  LAST FAILURE
    shop-1  v2  serving PID  N s  0  127.0.0.1:OWN  N s ago  -
    (0)
    $ engr shop releases
      RELEASE  WHEN  WHO  WHAT  COMMIT  ARTIFACT  OUTCOME  MESSAGE
    *  v2  CLOCK  tester@HOST  deploy  -  SHA  done
      v1  CLOCK  tester@HOST  deploy  -  SHA  done  the first
    (0)
    ");
    assert_transcript!(session(&fleet, &["status --at 0s", "status --at 30d", "status --at soon"]), @r#"
        $ engr shop status --at 0s
        shop at CLOCK: v2 (deploy) by tester@HOST, published CLOCK, artifact SHA
        (0)
        $ engr shop status --at 30d
        shop had no release at CLOCK
        (0)
        $ engr shop status --at soon
        ! engr: "soon" is not a time
        !  → write 2026-11-22T10:00Z, "2026-11-22 10:00", 10:00, or an age like 2h
        (2)
    "#);

    let status = fleet.engr(&["status", "--json"]).result();
    let keys: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let known = [
        "app",
        "release",
        "published",
        "by",
        "what",
        "message",
        "artifact",
        "claim",
        "lock",
        "agent",
        "rollout",
        "environment_staged",
        "address",
        "addresses",
        "instances",
    ];
    assert_eq!(keys, known);
    let instance = &status["instances"][0];
    let pid = instance["pid"].as_u64().unwrap();
    let served = fleet.get("/").unwrap().body;
    assert!(served.contains(&format!("\"pid\":{pid},")), "{served} {instance}");
    let rest = ["name", "release", "phase", "restarts", "last_failure"].map(|key| &instance[key]);
    let expected = [json!("shop-1"), json!(2), json!("serving"), json!(0), Value::Null];
    assert_eq!(rest, expected.each_ref());

    let releases = fleet.engr(&["releases", "--json"]).result();
    let told = |index: usize| {
        let one = &releases["releases"][index];
        ["release", "current", "kind", "outcome", "message"].map(|key| one[key].clone())
    };
    assert_eq!(told(0), [json!(2), json!(true), json!("deploy"), json!("done"), Value::Null]);
    assert_eq!(told(1)[..4], [json!(1), json!(false), json!("deploy"), json!("done")]);
    assert_eq!(told(1)[4], "the first\nof many");
    let at = fleet.engr(&["status", "--at", "0s", "--json"]).result();
    assert_eq!((&at["release"], &at["artifact"]), (&json!(2), &status["artifact"]));
}

#[test]
fn ways_to_deploy() {
    let fleet = serving();
    assert_transcript!(session(&fleet, &["deploy --plan", "deploy --detach"]), @r#"
        $ engr shop deploy --plan
        build  shop for ARCH, N MB  N s
        archive  SHA, N MB  N s
        nothing would change
        (0)
        $ engr shop deploy --detach
        claim  held by tester@HOST  N s
        build  shop for ARCH, N MB  N s
        archive  SHA, N MB  N s
        upload  nothing to upload, the bucket has it  N s
        publish  v2  N s
        v2 is published, and the fleet goes on by itself: follow it with `engr shop wait v2`
        undo  engr shop rollback v1
        (0)
    "#);
    until("v2", || (fleet.status().instances[0].release == Some(2)).then_some(()));
    assert_transcript!(session(&fleet, &["deploy --if-current v1"]), @r#"
        $ engr shop deploy --if-current v1
        ! engr: the current release is v2, not v1
        !  → look at `engr shop releases`, then run it again
        (11)
    "#);
    assert_transcript!(session(&fleet, &["deploy --build-only --plan", "deploy --build-only"]), @r#"
        $ engr shop deploy --build-only --plan
        ! error: the argument '--build-only' cannot be used with '--plan'
        !
        ! Usage: engr shop deploy --build-only
        !
        ! For more information, try '--help'.
        (2)
        $ engr shop deploy --build-only
        build  shop for ARCH, N MB  N s
        archive  SHA, N MB  N s
        SHA256  WORK/target/engr/SHA256.tar.zst
        (0)
    "#);

    fleet.tag("two");
    assert_eq!(fleet.publish(&["deploy"]), 3);
    let artifact = |release: usize| {
        let all = fleet.engr(&["releases", "--json"]).result();
        let count = all["releases"].as_array().unwrap().len();
        all["releases"][count - release]["artifact"].as_str().unwrap().to_owned()
    };
    let (one, two) = (artifact(1), artifact(3));
    assert_ne!(one, two);
    assert_transcript!(session(&fleet, &["deploy --artifact abc", "deploy --artifact 0000000"]), @r#"
        $ engr shop deploy --artifact abc
        ! engr: no artifact of the bucket begins with "abc"
        !  → write 6 or more of its hex digits, of one of these:
        !  → SHA (v3)
        !  → SHA (v2, v1)
        (2)
        $ engr shop deploy --artifact 0000000
        ! engr: no artifact of the bucket begins with "0000000"
        !  → write 6 or more of its hex digits, of one of these:
        !  → SHA (v3)
        !  → SHA (v2, v1)
        (2)
    "#);
    let plan = fleet.engr(&["deploy", "--plan", "--artifact", &one[..8], "--json"]);
    assert_eq!(plan.code, Some(3), "{plan}");
    let change: Value = serde_json::from_str(plan.stdout.lines().next().unwrap()).unwrap();
    let expected = json!({
        "type": "change", "what": "artifact", "change": "changed", "from": two, "to": one,
    });
    assert_eq!(change, expected);
    assert_transcript!(fleet.engr(&["deploy", "--artifact", &one]), @r#"
        $ engr shop deploy --artifact SHA256
        claim  held by tester@HOST  N s
        publish  v4  N s
          shop-1  switched to v4 after N s
        rollout  v4 serves on 1 instance  N s
        watched  for 1m more by the fleet; safe to leave
        total  N s, N s from the publish to the last switch
        address  http://127.0.0.1:PORT
        undo  engr shop rollback v3
        (0)
    "#);
    assert_eq!(artifact(4), one);
}

#[test]
fn a_release_that_fails_is_told_with_its_last_lines() {
    let fleet = serving();
    assert_transcript!(session(&fleet, &["env:set TEST_MODE=exit:7", "status", "releases"]), @"
    $ engr shop env:set TEST_MODE=exit:7
    environment + TEST_MODE
    publish  v2  N s
      shop-1  failed to become ready: it exited with code 7
    shop-1, last lines
      │ starting version untagged release 2 mode exit:7
      │ line 1 of 3 about why this release cannot start
      │ line 2 of 3 about why this release cannot start
      │ line 3 of 3 about why this release cannot start
    ! engr: v2 failed on 1 instance; v1 serves on
    !  → see more of its lines with `engr shop logs --release v2`
    (20)
    $ engr shop status
    shop v2, env TEST_MODE by tester@HOST at CLOCK
    v2 was taken back after N s: shop-1: it exited with code 7; shop runs v1
    shop-1, last lines
      │ starting version untagged release 2 mode exit:7
      │ line 1 of 3 about why this release cannot start
      │ line 2 of 3 about why this release cannot start
      │ line 3 of 3 about why this release cannot start
    http://127.0.0.1:PORT

    INSTANCE  RELEASE  PHASE  PID  UPTIME  RESTARTS  ADDRESS  REPORTED  LAST FAILURE
    shop-1  v1  serving PID  N s  0  127.0.0.1:OWN  N s ago  v2 N s ago: it exited with code 7
    (0)
    $ engr shop releases
      RELEASE  WHEN  WHO  WHAT  COMMIT  ARTIFACT  OUTCOME  MESSAGE
    *  v2  CLOCK  tester@HOST  env TEST_MODE  -  SHA  reverted
      v1  CLOCK  tester@HOST  deploy  -  SHA  done

    v2 was taken back after N s: shop-1: it exited with code 7; shop runs v1
    (0)
    ");
    let failed = fleet.engr(&["restart", "--json"]);
    assert_eq!(failed.code, Some(20), "{failed}");
    let result = failed.result();
    assert_eq!((&result["outcome"], &result["exit_code"]), (&json!("failed"), &json!(20)));
    let failure = &result["instances"][0]["failure"];
    assert_eq!((&failure["exit-code"], &failure["stage"]), (&json!(7), &json!("ready")));
    assert_eq!(failure["last-lines"].as_array().unwrap().len(), 4);
}

#[test]
fn rollback_and_restart() {
    let mut fleet = serving();
    assert_transcript!(session(&fleet, &["rollback", "rollback v1", "rollback v9", "rollback one"]), @r#"
        $ engr shop rollback
        ! engr: shop has no release before v1
        (2)
        $ engr shop rollback v1
        ! engr: v1 is the current release
        !  → start it anew with `engr shop restart`
        (2)
        $ engr shop rollback v9
        ! engr: shop has no release v9
        !  → it has v1
        (2)
        $ engr shop rollback one
        ! error: invalid value 'one' for '[vN]': "one" is no release (write v41 or 41)
        !
        ! For more information, try '--help'.
        (2)
    "#);
    fleet.tag("two");
    fleet.set("drain", json!("30s"));
    fleet.deploy();
    fleet.publish(&["env:set", "TEST_X=1"]);
    assert_transcript!(session(&fleet, &["rollback"]), @r#"
        $ engr shop rollback
        rollback  v3 → v2 (deploy)
        environment - TEST_X
        publish  v4  N s
          shop-1  switched to v4 after N s
        rollout  v4 serves on 1 instance  N s
        watched  for 1m more by the fleet; safe to leave
        total  N s, N s from the publish to the last switch
        address  http://127.0.0.1:PORT
        undo  engr shop rollback v3
        (0)
    "#);
    assert_transcript!(session(&fleet, &["rollback v1 --if-current v4 -m back"]), @r#"
        $ engr shop rollback v1 --if-current v4 -m back
        rollback  v4 → v1 (deploy)
        artifact  ~ SHA → SHA
        settings  - drain
        publish  v5  N s
          shop-1  switched to v5 after N s
        rollout  v5 serves on 1 instance  N s
        watched  for 1m more by the fleet; safe to leave
        total  N s, N s from the publish to the last switch
        address  http://127.0.0.1:PORT
        undo  engr shop rollback v4
        (0)
    "#);
    assert_transcript!(session(&fleet, &["restart --if-current v4", "restart"]), @r#"
        $ engr shop restart --if-current v4
        ! engr: the current release is v5, not v4
        !  → look at `engr shop releases`, then run it again
        (11)
        $ engr shop restart
        publish  v6  N s
          shop-1  switched to v6 after N s
        rollout  v6 serves on 1 instance  N s
        watched  for 1m more by the fleet; safe to leave
        total  N s, N s from the publish to the last switch
        address  http://127.0.0.1:PORT
        undo  engr shop rollback v5
        (0)
    "#);
    assert_transcript!(session(&fleet, &["releases"]), @r#"
        $ engr shop releases
          RELEASE  WHEN  WHO  WHAT  COMMIT  ARTIFACT  OUTCOME  MESSAGE
        *  v6  CLOCK  tester@HOST  restart  -  SHA  done
          v5  CLOCK  tester@HOST  rollback of v1  -  SHA  done  back
          v4  CLOCK  tester@HOST  rollback of v2  -  SHA  done
          v3  CLOCK  tester@HOST  env TEST_X  -  SHA  done
          v2  CLOCK  tester@HOST  deploy  -  SHA  done
          v1  CLOCK  tester@HOST  deploy  -  SHA  done
        (0)
    "#);
    fleet.assert_serves(6);
}

#[test]
fn the_environment_is_changed_shown_and_staged() {
    let fleet = serving();
    let place = fleet.place();
    place.write("secret", "s3cret\n");
    assert_transcript!(session(&fleet, &["env", "env:set TEST_X=1 TEST_SECRET=@secret"]), @r#"
        $ engr shop env
        shop has no variables: `engr shop env:set K=V`
        (0)
        $ engr shop env:set TEST_X=1 TEST_SECRET=@secret
        environment + TEST_SECRET
        environment + TEST_X
        publish  v2  N s
          shop-1  switched to v2 after N s
        rollout  v2 serves on 1 instance  N s
        watched  for 1m more by the fleet; safe to leave
        total  N s, N s from the publish to the last switch
        address  http://127.0.0.1:PORT
        undo  engr shop rollback v1
        (0)
    "#);
    assert_transcript!(session(&fleet, &["env", "env --reveal", "env:get TEST_SECRET", "env:get TEST"]), @r#"
        $ engr shop env
        TEST_SECRET
        TEST_X
        (0)
        $ engr shop env --reveal
        TEST_SECRET=s3cret
        TEST_X=1
        (0)
        $ engr shop env:get TEST_SECRET
        s3cret
        (0)
        $ engr shop env:get TEST
        ! engr: shop has no variable TEST
        !  → did you mean TEST_X?
        (2)
    "#);
    assert_eq!(fleet.get("/env?name=TEST_SECRET").unwrap().body, "s3cret");
    assert_transcript!(session(&fleet, &["env:set TEST_X=1", "env:set TEST_X 2 --stage", "env --reveal", "env --json"]), @r#"
        $ engr shop env:set TEST_X=1
        nothing changes
        (0)
        $ engr shop env:set TEST_X 2 --stage
        environment ~ TEST_X
        staged for the next deploy
        (0)
        $ engr shop env --reveal
        TEST_SECRET=s3cret
        TEST_X=1
        staged for the next deploy:
        ~ TEST_X=2
        (0)
        $ engr shop env --json
        {"app":"shop","release":2,"variables":[{"name":"TEST_SECRET"},{"name":"TEST_X"}],"staged":[{"name":"TEST_X","change":"changed"}]}
        (0)
    "#);
    assert_eq!(fleet.get("/env?name=TEST_X").unwrap().body, "1");
    assert_transcript!(session(&fleet, &["env:unset TEST_X TEST_NONE", "env:unset TEST_X", "env"]), @r#"
        $ engr shop env:unset TEST_X TEST_NONE
        ! engr: shop has no variable TEST_NONE
        !  → did you mean TEST_X?
        (2)
        $ engr shop env:unset TEST_X
        environment - TEST_X
        publish  v3  N s
          shop-1  switched to v3 after N s
        rollout  v3 serves on 1 instance  N s
        watched  for 1m more by the fleet; safe to leave
        total  N s, N s from the publish to the last switch
        address  http://127.0.0.1:PORT
        undo  engr shop rollback v2
        (0)
        $ engr shop env
        TEST_SECRET
        (0)
    "#);
    assert_transcript!(session(&fleet, &["env:set PORT=1", "env:set s3cret", "env:set A=@nowhere"]), @r#"
        $ engr shop env:set PORT=1
        ! engr: "PORT" cannot be a variable of yours
        !  → Engineer sets it by itself
        (2)
        $ engr shop env:set s3cret
        ! engr: a word has no `=`
        !  → write each variable as K=V, K=@file or K=-
        (2)
        $ engr shop env:set A=@nowhere
        ! engr: cannot read A from nowhere: No such file or directory (os error 2)
        (2)
    "#);
    let detached = fleet.engr(&["env:set", "TEST_X=3", "--detach", "--json"]);
    assert_eq!(detached.result()["outcome"], "detached", "{detached}");
    assert!(!detached.stdout.contains("s3cret"), "{detached}");
    until("v4", || (fleet.status().instances[0].release == Some(4)).then_some(()));
}

#[test]
fn a_command_runs_here_with_the_deployed_environment() {
    let fleet = serving();
    fleet.publish(&["env:set", "TEST_X=deployed"]);
    let shown =
        ["sh", "-c", "echo $TEST_X $ENGR_APP $ENGR_VERSION $ENGR_PROJECT $ENGR_INSTANCE; exit 7"];
    assert_transcript!(fleet.engr(&[&["run"], &shown[..]].concat()), @r#"
        $ engr shop run sh -c echo $TEST_X $ENGR_APP $ENGR_VERSION $ENGR_PROJECT $ENGR_INSTANCE; exit 7
        deployed shop 2 local
        (7)
    "#);
    assert_transcript!(session(&fleet, &["run no-such-program", "run"]), @r#"
        $ engr shop run no-such-program
        ! engr: cannot run no-such-program: No such file or directory (os error 2)
        (2)
        $ engr shop run
        ! error: the following required arguments were not provided:
        !  <COMMAND>...
        !
        ! Usage: engr shop run <COMMAND>...
        !
        ! For more information, try '--help'.
        (2)
    "#);
}

/// `logs -f` beside the test, ended with this value.
struct Following(Child);

impl Following {
    /// Returns once it shows what is written from then on.
    fn start(fleet: &Fleet, args: &[&str], into: &Path) -> Self {
        let mut command = fleet.place().command(binary("engr"));
        command.args(["shop", "logs", "-f"]).args(args).stdout(File::create(into).unwrap());
        let following = Self(command.spawn().unwrap());
        let fds = format!("/proc/{}/fd", following.0.id());
        until("its watch", || {
            let open = fs::read_dir(&fds).unwrap().flatten();
            let mut targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
            targets.any(|target| target.ends_with("anon_inode:inotify")).then_some(())
        });
        following
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn logs_are_merged_filtered_and_told_as_json() {
    let fleet = serving();
    fleet.publish(&["restart"]);
    drained(&fleet);
    assert_transcript!(session(&fleet, &["logs --release v1", "logs --release 7"]), @r#"
        $ engr shop logs --release v1
        CLOCK shop-1 v1  starting version untagged release 1 mode engineer
        CLOCK shop-1 v1  ready on 127.0.0.1:OWN
        CLOCK shop-1 v1  got SIGTERM
        CLOCK shop-1 v1  finished
        (0)
        $ engr shop logs --release 7
        (0)
    "#);
    assert_transcript!(session(&fleet, &["logs -n 0", "logs --instance shop-9", "logs -n many"]), @r#"
        $ engr shop logs -n 0
        (0)
        $ engr shop logs --instance shop-9
        ! engr: shop has no instance "shop-9"
        !  → it has shop-1
        (2)
        $ engr shop logs -n many
        ! error: invalid value 'many' for '-n <N>': invalid digit found in string
        !
        ! For more information, try '--help'.
        (2)
    "#);
    let last = fleet.engr(&["logs", "-n", "1", "--instance", "shop-1", "--json"]);
    let line = last.result();
    let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["time", "instance", "release", "stream", "text"]);
    assert_eq!((&line["instance"], &line["stream"]), (&json!("shop-1"), &json!("agent")));
    let followed = fleet.place().path().join("followed");
    let following = Following::start(&fleet, &["-n", "0", "--release", "v3"], &followed);
    fleet.publish(&["restart"]);
    let seen = || fs::read_to_string(&followed).unwrap();
    until("its lines", || seen().contains("shop-1 v3     ready on 127.0.0.1:").then_some(()));
    drop(following);
    assert!(!seen().contains(" v2 ") && !seen().contains(" agent "), "{}", seen());
}

#[test]
fn sync_brings_the_fleet_to_its_settings() {
    let mut fleet = serving();
    assert_transcript!(session(&fleet, &["sync --plan", "sync"]), @r#"
        $ engr shop sync --plan
        the fleet is what it should be
        (0)
        $ engr shop sync
        in sync: 1 instance, http://127.0.0.1:PORT
        (0)
    "#);
    fleet.set("instance-count", json!(2));
    assert_transcript!(session(&fleet, &["sync --plan", "sync", "sync --plan"]), @r#"
        $ engr shop sync --plan
        + create shop-2
        1 to do: `engr shop sync`
        (3)
        $ engr shop sync
        created shop-2
        in sync: 2 instances, http://127.0.0.1:PORT
        (0)
        $ engr shop sync --plan
        the fleet is what it should be
        (0)
    "#);
    until("v1 on both", || {
        fleet.status().instances.iter().all(|one| one.release == Some(1)).then_some(())
    });
    fleet.assert_serves(1);
    fleet.set("instance-count", json!(1));
    assert_transcript!(session(&fleet, &["sync"]), @r#"
        $ engr shop sync
        removed shop-2
        in sync: 1 instance, http://127.0.0.1:PORT
        (0)
    "#);

    fleet.lose(1);
    assert_transcript!(session(&fleet, &["status", "sync"]), @"
    $ engr shop status
    shop v1, deploy by tester@HOST at CLOCK
    rollout of v1: watched for N s of 1m; 1 down; shop-1 conducts
    http://127.0.0.1:PORT

    INSTANCE  RELEASE  PHASE  PID  UPTIME  RESTARTS  ADDRESS  REPORTED  LAST FAILURE
    shop-1  -  down  -  -  0  127.0.0.1:OWN  N s ago  -

    `engr shop sync` would:
    + start shop-1
    (0)
    $ engr shop sync
    started shop-1
    in sync: 1 instance, http://127.0.0.1:PORT
    (0)
    ");
    until("v1 again", || (fleet.status().instances[0].release == Some(1)).then_some(()));
}

#[test]
fn destroy_app_asks_first_and_leaves_the_bucket_unless_told() {
    let fleet = serving();
    let serving = fleet.processes();
    assert_transcript!(session(&fleet, &["destroy-app", "destroy-app --yes other"]), @r#"
        $ engr shop destroy-app
        ! engr: this removes the fleet, and nobody is there to confirm it
        !  → confirm it with `engr shop destroy-app --yes shop`
        (2)
        $ engr shop destroy-app --yes other
        ! engr: the app is shop, and "other" was given: nothing was removed
        (2)
    "#);
    assert_eq!(fleet.processes(), serving);
    assert_transcript!(session(&fleet, &["destroy-app --yes shop", "status", "releases"]), @"
    $ engr shop destroy-app --yes shop
    This stops the app and removes, with their logs:
      instances: shop-1
      addresses: http://127.0.0.1:PORT
    balancer: stop
    removed shop-1
    the bucket stays: file://ROOT/home/engr/local/shop/bucket (1 release)
      it goes with `engr shop destroy-app --yes shop --bucket`; `engr shop sync` brings the app back
    WORK/engr.json still has the app: nothing there was touched
    (0)
    $ engr shop status
    shop v1, deploy by tester@HOST at CLOCK
    http://127.0.0.1:PORT

    no instances: make them with `engr shop sync`
    (0)
    $ engr shop releases
      RELEASE  WHEN  WHO  WHAT  COMMIT  ARTIFACT  OUTCOME  MESSAGE
    *  v1  CLOCK  tester@HOST  deploy  -  SHA  -
    (0)
    ");
    assert_eq!(fleet.processes(), []);
    assert_transcript!(session(&fleet, &["sync"]), @r#"
        $ engr shop sync
        created shop-1
        balancer: start at 127.0.0.1:PORT
        in sync: 1 instance, http://127.0.0.1:PORT
        (0)
    "#);
    until("v1 again", || (fleet.status().instances[0].release == Some(1)).then_some(()));
    assert_transcript!(session(&fleet, &["destroy-app --yes shop --bucket"]), @r#"
        $ engr shop destroy-app --yes shop --bucket
        This stops the app and removes, with their logs:
          instances: shop-1
          addresses: http://127.0.0.1:PORT
        balancer: stop
        removed shop-1
        removed the bucket file://ROOT/home/engr/local/shop/bucket (1 release)
        WORK/engr.json still has the app: nothing there was touched
        (0)
    "#);
    let left = fs::read_dir(fleet.place().home().join("local")).unwrap().count();
    assert_eq!((left, fleet.processes().len()), (0, 0));
}
