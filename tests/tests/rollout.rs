//! Rollouts through twenty real agents under load: in order, halted and taken back, with conductors
//! that are killed and agents that hang, and with nobody at a shell.

use std::time::Duration;

use deploy::report::Report;
use deploy::rollout::{Mark, Progress, Stage, Verb};
use deploy::state::State;
use deploy::store::ErrorKind;
use deploy::{Timestamp, layout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::fleet::{Fleet, blocking, until, within};

const AGENTS: u32 = 20;

/// A rollout with all its stages ends within this, where nothing is wrong.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Twenty instances of the Rust app, and a release that was good for all of them.
fn fleet() -> (Fleet, u64) {
    let mut fleet = Fleet::alone(AGENTS).with_test_app("engineer");
    rules(&mut fleet, "1s");
    let first = fleet.deploy();
    ended(&fleet, first, Stage::Watching);
    (fleet, first)
}

fn rules(fleet: &mut Fleet, bake: &str) {
    fleet.set("rollout", json!({"bake": bake, "watch-for": "8s"}));
}

fn progress(fleet: &Fleet) -> Option<Progress> {
    match blocking(fleet.store().read(layout::ROLLOUT)) {
        Ok(object) => Some(Progress::from_object(&object.data).expect("a rollout")),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until the rollout of `release` is so far.
#[track_caller]
fn ended(fleet: &Fleet, release: u64, stage: Stage) -> Progress {
    let is_there = || {
        progress(fleet).filter(|progress| {
            // A stage that is looked for may have been passed.
            let is_past = stage == Stage::Watching && progress.stage == Stage::Done;
            progress.number == release && (progress.stage == stage || is_past)
        })
    };
    within(ENDS_WITHIN, is_there).unwrap_or_else(|| {
        panic!("v{release} is not {stage:?}: {:#?}\n{}", progress(fleet), fleet.story())
    })
}

fn report(fleet: &Fleet, name: &str) -> Report {
    let object = blocking(fleet.store().read(&layout::instance(name))).expect("a report");
    Report::from_object(&object.data).expect("a report")
}

/// How many instances have ever switched to `release`.
fn switched(fleet: &Fleet, release: u64) -> usize {
    count_switched(fleet, release, AGENTS)
}

fn count_switched(fleet: &Fleet, release: u64, instances: u32) -> usize {
    let has_switched = |number: &u32| {
        let report = report(fleet, &format!("shop-{number}"));
        report.outcome(release).is_some_and(|outcome| outcome.switched.is_some())
    };
    (1..=instances).filter(has_switched).count()
}

/// Deploys and leaves at once; gives the release.
#[track_caller]
fn detached(fleet: &Fleet, args: &[&str]) -> u64 {
    let done = fleet.must(&[&["deploy", "--json", "--detach"], args].concat());
    done.result()["release"].as_u64().expect("a release")
}

/// Waits until all serve `release`, and looks whether they do.
#[track_caller]
fn all_serve(fleet: &Fleet, release: u64) {
    let all = || {
        let status = fleet.status();
        let is_there =
            |one: &tests::fleet::Instance| one.release == Some(release) && one.phase == "serving";
        status.instances.iter().all(is_there).then_some(())
    };
    within(ENDS_WITHIN, all).unwrap_or_else(|| panic!("{:#?}\n{}", progress(fleet), fleet.story()));
    for instance in fleet.status().instances {
        assert_eq!(instance.release, Some(release), "{instance:#?}");
    }
}

#[test]
fn a_canary_goes_first_and_a_newer_release_wins() {
    let (mut fleet, first) = fleet();
    let loads = fleet.load();
    // Good, with nobody who waits for it.
    fleet.tag("two");
    let second = detached(&fleet, &[]);
    let baking = ended(&fleet, second, Stage::Canary);
    until("the canary has switched", || (switched(&fleet, second) == 1).then_some(()));
    assert!(matches!(baking.mark, Mark::UpTo(_) | Mark::None), "{baking:?}");
    ended(&fleet, second, Stage::Watching);
    all_serve(&fleet, second);

    // In the middle of a rollout another release is published: most never see the first of them.
    rules(&mut fleet, "10m");
    fleet.tag("three");
    let third = detached(&fleet, &[]);
    until("the canary has switched", || (switched(&fleet, third) == 1).then_some(()));
    rules(&mut fleet, "1s");
    fleet.tag("four");
    let fourth = detached(&fleet, &[]);
    ended(&fleet, fourth, Stage::Watching);
    all_serve(&fleet, fourth);
    assert_eq!(switched(&fleet, third), 1);

    // All at once, when that is asked for; and done when nothing was wrong.
    fleet.tag("five");
    let fifth = fleet.publish(&["deploy", "--now"]);
    ended(&fleet, fifth, Stage::Done);
    assert_eq!(fifth, first + 4);
    loads.assert_none_failed(&fleet);
}

#[test]
fn what_does_not_do_is_taken_back() {
    let (mut fleet, first) = fleet();
    let loads = fleet.load();
    let mut last = first;
    for (mode, within) in [("exit:3", "20s"), ("never-ready", "2s")] {
        fleet.set("args", json!([mode]));
        fleet.set("ready-within", json!(within));
        let bad = detached(&fleet, &[]);
        let halted = ended(&fleet, bad, Stage::Reverted);
        let halt = halted.halt.unwrap_or_else(|| panic!("no reason: {mode}"));
        let canary = halt.instance.clone().expect("the canary");
        assert!(halt.failure.is_some(), "{halt:?}");
        all_serve(&fleet, first);
        assert_eq!(switched(&fleet, bad), 0, "{mode}");
        assert!(report(&fleet, &canary).outcome(bad).is_some(), "{canary} has tried it");
        last = bad;
    }
    // Nobody but the canary has even tried.
    let tried = (1..=AGENTS).filter(|number| {
        let report = report(&fleet, &format!("shop-{number}"));
        report.outcome(last).is_some_and(|outcome| outcome.ended.is_some())
    });
    assert_eq!(tried.count(), 1);
    loads.assert_none_failed(&fleet);
    // And what is published next follows on the one that was good.
    fleet.set("args", json!(["engineer"]));
    let next = detached(&fleet, &[]);
    ended(&fleet, next, Stage::Watching);
    all_serve(&fleet, next);
}

#[test]
fn what_crashes_later_is_taken_back_from_all() {
    let (mut fleet, first) = fleet();
    fleet.set("args", json!(["crash-after:5000"]));
    fleet.set("rollout", json!({"watch-for": "40s"}));
    // It has switched everywhere before it crashes anywhere.
    let bad = detached(&fleet, &["--now"]);
    let halted = ended(&fleet, bad, Stage::Reverted);
    let halt = halted.halt.expect("a reason");
    assert!(halt.message.contains("crashed"), "{halt:?}");
    all_serve(&fleet, first);
    until("all say that it was taken back", || {
        let is_back = |number: &u32| {
            let report = report(&fleet, &format!("shop-{number}"));
            report.outcome(bad).is_some_and(|outcome| outcome.reverted.is_some())
        };
        (1..=AGENTS).all(|number| is_back(&number)).then_some(())
    });
}

#[test]
fn what_is_not_well_later_is_taken_back() {
    let mut fleet = Fleet::alone(3).with_test_app("engineer");
    fleet.set("health", json!({"path": "/health"}));
    fleet.set("rollout", json!({"bake": "1s", "watch-for": "30s"}));
    let first = fleet.deploy();
    ended(&fleet, first, Stage::Watching);
    let loads = fleet.load();
    // The canary is well for as long as it bakes, and so are the others for a while.
    fleet.set("args", json!(["unwell-after:5000"]));
    let bad = detached(&fleet, &[]);
    let halted = ended(&fleet, bad, Stage::Reverted);
    let halt = halted.halt.expect("a reason");
    assert!(halt.message.ends_with("/health answers 500"), "{halt:?}");
    assert_eq!(count_switched(&fleet, bad, 3), 3);
    all_serve(&fleet, first);
    loads.assert_none_failed(&fleet);
}

#[test]
fn a_conductor_may_die_and_half_the_agents_may_hang() {
    let (mut fleet, _) = fleet();
    let loads = fleet.load();
    rules(&mut fleet, "3s");
    fleet.tag("two");
    let second = detached(&fleet, &[]);
    let mut killed = 0;
    // Its launcher starts the next agent at once, which is another one to all others.
    while killed < 3 {
        let now = ended_or_underway(&fleet, second);
        if !now.stage.is_underway() || now.stage == Stage::Watching {
            break;
        }
        let by = now.conductor.by;
        let agent = fleet.status().instances.into_iter().find(|one| one.name == by);
        if let Some(pid) = agent.and_then(|agent| agent.agent_pid)
            && kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL).is_ok()
        {
            killed += 1;
        }
        let life = now.conductor.life;
        until("another conducts", || {
            progress(&fleet).filter(|it| it.conductor.life != life).map(drop)
        });
    }
    assert!(killed > 0, "no conductor was there to be killed");
    ended(&fleet, second, Stage::Watching);
    all_serve(&fleet, second);

    // Half of them hang: their apps serve on, and nobody waits for them.
    fleet.set("rollout", json!({"bake": "1s", "watch-for": "1s", "stale-after": "5s"}));
    let pids = agents(&fleet, AGENTS / 2);
    for pid in &pids {
        kill(*pid, Signal::SIGSTOP).expect("the agent is stopped");
    }
    fleet.tag("three");
    let third = detached(&fleet, &[]);
    let done = ended(&fleet, third, Stage::Done);
    assert_eq!(done.halt, None);
    assert_eq!(switched(&fleet, third), (AGENTS - AGENTS / 2) as usize);
    for pid in &pids {
        // A launcher may have ended the one that was silent.
        let _ = kill(*pid, Signal::SIGCONT);
    }
    all_serve(&fleet, third);
    loads.assert_none_failed(&fleet);
}

#[track_caller]
fn ended_or_underway(fleet: &Fleet, release: u64) -> Progress {
    let is_there = || progress(fleet).filter(|progress| progress.number == release);
    within(ENDS_WITHIN, is_there).unwrap_or_else(|| panic!("{}", fleet.story()))
}

/// The agents' processes of the first so many instances.
fn agents(fleet: &Fleet, count: u32) -> Vec<Pid> {
    let status = fleet.status().instances.into_iter().take(count as usize);
    let pids = status.map(|one| one.agent_pid.expect("an agent"));
    pids.map(|pid| Pid::from_raw(i32::try_from(pid).expect("a pid"))).collect()
}

#[test]
fn people_pause_a_rollout_and_call_it_off() {
    let mut fleet = Fleet::new(3).with_test_app("engineer");
    rules(&mut fleet, "2s");
    let first = fleet.deploy();
    ended(&fleet, first, Stage::Watching);
    fleet.tag("two");
    let second = detached(&fleet, &[]);
    order(&fleet, second, Verb::Pause);
    // It stands still for longer than the canary bakes.
    std::thread::sleep(Duration::from_secs(4));
    let paused = progress(&fleet).expect("it has begun");
    assert_eq!(paused.stage, Stage::Canary, "{paused:?}");
    assert!(count_switched(&fleet, second, 3) <= 1);
    order(&fleet, second, Verb::Resume);
    ended(&fleet, second, Stage::Watching);
    all_serve(&fleet, second);
    order(&fleet, second, Verb::Abort);
    let halted = ended(&fleet, second, Stage::Reverted);
    assert_eq!(halted.halt.and_then(|halt| halt.by).as_deref(), Some("ann@laptop"));
    all_serve(&fleet, first);
}

fn order(fleet: &Fleet, release: u64, verb: Verb) {
    let store = fleet.store();
    let step = |state: State| state.ordered(verb, release, "ann@laptop", Timestamp::now());
    blocking(deploy::publish::swap(&*store, "shop", step)).expect("it is ordered");
}
