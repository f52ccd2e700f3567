//! Many deployers at once, on a bucket whose service fails at random in every way that it can.

use std::collections::BTreeMap;

use deploy::publish::load;
use gcs_server::{Kind, Rule};
use serde_json::{Value, json};
use tests::engr::{Transcript, binary};
use tests::fleet::{Fleet, blocking, until};

const DEPLOYERS: usize = 16;

/// How many rounds a run has. `ENGR_TEST_ROUNDS` says otherwise.
const ROUNDS: usize = 12;

/// How likely a fault befalls a call.
const PROBABILITY: f64 = 0.1;

fn rounds() -> usize {
    match std::env::var("ENGR_TEST_ROUNDS") {
        Ok(text) => text.parse().expect("ENGR_TEST_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}

/// What one deployer made of it: the release that it published, or none where it lost to another
/// and was told so.
#[track_caller]
fn outcome(done: &Transcript, fleet: &Fleet) -> Option<u64> {
    match done.code {
        Some(0) => Some(done.result()["release"].as_u64().expect("a release")),
        Some(11) => {
            let error = done.result()["error"].as_str().unwrap_or_default().to_owned();
            let is_told = error.contains("tester@") || error.contains("others wrote state.json");
            assert!(is_told, "not told to whom it lost: {done}");
            None
        }
        _ => panic!("neither won nor lost: {done}\n{}", fleet.story()),
    }
}

#[test]
fn sixteen_deployers_through_every_fault() {
    let mut fleet = Fleet::on_cloud_storage(2);
    fleet.program(&binary("plain-listen-fds"));
    fleet.set("health", json!({"path": "/health"}));
    let mut published = BTreeMap::from([(fleet.deploy(), "first".to_owned())]);
    let faults = fleet.cloud_storage().0.faults();
    let seed = 20_261_124;
    faults.add(Rule { delay_ms: 300, ..Rule::new(Kind::ALL).by_chance(PROBABILITY, seed) });
    // These befall few of the calls, and are to be met in a short run too.
    let rare = [Kind::LostPrecondition, Kind::StaleList, Kind::CutInUpload];
    faults.add(Rule::new(rare).by_chance(0.25, seed + 1));
    for round in 0..rounds() {
        // A deploy claims, and the others are told. A restart claims nothing: all of them move the
        // state forward at once, each over the others.
        let command = if round % 4 == 3 { "restart" } else { "deploy" };
        let running: Vec<_> = (0..DEPLOYERS)
            .map(|deployer| {
                let message = format!("round {round}, {command} {deployer}");
                (fleet.start(&[command, "--json", "--detach", "-m", &message]), message)
            })
            .collect();
        let mut won = 0;
        for (running, message) in running {
            let done = running.wait(fleet.place());
            if let Some(release) = outcome(&done, &fleet) {
                won += 1;
                let twice = published.insert(release, message);
                assert_eq!(twice, None, "v{release} was won twice: {done}");
            }
        }
        assert!(won > 0, "somebody must win in round {round}");
    }
    let injected = faults.injected();
    eprintln!("{} releases; faults: {injected:?}", published.len());
    faults.clear();

    // The bucket's history says the same as the deployers were told.
    let history: Value = serde_json::from_str(&fleet.must(&["releases", "--json"]).stdout)
        .expect("the history is JSON");
    let history = history["releases"].as_array().expect("releases").iter();
    let mut history: Vec<(u64, String)> = history
        .map(|release| {
            let message = release["message"].as_str().unwrap_or("first").to_owned();
            (release["release"].as_u64().expect("a number"), message)
        })
        .collect();
    history.sort_unstable();
    let told: Vec<(u64, String)> = published.into_iter().collect();
    assert_eq!(history, told);
    let last = told.last().expect("there are releases").0;
    assert!(told.iter().map(|(number, _)| *number).eq(1..=last), "numbers have no gaps");

    // Nobody holds a claim any more, or it ends by itself.
    until("no claim lives", || {
        let state = blocking(load(&*fleet.store(), "shop")).expect("the state").state;
        state.live_claim(deploy::Timestamp::now()).is_none().then_some(())
    });
    until("all serve the last release", || {
        let status = fleet.status();
        let all = status.instances.iter().all(|one| one.release == Some(last));
        (all && status.instances.iter().all(|one| one.phase == "serving")).then_some(())
    });
    fleet.assert_serves(last);
    // As many kinds of faults were met as the calls of a deploy can meet.
    let unmet: Vec<Kind> = Kind::ALL.into_iter().filter(|k| !injected.contains_key(k)).collect();
    assert_eq!(unmet, [], "a round without them proves nothing of them");
}
