//! The bucket is away: the app serves on, nothing is stopped or started again for it, the agents
//! say how old their view is, and go on when it is back.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use deploy::Timestamp;
use deploy::layout;
use deploy::local_fleet::LocalFleet;
use deploy::report::Report;
use deploy::store::gcs::bucket::NewBucket;
use deploy::store::{Expect, Gcs, Store};
use gcs_server::{Faults, Kind, Match, Outage, Rule};
use serde_json::json;
use tests::agent::report;
use tests::engr::binary;
use tests::fleet::{APP, Fleet, Process, blocking, until, within};

/// A view is old beyond this: the agents of these tests ask every 200 ms, and a look that is under
/// way has to end.
const OLD: Duration = Duration::from_secs(2);

/// Within this an agent sees what is new when the bucket is back: the longest pause between two
/// looks, and some for a machine that is busy with more.
const BACK_WITHIN: Duration = Duration::from_secs(45);

fn fleet(instances: u32) -> Fleet {
    let mut fleet = Fleet::on_cloud_storage(instances).with_test_app("engineer");
    fleet.set("settle", json!("100ms"));
    fleet
}

/// What each agent says of itself, without the bucket's help.
fn reports(fleet: &Fleet) -> Vec<Report> {
    let file = fs::read(fleet.dir().fleet()).expect("fleet.json");
    let known: LocalFleet = serde_json::from_slice(&file).expect("a fleet");
    let asked = known.instances.iter().map(|one| report(one.health).expect("an agent"));
    asked.map(|report| report.expect("a report")).collect()
}

/// How old each agent's view of the bucket is. [`Duration::MAX`]: it has none.
fn views(fleet: &Fleet) -> Vec<Duration> {
    let age = |report: Report| {
        let age = report.looked.map(|looked| Timestamp::now().duration_since(looked));
        age.map_or(Duration::MAX, |age| Duration::try_from(age).unwrap_or_default())
    };
    reports(fleet).into_iter().map(age).collect()
}

fn until_views_are_old(fleet: &Fleet) {
    let are_old = || views(fleet).iter().all(|age| *age > OLD).then_some(());
    until("the agents' views are old", are_old);
}

fn until_views_are_fresh(fleet: &Fleet) {
    let are_fresh = || views(fleet).iter().all(|age| *age < OLD).then_some(());
    within(BACK_WITHIN, are_fresh).unwrap_or_else(|| panic!("{:#?}", reports(fleet)));
}

/// The app's processes, the same as long as none of them ended.
fn apps(fleet: &Fleet) -> Vec<Process> {
    let mut apps = fleet.app_processes();
    apps.sort_unstable_by_key(|process| process.pid);
    apps
}

fn no_outage(fleet: &Fleet) {
    let (server, gcs) = fleet.cloud_storage();
    server.faults().clear();
    server.tokens().require(false);
    server.tokens().allow_all(gcs.name());
}

/// Sends the bucket away.
type Begin<'a> = Box<dyn Fn() + 'a>;

/// Each way in which a bucket is away, and how it begins.
fn outages(fleet: &Fleet) -> [(&'static str, Begin<'_>); 6] {
    let (server, gcs) = fleet.cloud_storage();
    let name = gcs.name().to_owned();
    let outage = move |outage| Box::new(move || server.faults().set_outage(outage));
    let (hidden, denied) = (name.clone(), name);
    [
        ("503", outage(Outage::Status(503))),
        ("connections refused", outage(Outage::Refuse)),
        ("a token that has ended", Box::new(move || server.tokens().require(true))),
        ("no permission to read", Box::new(move || server.tokens().deny_read(&denied))),
        ("no bucket", Box::new(move || server.faults().hide_buckets([hidden.clone()]))),
        (
            "answers cut in the middle",
            Box::new(move || server.faults().add(Rule::new([Kind::CutInAnswer, Kind::CutBefore]))),
        ),
    ]
}

#[test]
fn the_app_serves_on_while_the_bucket_is_away() {
    let fleet = fleet(2);
    fleet.deploy();
    let (load, before) = (fleet.load(), apps(&fleet));
    for (what, begin) in outages(&fleet) {
        println!("{what}");
        begin();
        until_views_are_old(&fleet);
        load.go_on();
        no_outage(&fleet);
        until_views_are_fresh(&fleet);
        assert_eq!(apps(&fleet), before, "{what}: {}", fleet.story());
    }
    assert!(
        fleet.status().instances.iter().all(|one| one.restarts == 0 && one.last_failure.is_none())
    );
    fleet.tag("two");
    assert_eq!(fleet.deploy(), 2);
    load.assert_none_failed(&fleet);
}

/// Every live object.
fn everything(gcs: &Gcs) -> Vec<(String, Vec<u8>)> {
    let stats = blocking(gcs.list("")).expect("a list");
    let read = |name: String| {
        let object = blocking(gcs.read(&name)).expect("the object");
        (name, object.data.to_vec())
    };
    stats.into_iter().map(|stat| read(stat.name)).collect()
}

#[test]
fn a_bucket_that_was_lost_is_made_again_from_a_copy() {
    let fleet = fleet(2);
    fleet.deploy();
    let (_, gcs) = fleet.cloud_storage();
    let (load, before, mut copy) = (fleet.load(), apps(&fleet), everything(&gcs));
    blocking(gcs.remove_with_all()).expect("it is removed");
    until_views_are_old(&fleet);
    let new = NewBucket {
        project: "local".to_owned(),
        app: APP.to_owned(),
        location: "US-CENTRAL1".to_owned(),
    };
    blocking(gcs.create(&new)).expect("it is made again");
    // An empty bucket says nothing, and that is no reason to stop anything.
    until_views_are_fresh(&fleet);
    load.go_on();
    assert_eq!(apps(&fleet), before, "{}", fleet.story());
    copy.sort_by_key(|(name, _)| name == layout::STATE);
    for (name, data) in copy.iter().filter(|(name, _)| !name.starts_with(layout::FLEET)) {
        blocking(gcs.write(name, data, Expect::Any)).expect("it is restored");
    }
    fleet.tag("two");
    assert_eq!(fleet.deploy(), 2);
    load.assert_none_failed(&fleet);
}

#[test]
fn an_agent_that_starts_meanwhile_starts_its_last_good_release() {
    let fleet = fleet(1);
    fleet.deploy();
    let (server, _) = fleet.cloud_storage();
    server.faults().set_outage(Outage::Refuse);
    fleet.lose(1);
    let mut agent = fleet.place().command(binary("agentd"));
    agent.args(["run", "--dir"]).arg(fleet.instance_dir(1).path());
    agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Whatever is left of the fleet is ended with it.
    drop(agent.spawn().expect("the agent starts"));
    until("the app serves", || fleet.get("/").ok().filter(|answer| answer.release() == Some(1)));
    let report = reports(&fleet).remove(0);
    assert_eq!(report.looked, None, "it has not heard from the bucket");
    no_outage(&fleet);
    until_views_are_fresh(&fleet);
    fleet.tag("two");
    assert_eq!(fleet.deploy(), 2);
}

/// Publishes another artifact, and calls `begin` while the agents bring it: every answer with its
/// bytes is cut in the middle until [`no_outage`].
fn vanish_in_a_fetch(fleet: &Fleet, begin: impl Fn(&Faults)) {
    let (server, _) = fleet.cloud_storage();
    let faults = server.faults();
    let cuts = || faults.injected().get(&Kind::CutInAnswer).copied().unwrap_or_default();
    let (before, name_prefix) = (cuts(), Some(layout::ARTIFACTS.to_owned()));
    let call = Some("objects.get media".to_owned());
    let matches = Match { name_prefix, call, ..Match::default() };
    faults.add(Rule { matches, ..Rule::new([Kind::CutInAnswer]) });
    fleet.must(&["deploy", "--detach"]);
    until("the fetch is under way", || (cuts() > before).then_some(()));
    begin(&faults);
}

#[test]
fn a_fetch_goes_on_when_the_bucket_is_back() {
    let fleet = fleet(1);
    fleet.deploy();
    let (_, gcs) = fleet.cloud_storage();
    let before = apps(&fleet);
    for (release, begin) in [
        (2, Box::new(|faults: &Faults| faults.set_outage(Outage::Refuse)) as Box<dyn Fn(&Faults)>),
        (3, Box::new(|faults: &Faults| faults.hide_buckets([gcs.name().to_owned()]))),
    ] {
        fleet.tag(&format!("the artifact of {release}"));
        vanish_in_a_fetch(&fleet, begin);
        until_views_are_old(&fleet);
        let answer = fleet.get("/").expect("the app serves");
        assert_eq!(answer.release(), Some(release - 1));
        no_outage(&fleet);
        until("the release serves", || {
            fleet.get("/").ok().filter(|answer| answer.release() == Some(release))
        });
        let failed = reports(&fleet).into_iter().filter_map(|report| report.last_failure);
        assert_eq!(failed.collect::<Vec<_>>(), [], "{}", fleet.story());
    }
    assert_ne!(apps(&fleet), before);
}
