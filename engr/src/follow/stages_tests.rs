//! Every stage, as it is told.

use deploy::id::Id;
use deploy::rollout::{Limit, Order, Plan, Progress, Rules};

use super::super::fixtures::{at, done, halt, progress, release, settling, view};
use super::*;

fn seen(stage: Stage, mark: Mark) -> Seen {
    Seen { progress: Some(Progress { mark, ..progress(stage) }), ..Seen::default() }
}

/// The instance that goes first of these, and its place.
fn first(views: &[InstanceView]) -> (usize, Mark) {
    let key = |view: &InstanceView| order_key(&Id::fixed("test"), &view.name);
    let (index, view) = views.iter().enumerate().min_by_key(|(_, view)| key(view)).unwrap();
    (index, Mark::UpTo(key(view)))
}

fn said(
    tracker: &mut StageTracker<'_>,
    seen: &Seen,
    views: &[InstanceView],
) -> (Option<RolloutEvent>, Vec<String>) {
    let News { event, mut before, mut after } = tracker.step(seen, views);
    before.append(&mut after);
    (event, before)
}

fn three() -> Vec<InstanceView> {
    ["hello-1", "hello-2", "hello-3"].map(|name| view(name, Standing::Waiting)).into()
}

#[test]
fn each_stage_is_told_once_as_it_comes() {
    let (release, mut views) = (release(7), three());
    let mut tracker = StageTracker::new("hello", &release);
    let (canary, mark) = first(&views);
    let name = views[canary].name.clone();
    assert_eq!(said(&mut tracker, &Seen::default(), &views), (None, vec![]));
    let (event, lines) = said(&mut tracker, &seen(Stage::Canary, Mark::None), &views);
    assert_eq!((event.unwrap().may_switch, lines), (0, vec![]));
    let (event, lines) = said(&mut tracker, &seen(Stage::Canary, mark), &views);
    assert_eq!((event.unwrap().may_switch), 1);
    assert_eq!(lines, [format!("canary    {name} goes first")]);
    views[canary].standing = settling();
    assert_eq!(said(&mut tracker, &seen(Stage::Canary, mark), &views), (None, vec![]));
    views[canary].standing = done();
    let (event, lines) = said(&mut tracker, &seen(Stage::Canary, mark), &views);
    let bakes = format!("canary    {name} is healthy, and bakes for 10s");
    assert_eq!((event, lines), (None, vec![bakes]));
    let (event, lines) = said(&mut tracker, &seen(Stage::Rolling, Mark::All), &views);
    let event = event.unwrap();
    assert_eq!((event.stage, event.may_switch, event.switched), ("rolling", 3, 1));
    assert_eq!(lines, ["rolling   1 of 3 have switched; the others follow"]);
    let (event, lines) = said(&mut tracker, &seen(Stage::Watching, Mark::All), &views);
    assert_eq!((event.unwrap().stage, lines), ("watching", vec![]));
}

#[test]
fn so_many_at_a_time_is_told() {
    let mut release = release(7);
    let max_parallel = Some(Limit::Count(1));
    let rules = Rules { max_parallel, ..Rules::default() };
    release.rollout = Some(Plan { rules, ..Plan::default() });
    let (mut views, mut tracker) = (three(), StageTracker::new("hello", &release));
    views[0].standing = done();
    let (_, lines) = said(&mut tracker, &seen(Stage::Rolling, Mark::All), &views);
    assert_eq!(lines, ["rolling   1 of 3 have switched; the others follow, 1 at a time"]);
    views[0].standing = Standing::Waiting;
    let mut tracker = StageTracker::new("hello", &release);
    let (_, lines) = said(&mut tracker, &seen(Stage::Rolling, Mark::All), &views);
    assert_eq!(lines, ["rolling   all 3 go, 1 at a time"]);
}

#[test]
fn where_no_order_is_kept_there_is_none_to_tell() {
    let mut release = release(7);
    release.rollout = Some(Plan { now: true, ..Plan::default() });
    let mut tracker = StageTracker::new("hello", &release);
    for stage in [Stage::Rolling, Stage::Watching, Stage::Done] {
        let (event, lines) = said(&mut tracker, &seen(stage, Mark::All), &three());
        assert_eq!((event.is_some(), lines), (true, vec![]), "{stage:?}");
    }
}

#[test]
fn orders_are_told_with_whose_they_are() {
    let (release, views) = (release(7), three());
    let mut tracker = StageTracker::new("hello", &release);
    let mut say = |verb, id: &str, stage| {
        let at = at("2026-11-22T10:00:05Z");
        let by = "bob@desk".to_owned();
        let order = Order { id: Id::fixed(id), release: release.id.clone(), verb, by, at };
        let seen = Seen { order: Some(order), ..seen(stage, Mark::None) };
        let (event, lines) = said(&mut tracker, &seen, &views);
        (event.and_then(|event| event.paused_by), lines)
    };
    let paused = vec!["paused    by bob@desk; it goes on with `engr hello resume`".to_owned()];
    let bob = Some("bob@desk".to_owned());
    assert_eq!(say(Verb::Pause, "1", Stage::Canary), (bob.clone(), paused.clone()));
    assert_eq!(say(Verb::Pause, "1", Stage::Canary), (None, vec![]));
    let resumed = vec!["resumed   by bob@desk".to_owned()];
    assert_eq!(say(Verb::Resume, "2", Stage::Canary), (None, resumed));
    assert_eq!(say(Verb::Pause, "3", Stage::Canary), (bob, paused));
    let aborted = vec!["aborted   by bob@desk; all go back".to_owned()];
    assert_eq!(say(Verb::Abort, "4", Stage::Canary), (None, aborted));
}

#[test]
fn a_rollout_that_is_taken_back_says_why_while_it_goes_back() {
    let (release, mut views) = (release(7), three());
    views[0].standing = done();
    let mut tracker = StageTracker::new("hello", &release);
    let reverted = Progress { halt: Some(halt()), ..progress(Stage::Reverted) };
    let seen = Seen { progress: Some(reverted), ..Seen::default() };
    let (event, lines) = said(&mut tracker, &seen, &views);
    assert_eq!(event.unwrap().halt, Some(halt()));
    assert_eq!(lines, ["reverted  hello-2: exited with code 3; all go back"]);
    // Whoever comes later is told at the end.
    let mut tracker = StageTracker::new("hello", &release);
    views.iter_mut().for_each(|view| view.standing = Standing::Reverted);
    assert_eq!(said(&mut tracker, &seen, &views).1, Vec::<String>::new());
}
