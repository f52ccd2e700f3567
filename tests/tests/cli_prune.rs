//! Pruning: what a person sees, what is left in the bucket, and what a prune and a deploy do to each
//! other.

use std::time::Duration;

use deploy::history::History;
use deploy::id::Id;
use deploy::layout;
use deploy::prune::Pruned;
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
    settings.add_filter(r"\b\d+(\.\d+)? (B|kB|MB)\b", "SIZE");
    // A claim may have been renewed more often.
    settings.add_filter(r"\b\d+ states\b", "N states");
    settings.add_filter(r"generation \d+", "generation N");
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

/// An app with the releases 1 to 5: `one`, `two`, `one` with a variable, `three`, `four`. Something
/// that no state names was uploaded too.
async fn five_releases() -> App {
    let app = App::new();
    app.deploy();
    app.content("two");
    app.deploy();
    app.content("one");
    app.engr(&["env:set", "A=1", "--stage"]);
    app.deploy();
    app.engr(&["env:set", "A=2", "--stage"]);
    for content in ["three", "four"] {
        app.content(content);
        app.deploy();
    }
    let orphan = layout::artifact(&Digest::of(b"orphan"));
    app.store.write(&orphan, b"orphan", Expect::Absent).await.unwrap();
    assert_eq!(app.state().await.current(), Some(5));
    app
}

async fn names(app: &App) -> Vec<String> {
    app.store.list("").await.unwrap().into_iter().map(|stat| stat.name).collect()
}

/// What the kept releases name is there, and nothing else is.
async fn assert_pruned(app: &App, from: u64) {
    let history = History::read(&app.store).await.unwrap();
    let numbers: Vec<_> = history.releases.iter().map(|release| release.number).collect();
    assert_eq!(numbers, (from..=*numbers.last().unwrap()).collect::<Vec<_>>());
    let mut needed: Vec<_> = history.releases.iter().flat_map(|one| one.objects()).collect();
    needed.push(layout::STATE.to_owned());
    needed.sort();
    needed.dedup();
    let known = names(app).await;
    assert_eq!(known, needed);
    for name in known.iter().filter(|name| *name != layout::STATE) {
        assert!(app.store.stat(name).await.unwrap().is_some(), "{name} is whole");
    }
}

#[tokio::test]
async fn a_prune_is_planned_confirmed_and_done() {
    let app = five_releases().await;
    let before = (names(&app).await, app.store.versions(layout::STATE).await.unwrap());
    assert_transcript!(app.engr(&["prune", "--keep", "2", "--plan"]), @r#"
        $ engr hello prune --keep 2 --plan
        keeps   2 releases, from v4 on, and what they name
        removes   N states, 3 artifacts, 1 environment: SIZE
        (3)
    "#);
    assert_transcript!(app.engr(&["prune", "--keep", "2"]), @r#"
        $ engr hello prune --keep 2
        keeps   2 releases, from v4 on, and what they name
        removes   N states, 3 artifacts, 1 environment: SIZE
        ! engr: what is removed cannot be brought back, and nobody is there to confirm it
        !   → confirm it by adding `--yes`
        (2)
    "#);
    let after = (names(&app).await, app.store.versions(layout::STATE).await.unwrap());
    assert_eq!(before, after, "neither removes anything");
    let first = History::read(&app.store).await.unwrap().releases[1].artifact.digest;
    assert_transcript!(app.engr(&["prune", "--keep", "2", "--yes"]), @r#"
        $ engr hello prune --keep 2 --yes
        keeps   2 releases, from v4 on, and what they name
        removes   N states, 3 artifacts, 1 environment: SIZE
        prune   removed N states, 3 artifacts, 1 environment: SIZE  TIME
        (0)
    "#);
    assert_pruned(&app, 4).await;
    assert_eq!(app.store.versions(&layout::artifact(&first)).await.unwrap(), [], "for good");
    let state = app.state().await;
    assert_eq!((&state.claim, state.prune_unfinished()), (&None, None));

    assert_transcript!(app.engr(&["prune", "--keep", "2", "--yes"]), @r#"
        $ engr hello prune --keep 2 --yes
        keeps   2 releases, and what they name
        there is nothing to remove
        (0)
    "#);
    assert_transcript!(app.engr(&["releases", "--all", "-n", "2"]), @r#"
        $ engr hello releases --all -n 2
          RELEASE  WHEN   WHO   WHAT   COMMIT  ARTIFACT  OUTCOME  MESSAGE
           CLOCK  tester@HOST  prune ended
           CLOCK  tester@HOST  prune begun   keeps the releases from v4 on
        (0)
    "#);
    // What was removed is what a deploy uploads again, and what a rollback cannot reach.
    let gone = app.engr(&["rollback", "v2"]);
    assert!(gone.stderr.contains("hello has no release v2"), "{gone}");
    app.content("two");
    let deployed = app.deploy();
    assert_eq!(deployed.code, Some(0), "{deployed}");
    assert!(!deployed.stdout.contains("nothing to upload"), "{deployed}");
    assert_eq!(app.engr(&["rollback", "v4", "--detach"]).code, Some(0));
    assert_pruned(&app, 4).await;
}

#[tokio::test]
async fn by_default_a_hundred_releases_stay() {
    let app = five_releases().await;
    let pruned = app.engr(&["prune", "--yes", "--json"]);
    assert_eq!(pruned.code, Some(0), "{pruned}");
    let first: serde_json::Value =
        serde_json::from_str(pruned.stdout.lines().next().unwrap()).unwrap();
    let told = ["type", "keeps", "from", "states", "artifacts", "environments"];
    let told = told.map(|key| first[key].clone());
    assert_eq!(told, [json!("prune"), json!(5), json!(0), json!(0), json!(1), json!(0)]);
    assert_eq!(pruned.result()["outcome"], "done");
    assert_pruned(&app, 1).await;
    let nothing = app.engr(&["prune", "--plan", "--json"]);
    assert_eq!((nothing.code, &nothing.result()["outcome"]), (Some(0), &json!("unchanged")));
    let plan = app.engr(&["prune", "--plan", "--json", "--keep", "1"]);
    assert_eq!((plan.code, &plan.result()["outcome"]), (Some(3), &json!("changes")));
    let zero = app.engr(&["prune", "--keep", "0"]);
    assert_eq!(zero.code, Some(2), "{zero}");
}

#[tokio::test]
async fn a_state_that_cannot_be_read_keeps_everything() {
    let app = five_releases().await;
    let history = app.store.versions(layout::STATE).await.unwrap();
    let newest = history.last().unwrap();
    let path = app.place.home().join("local/hello/bucket/objects/state.json");
    std::fs::write(path.join(format!("{:020}", newest.0 - 1)), b"damaged").unwrap();
    let before = names(&app).await;
    assert_transcript!(app.engr(&["prune", "--keep", "2", "--yes"]), @r#"
        $ engr hello prune --keep 2 --yes
        ! engr: generation N of state.json cannot be read, so nobody knows which artifacts and environments it names
        !   → nothing was removed
        !   → keep so few releases that it is among those that go: `engr hello prune --keep N`
        (1)
    "#);
    assert_eq!(names(&app).await, before);
    assert_eq!(app.state().await.claim, None);
}

#[tokio::test]
async fn a_deploy_and_a_prune_keep_out_of_each_others_way() {
    let app = five_releases().await;
    let gate = app.gated();
    let first = app.start(&["deploy", "--detach"]);
    gate.reached().await;
    let refused = app.engr(&["prune", "--keep", "2", "--yes"]);
    assert_eq!(refused.code, Some(11), "{refused}");
    assert!(refused.stderr.contains("has been deploying since"), "{refused}");
    gate.open();
    assert_eq!(first.ended(&app.place).await.code, Some(0));
    app.engr(&["lock", "-m", "incident 7"]);
    let refused = app.engr(&["prune", "--keep", "2", "--yes"]);
    assert_eq!(refused.code, Some(11), "{refused}");
    assert!(refused.stderr.contains("has locked hello since"), "{refused}");
    app.engr(&["unlock"]);
    assert_eq!(app.engr(&["prune", "--keep", "2", "--yes"]).code, Some(0));
    assert_pruned(&app, 5).await;
}

/// Somebody's laptop went to sleep in the middle of a prune that keeps v4 and v5.
async fn unfinished(app: &App) {
    let pruned = Some(Pruned { count: 1, from: 4, unfinished: true });
    app.change(|state| Ok(State { pruned: pruned.clone(), ..state })).await;
}

#[tokio::test]
async fn while_a_prune_is_unfinished_nothing_is_trusted_that_it_may_remove() {
    let app = five_releases().await;
    let history = History::read(&app.store).await.unwrap();
    let two = history.releases[1].artifact.digest;
    unfinished(&app).await;
    assert_transcript!(app.engr(&["status"]), @r#"
        $ engr hello status
        hello v5, deploy by tester@HOST at CLOCK
        a prune was cut off: `engr hello prune` goes on with it

        no instances: make them with `engr hello sync`
        (0)
    "#);
    assert_eq!(app.engr(&["status", "--json"]).result()["prune_unfinished"], true);
    assert_transcript!(app.engr(&["rollback", "v2"]), @r#"
        $ engr hello rollback v2
        ! engr: v2 cannot be used: a prune of hello has not come to its end and may still remove it
        !   → let it come to its end with `engr hello prune`
        (11)
    "#);
    let refused = app.engr(&["deploy", "--artifact", &two.short(), "--detach"]);
    assert_transcript!(refused, @r#"
        $ engr hello deploy --artifact SHA --detach
        claim   held by tester@HOST  TIME
        ! engr: artifact SHA cannot be used: a prune of hello has not come to its end and may still remove it
        !   → let it come to its end with `engr hello prune`
        (11)
    "#);
    assert_eq!(app.state().await.claim, None);
    // What it keeps may be gone back to, and the same source is uploaded anew.
    assert_eq!(app.engr(&["rollback", "v4", "--detach"]).code, Some(0));
    app.content("two");
    let before = app.store.versions(&layout::artifact(&two)).await.unwrap();
    let deployed = app.deploy();
    assert!(!deployed.stdout.contains("nothing to upload"), "{deployed}");
    let after = app.store.versions(&layout::artifact(&two)).await.unwrap();
    assert_eq!((before.len(), after.len()), (1, 2));
    // The sleeper goes on: it expects what it had listed.
    let late = app.store.delete(&layout::artifact(&two), Expect::Generation(before[0])).await;
    late.unwrap_err();

    assert_transcript!(app.engr(&["prune", "--yes"]), @r#"
        $ engr hello prune --yes
        keeps   4 releases, from v4 on, and what they name
        removes   N states, 2 artifacts, 1 environment: SIZE
           and so goes on with a prune that did not come to its end
        prune   removed N states, 2 artifacts, 1 environment: SIZE  TIME
        (0)
    "#);
    assert_pruned(&app, 4).await;
    assert_eq!(app.state().await.prune_unfinished(), None);
}

#[tokio::test]
async fn a_prune_that_is_killed_anywhere_loses_nothing() {
    let app = five_releases().await;
    for step in 0..12 {
        app.content(&format!("content {step}"));
        assert_eq!(app.deploy().code, Some(0));
        let victim = app.start(&["prune", "--keep", "2", "--yes"]);
        tokio::time::sleep(Duration::from_millis(step * 3)).await;
        victim.signal(Signal::SIGKILL);
        victim.ended(&app.place).await;
        let now = Timestamp::now();
        app.change(|state| Ok(state.unlocked("tester@test", now))).await;
        let kept = History::read(&app.store).await.unwrap().releases;
        for release in kept.iter().rev().take(2) {
            for name in release.objects() {
                assert!(app.store.stat(&name).await.unwrap().is_some(), "{name}, {step}");
            }
        }
        assert_eq!(app.engr(&["restart", "--detach"]).code, Some(0));
    }
    assert_eq!(app.engr(&["prune", "--keep", "2", "--yes"]).code, Some(0));
    let newest = app.state().await.current().unwrap();
    assert_pruned(&app, newest - 1).await;
}

#[tokio::test]
async fn a_claim_that_is_taken_stops_a_prune_before_it_removes_anything() {
    let app = five_releases().await;
    let now = Timestamp::now();
    let claim = deploy::claim::Claim::new(Id::fixed("his"), "bob@desk".to_owned(), now);
    app.change(|state| Ok(State { claim: Some(claim.clone()), ..state })).await;
    let before = names(&app).await;
    assert_eq!(app.engr(&["prune", "--keep", "1", "--yes"]).code, Some(11));
    assert_eq!(app.engr(&["prune", "--keep", "1", "--plan"]).code, Some(3), "a plan needs none");
    assert_eq!(names(&app).await, before);
}
