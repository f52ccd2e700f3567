//! Every order at every stage.

use std::collections::BTreeSet;

use deploy::id::Id;
use deploy::rollout::{Base, Order};

use super::*;
use crate::follow::fixtures::{at, progress, release};

const NOW: &str = "2026-11-22T10:01:00Z";

/// v7 is current and came after v6.
fn state() -> State {
    let base = Base {
        release: Release { id: Id::fixed("before"), ..release(6) },
        reverted: BTreeSet::new(),
    };
    State { release: Some(release(7)), base: Some(base), ..State::new("hello") }
}

fn ordered(verb: Verb) -> State {
    let by = "bob@desk".to_owned();
    let at = at(NOW);
    let order = Order { id: Id::fixed("order"), release: Id::fixed("test"), verb, by, at };
    State { order: Some(order), ..state() }
}

/// What comes of it: `+` what it does, `=` what is so already, `-` why it is refused.
fn said(verb: Verb, state: &State, stage: Option<Stage>) -> String {
    said_of(verb, state, stage.map(progress).as_ref())
}

fn said_of(verb: Verb, state: &State, progress: Option<&Progress>) -> String {
    match decide("hello", verb, state, progress, at(NOW)) {
        Decision::Give(text) => format!("+ {text}"),
        Decision::Nothing(text) => format!("= {text}"),
        Decision::Refuse(failure) => {
            let hints = failure.hints.join("; ");
            format!("- {} {} → {hints}", failure.exit as u8, failure.error)
        }
    }
}

#[test]
fn what_each_order_does_at_each_stage() {
    let stages = [
        None,
        Some(Stage::Canary),
        Some(Stage::Rolling),
        Some(Stage::Watching),
        Some(Stage::Done),
        Some(Stage::Halted),
        Some(Stage::Reverted),
    ];
    let lines = [Verb::Pause, Verb::Resume, Verb::Abort].map(|verb| {
        let line = |stage: &Option<Stage>| {
            let word = stage.map_or("none", Stage::word);
            format!("{word:<8} {}", said(verb, &state(), *stage))
        };
        format!("{verb:?}\n{}", stages.iter().map(line).collect::<Vec<_>>().join("\n"))
    });
    insta::assert_snapshot!(lines.join("\n"), @"
    Pause
    none     + v7 is paused: no further instance begins to switch, and it goes on with `engr hello resume`
    canary   + v7 is paused: no further instance begins to switch, and it goes on with `engr hello resume`
    rolling  + v7 is paused: no further instance begins to switch, and it goes on with `engr hello resume`
    watching - 2 v7 has switched on all instances already → take it back with `engr hello abort`
    done     - 2 v7 serves on all instances, and its rollout is over → go back with `engr hello rollback v6`
    halted   - 2 v7 is halted already → go on with `engr hello resume`, or take it back with `abort`
    reverted - 2 v7 was taken back already, and does not come again by itself → deploy a better one with `engr hello deploy`; the same with `--artifact e3b0c44298fc`; make what runs the newest release with `engr hello rollback v6`
    Resume
    none     - 2 v7 is neither paused nor halted: its rollout goes on → follow it with `engr hello wait v7`
    canary   - 2 v7 is neither paused nor halted: its rollout goes on → follow it with `engr hello wait v7`
    rolling  - 2 v7 is neither paused nor halted: its rollout goes on → follow it with `engr hello wait v7`
    watching - 2 v7 has switched on all instances already → take it back with `engr hello abort`
    done     - 2 v7 serves on all instances, and its rollout is over → go back with `engr hello rollback v6`
    halted   + v7 goes on, and what has failed until now does not count
    reverted - 2 v7 was taken back already, and does not come again by itself → deploy a better one with `engr hello deploy`; the same with `--artifact e3b0c44298fc`; make what runs the newest release with `engr hello rollback v6`
    Abort
    none     + v7 is called off, and all instances go back to v6
    canary   + v7 is called off, and all instances go back to v6
    rolling  + v7 is called off, and all instances go back to v6
    watching + v7 is called off, and all instances go back to v6
    done     - 2 v7 serves on all instances, and its rollout is over → go back with `engr hello rollback v6`
    halted   + v7 is called off, and all instances go back to v6
    reverted = v7 was taken back already
    ");
}

#[test]
fn an_order_upon_an_order() {
    let (paused, resumed, aborted) =
        (ordered(Verb::Pause), ordered(Verb::Resume), ordered(Verb::Abort));
    let rolling = Some(Stage::Rolling);
    let lines = [
        said(Verb::Pause, &paused, rolling),
        said(Verb::Resume, &paused, rolling),
        said(Verb::Resume, &paused, None),
        said(Verb::Abort, &paused, rolling),
        said(Verb::Pause, &resumed, rolling),
        said(Verb::Resume, &resumed, Some(Stage::Halted)),
        said(Verb::Abort, &aborted, rolling),
        said(Verb::Pause, &aborted, rolling),
        said(Verb::Resume, &aborted, rolling),
    ];
    insta::assert_snapshot!(lines.join("\n"), @"
    = v7 is paused already, by bob@desk
    + v7 goes on
    + v7 goes on
    + v7 is called off, and all instances go back to v6
    + v7 is paused: no further instance begins to switch, and it goes on with `engr hello resume`
    = v7 is being resumed already
    = v7 is being called off already
    - 2 v7 is being called off → follow that with `engr hello wait v7`
    - 2 v7 is being called off → follow that with `engr hello wait v7`
    ");
    // It was resumed, and has failed again since.
    let heard = Progress { order: Some(Id::fixed("order")), ..progress(Stage::Halted) };
    let again = said_of(Verb::Resume, &resumed, Some(&heard));
    assert_eq!(again, "+ v7 goes on, and what has failed until now does not count");
}

#[test]
fn only_what_goes_forward_is_kept_back_by_a_lock() {
    let lock = Lock {
        by: "ann@laptop".into(),
        since: at("2026-11-22T10:00:30Z"),
        message: "incident".into(),
        until: None,
    };
    let locked = |state: State| State { lock: Some(lock.clone()), ..state };
    let halted = said(Verb::Resume, &locked(state()), Some(Stage::Halted));
    assert!(halted.starts_with("- 11 ann@laptop has locked hello since "), "{halted}");
    let paused = said(Verb::Resume, &locked(ordered(Verb::Pause)), Some(Stage::Rolling));
    assert!(paused.starts_with("- 11 ann@laptop has locked hello since "), "{paused}");
    for verb in [Verb::Pause, Verb::Abort] {
        let said = said(verb, &locked(state()), Some(Stage::Rolling));
        assert!(said.starts_with("+ "), "{said}");
    }
}

#[test]
fn where_nothing_was_before_nothing_goes_back() {
    let first = State { base: None, ..state() };
    assert_eq!(
        said(Verb::Abort, &first, Some(Stage::Rolling)),
        "- 2 v7 has nothing before it to go back to → hold it with `engr hello pause`; or bring \
         another one: `engr hello deploy`"
    );
    let mut older = state();
    older.release.as_mut().unwrap().rollout = None;
    assert_eq!(
        said(Verb::Pause, &older, None),
        "- 2 v7 goes to all instances at once: an older engr has published it → go back with \
         `engr hello rollback v6`"
    );
}
