use super::*;
use crate::fixtures::{at, draft};
use crate::rollout::{Lease, Mark, Plan};

fn published(state: State, id: &str) -> State {
    state.published(draft(id, "a"), None, None, at(0)).unwrap()
}

fn progress(state: &State, stage: Stage, mark: Mark) -> Progress {
    let release = state.release.as_ref().unwrap();
    let conductor = Lease { by: "app-1".to_owned(), life: Id::fixed("life"), beat: 1 };
    Progress { stage, mark, ..Progress::begin(release, &Plan::default(), conductor) }
}

/// A state whose release 2 follows on 1, which was good.
fn second() -> State {
    let first = published(State::new("app"), "one");
    let done = progress(&first, Stage::Done, Mark::All);
    published(first.based(Some(&done)), "two")
}

fn said(state: &State, progress: Option<&Progress>, serving: Option<(&str, u64)>) -> String {
    aimed(state, progress, None, serving)
}

fn aimed(
    state: &State,
    progress: Option<&Progress>,
    aimed: Option<&str>,
    serving: Option<(&str, u64)>,
) -> String {
    let serving = serving.map(|(id, number)| (Id::fixed(id), number));
    let serving = serving.as_ref().map(|(id, number)| (id, *number));
    let aimed = aimed.map(Id::fixed);
    let shown =
        |release: Option<&Release>| release.map_or("-".to_owned(), |it| it.number.to_string());
    match course(state, progress, "app-1", aimed.as_ref(), serving).unwrap() {
        Course::Run(release) => format!("run {}", release.number),
        Course::Wait(release) => format!("wait {}", shown(release)),
        Course::Back(release) => format!("back {}", shown(release)),
        Course::Stay(release) => format!("stay {}", shown(release)),
    }
}

#[test]
fn an_instance_waits_for_its_turn() {
    let state = second();
    assert_eq!(said(&state, None, None), "wait 1");
    assert_eq!(said(&state, None, Some(("one", 1))), "wait 1");
    let older = progress(&published(State::new("app"), "one"), Stage::Done, Mark::All);
    assert_eq!(said(&state, Some(&older), None), "wait 1", "that is about another release");
    let key = order_key(&Id::fixed("two"), "app-1");
    let at_mark = |mark| said(&state, Some(&progress(&state, Stage::Canary, mark)), None);
    assert_eq!(at_mark(Mark::None), "wait 1");
    assert_eq!(at_mark(Mark::UpTo(key)), "run 2");
    assert_eq!(at_mark(Mark::All), "run 2");
    for stage in [Stage::Watching, Stage::Done] {
        assert_eq!(said(&state, Some(&progress(&state, stage, Mark::None)), None), "run 2");
    }
    let mut at_once = state.clone();
    at_once.release.as_mut().unwrap().rollout.as_mut().unwrap().now = true;
    assert_eq!(said(&at_once, None, None), "run 2");
    at_once.release.as_mut().unwrap().rollout = None;
    assert_eq!(said(&at_once, None, None), "run 2");
    assert_eq!(course(&State::new("app"), None, "app-1", None, None), None);
}

#[test]
fn what_was_taken_back_is_run_by_nobody() {
    let state = second();
    let on = |stage, running| said(&state, Some(&progress(&state, stage, Mark::All)), running);
    assert_eq!(on(Stage::Reverted, Some(("two", 2))), "back 1");
    assert_eq!(on(Stage::Reverted, None), "back 1");
    assert_eq!(on(Stage::Halted, Some(("two", 2))), "run 2");
    assert_eq!(on(Stage::Halted, Some(("one", 1))), "stay 1");
    assert_eq!(on(Stage::Halted, None), "stay 1");
    let order = |verb| state.clone().ordered(verb, 2, "ann@laptop", at(1)).unwrap();
    assert_eq!(said(&order(Verb::Abort), None, Some(("two", 2))), "back 1");
    let paused = progress(&state, Stage::Rolling, Mark::All);
    assert_eq!(said(&order(Verb::Pause), Some(&paused), Some(("two", 2))), "run 2");
    assert_eq!(said(&order(Verb::Pause), Some(&paused), Some(("one", 1))), "wait 1");
    let begun = aimed(&order(Verb::Pause), Some(&paused), Some("two"), Some(("one", 1)));
    assert_eq!(begun, "run 2");
    assert_eq!(said(&order(Verb::Resume), Some(&paused), Some(("one", 1))), "run 2");
    state.clone().ordered(Verb::Pause, 1, "ann@laptop", at(1)).unwrap_err();
}

#[test]
fn where_a_switch_costs_capacity_each_goes_back_in_its_turn() {
    let mut state = second();
    state.release.as_mut().unwrap().settings.graceful_shutdown = false;
    let key = order_key(&Id::fixed("two"), "app-1");
    let on = |mark, serving| said(&state, Some(&progress(&state, Stage::Reverting, mark)), serving);
    assert_eq!(on(Mark::None, Some(("two", 2))), "run 2");
    assert_eq!(on(Mark::UpTo(key), Some(("two", 2))), "back 1");
    assert_eq!(on(Mark::None, Some(("one", 1))), "back 1");
    assert_eq!(on(Mark::None, None), "back 1");
    let aborted = state.clone().ordered(Verb::Abort, 2, "ann@laptop", at(1)).unwrap();
    assert_eq!(said(&aborted, None, Some(("two", 2))), "run 2");
    assert_eq!(said(&aborted, None, Some(("one", 1))), "stay 1");
}

#[test]
fn nobody_switches_once_more_than_is_needed() {
    // 3 takes the place of 2 in the middle of its rollout.
    let second = second();
    let rolling = progress(&second, Stage::Rolling, Mark::All);
    let third = published(second.clone().based(Some(&rolling)), "three");
    assert_eq!(third.base.as_ref().unwrap().release.number, 1);
    assert_eq!(said(&third, None, Some(("two", 2))), "wait -");
    assert_eq!(said(&third, None, Some(("one", 1))), "wait 1");
    assert_eq!(said(&third, None, None), "wait 1");
    // 3 follows on 2, which was taken back.
    for taken_back in [
        second.clone().based(Some(&progress(&second, Stage::Reverted, Mark::All))),
        second.clone().ordered(Verb::Abort, 2, "ann@laptop", at(1)).unwrap().based(None),
    ] {
        let third = published(taken_back, "three");
        assert_eq!(third.order, None);
        assert_eq!(said(&third, None, Some(("two", 2))), "wait 1");
        assert_eq!(said(&third, None, None), "wait 1");
    }
}

#[test]
fn the_base_is_the_newest_that_was_good() {
    let number = |state: &State| state.base.as_ref().map(|base| base.release.number);
    let first = published(State::new("app"), "one");
    assert_eq!(number(&first.clone().based(None)), None, "nobody knows yet");
    let on = |stage| number(&first.clone().based(Some(&progress(&first, stage, Mark::All))));
    assert_eq!(on(Stage::Watching), Some(1));
    assert_eq!(on(Stage::Done), Some(1));
    assert_eq!(on(Stage::Rolling), None);
    assert_eq!(on(Stage::Reverted), None);
    let mut older = first.clone();
    older.release.as_mut().unwrap().rollout = None;
    assert_eq!(number(&older.based(None)), Some(1), "an older `engr` has published it");
    assert_eq!(number(&State::new("app").based(None)), None);
}
