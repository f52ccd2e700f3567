//! Every standing, verdict and fate.

use super::*;
use crate::fixtures::{at, failure, outcome, report};
use crate::report::{Outcome, Version};

fn done(release: u64) -> Report {
    let outcome = outcome(release, Some(10), Some(Ending::Done));
    report(Some(release), Phase::Serving, vec![outcome])
}

fn failed(release: u64) -> Report {
    let outcome = outcome(release, None, Some(Ending::Failed(failure(release))));
    report(Some(release), Phase::Serving, vec![outcome])
}

#[test]
fn an_instance_stands_where_its_report_says() {
    let of = |report: Report| Standing::of(2, Some(&report));
    let settling = vec![outcome(2, Some(10), None)];
    assert_eq!(Standing::of(2, None), Standing::Silent);
    assert_eq!(of(report(None, Phase::Idle, vec![])), Standing::Behind);
    assert_eq!(of(done(1)), Standing::Behind);
    assert_eq!(of(report(Some(2), Phase::Fetching, vec![])), Standing::Underway(Phase::Fetching));
    assert_eq!(
        of(report(Some(2), Phase::Starting, vec![outcome(2, None, None)])),
        Standing::Underway(Phase::Starting)
    );
    assert_eq!(
        of(report(Some(2), Phase::Settling, settling.clone())),
        Standing::Settling { switched: at(10), note: None }
    );
    assert_eq!(of(done(2)), Standing::Done { switched: at(10), note: None });
    assert_eq!(of(failed(2)), Standing::Failed(failure(2)));
    // A newer release came before this one's end, or after it.
    assert_eq!(of(report(Some(3), Phase::Starting, settling)), Standing::Superseded { by: 3 });
    assert_eq!(of(done(3)), Standing::Superseded { by: 3 });
    let both = vec![outcome(2, Some(10), Some(Ending::Done)), outcome(3, None, None)];
    assert!(matches!(of(report(Some(3), Phase::Starting, both)), Standing::Done { .. }));
}

#[test]
fn a_release_that_failed_after_its_switch_has_failed() {
    let reverted = outcome(2, Some(10), Some(Ending::Failed(failure(2))));
    let report = report(Some(2), Phase::Serving, vec![reverted]);
    assert_eq!(Standing::of(2, Some(&report)), Standing::Failed(failure(2)));
}

/// It had come so far with the release, which was taken back.
fn taken_back(release: u64, ended: Option<Ending>, phase: Phase, serves: u64) -> Report {
    let outcome = Outcome { reverted: Some(at(20)), ..outcome(release, Some(10), ended) };
    let version = Version {
        release: serves,
        pid: 1,
        started: at(0),
        restarts: 0,
        status: None,
        unwell: None,
    };
    Report { serving: Some(version), ..report(Some(release), phase, vec![outcome]) }
}

#[test]
fn an_instance_waits_for_its_turn_and_goes_back() {
    let of = |report: Report| Standing::of(2, Some(&report));
    let waits = |number| Report { waits: Some(number), ..report(Some(2), Phase::Serving, vec![]) };
    assert_eq!(of(waits(2)), Standing::Waiting);
    assert_eq!(of(waits(1)), Standing::Underway(Phase::Serving), "an earlier one");
    let done = Some(Ending::Done);
    assert_eq!(of(taken_back(2, done.clone(), Phase::Serving, 1)), Standing::Reverted);
    assert_eq!(of(taken_back(2, None, Phase::Serving, 1)), Standing::Reverted);
    // It has heard of it, and is not back yet.
    let still = Standing::Underway(Phase::Serving);
    assert_eq!(of(taken_back(2, done.clone(), Phase::Serving, 2)), still);
    let on_its_way = Standing::Underway(Phase::Starting);
    assert_eq!(of(taken_back(2, done, Phase::Starting, 2)), on_its_way);
    let failed = Some(Ending::Failed(failure(2)));
    assert_eq!(of(taken_back(2, failed, Phase::Serving, 1)), Standing::Failed(failure(2)));
    assert!(Standing::Reverted.has_ended() && !Standing::Waiting.has_ended());
}

#[test]
fn what_was_taken_back_is_no_success_and_no_mixture() {
    let (done, failed) =
        (Standing::Done { switched: at(0), note: None }, Standing::Failed(failure(2)));
    let of = |standings: &[&Standing]| verdict(standings.iter().copied());
    assert_eq!(of(&[&Standing::Reverted, &failed]), Verdict::Reverted);
    assert_eq!(of(&[&Standing::Reverted, &Standing::Waiting]), Verdict::Underway);
    assert_eq!(of(&[&Standing::Reverted, &done]), Verdict::Mixed);
    let back = taken_back(2, Some(Ending::Done), Phase::Serving, 1);
    assert_eq!(fate(2, 3, [&back, &self::done(2)]), Fate::Reverted);
    assert_eq!(fate(1, 3, [&back]), Fate::Unknown);
}

#[test]
fn what_has_ended_and_what_has_not() {
    let ended = [Some(done(2)), Some(failed(2)), Some(done(3))];
    assert!(ended.iter().all(|report| Standing::of(2, report.as_ref()).has_ended()));
    let on_the_way = [None, Some(done(1)), Some(report(Some(2), Phase::Proving, vec![]))];
    assert!(!on_the_way.iter().any(|report| Standing::of(2, report.as_ref()).has_ended()));
}

#[test]
fn the_verdict_waits_for_all_and_none_is_no_success() {
    let done = Standing::Done { switched: at(0), note: None };
    let failed = Standing::Failed(failure(2));
    let superseded = |by| Standing::Superseded { by };
    let settling = Standing::Settling { switched: at(0), note: None };
    let cases: [(&[&Standing], Verdict); 10] = [
        (&[], Verdict::NoInstances),
        (&[&done], Verdict::Done),
        (&[&done, &done], Verdict::Done),
        (&[&failed, &failed], Verdict::Failed),
        (&[&done, &failed], Verdict::Mixed),
        (&[&done, &settling], Verdict::Underway),
        (&[&failed, &Standing::Silent], Verdict::Underway),
        (&[&Standing::Behind, &Standing::Underway(Phase::Fetching)], Verdict::Underway),
        (&[&done, &superseded(3), &superseded(4), &settling], Verdict::Superseded { by: 4 }),
        (&[&failed, &superseded(3)], Verdict::Superseded { by: 3 }),
    ];
    for (standings, expected) in cases {
        assert_eq!(verdict(standings.iter().copied()), expected, "{standings:?}");
    }
}

#[test]
fn the_fate_of_an_old_release_is_what_instances_remember() {
    let underway = report(Some(2), Phase::Proving, vec![]);
    let new = report(None, Phase::Idle, vec![]);
    let cases: [(&[&Report], u64, Fate); 9] = [
        (&[], 2, Fate::Unknown),
        (&[&new], 3, Fate::Unknown),
        (&[&done(3), &new], 3, Fate::Unknown),
        (&[&done(2), &done(3)], 3, Fate::Done),
        (&[&failed(2), &done(3)], 3, Fate::Failed),
        (&[&failed(2), &done(2)], 3, Fate::Mixed),
        (&[&done(2), &underway], 2, Fate::Underway),
        (&[&new], 2, Fate::Underway),
        (&[&done(2), &failed(2)], 2, Fate::Mixed),
    ];
    for (reports, current, expected) in cases {
        assert_eq!(fate(2, current, reports.iter().copied()), expected, "{reports:?}");
    }
}
