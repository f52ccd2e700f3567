//! Steps that meet lost answers, other writers, and damage.

use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::claim::Claim;
use crate::fixtures::{at, draft};
use crate::history::History;
use crate::state::Refused;
use crate::store::memory::{Fate, Memory};

/// Publishes a release that is told apart by `id`.
async fn publish(store: &Memory, id: &str) -> Result<Swapped, SwapError<Refused>> {
    swap(store, "app", |state| state.published(draft(id, id), None, None, at(0))).await
}

/// What somebody else publishes without this one's bad luck.
fn publish_aside(store: &Memory, id: &str) {
    let generation = Generation(store.slots(layout::STATE).len() as u64);
    let state = match store.slots(layout::STATE).pop().flatten() {
        Some(live) => State::from_object(&live.data).unwrap(),
        None => State::new("app"),
    };
    let next = State {
        attempt: Id::random(),
        ..state.published(draft(id, id), None, None, at(0)).unwrap()
    };
    let expect = match generation.0 {
        0 => Expect::Absent,
        _ => Expect::Generation(generation),
    };
    store.put_aside(layout::STATE, &next.to_object(), expect);
}

/// At the first call of `operation` after the next write, which meets `fate`, somebody else
/// publishes.
fn somebody_follows(store: &Memory, fate: Fate, operation: &'static str) {
    let (memory, mut written, mut followed) = (store.clone(), false, false);
    store.turn(Box::new(move |called, _| {
        if called == "write" && !written {
            written = true;
            return (Duration::ZERO, fate);
        }
        if called == operation && written && !followed {
            followed = true;
            publish_aside(&memory, "other");
        }
        (Duration::ZERO, Fate::Done)
    }));
}

/// Which releases were published, in order, with their numbers.
async fn releases(store: &Memory) -> Vec<(u64, String)> {
    let history = History::read(store).await.unwrap();
    history.releases.iter().map(|release| (release.number, release.by.clone())).collect()
}

fn named(releases: &[(u64, &str)]) -> Vec<(u64, String)> {
    releases.iter().map(|(number, by)| (*number, (*by).to_owned())).collect()
}

#[tokio::test]
async fn the_first_steps_of_an_app() {
    let store = Memory::new();
    let first = publish(&store, "a").await.unwrap();
    assert_eq!((first.generation, first.state.current()), (Generation(1), Some(1)));
    assert_eq!(first.damage, None);
    publish(&store, "b").await.unwrap();
    assert_eq!(releases(&store).await, named(&[(1, "a"), (2, "b")]));
    let loaded = load(&store, "app").await.unwrap();
    assert_eq!(loaded.expect, Expect::Generation(Generation(2)));
    assert_eq!(loaded.state.app, "app");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_known_again() {
    let unlucky: [&[Fate]; 5] = [
        &[Fate::AnswerLost],
        &[Fate::AnswerWrong],
        &[Fate::Fails, Fate::AnswerLost],
        &[
            Fate::Fails,
            Fate::Fails,
            Fate::Fails,
            Fate::Fails,
            Fate::Fails,
            Fate::Fails,
            Fate::AnswerLost,
        ],
        &[
            Fate::AnswerLost,
            Fate::Fails,
            Fate::Fails,
            Fate::Fails,
            Fate::Fails,
            Fate::Fails,
            Fate::Fails,
        ],
    ];
    for fates in unlucky {
        let store = Memory::new();
        publish(&store, "a").await.unwrap();
        store.fates_of_writes(fates.to_vec());
        let published = publish(&store, "b").await.unwrap();
        assert_eq!(published.generation, Generation(2), "{fates:?}");
        assert_eq!(releases(&store).await, named(&[(1, "a"), (2, "b")]), "{fates:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_known_again_under_anothers() {
    for fate in [Fate::AnswerLost, Fate::AnswerWrong] {
        for operation in ["write", "list"] {
            let store = Memory::new();
            somebody_follows(&store, fate, operation);
            let Ok(published) = publish(&store, "a").await else { panic!("it came through") };
            assert_eq!(published.state.current(), Some(1));
            let expected: &[_] = match (fate, operation) {
                // There is no second write to hear of.
                (Fate::AnswerWrong, "write") => &[(1, "a")],
                _ => &[(1, "a"), (2, "other")],
            };
            assert_eq!(releases(&store).await, named(expected), "{fate:?}, {operation}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_known_again_where_a_list_is_behind() {
    let store = Memory::new();
    publish(&store, "a").await.unwrap();
    let mut lists = 0;
    store.turn(Box::new(move |called, _| {
        lists += u32::from(called == "list");
        let fate = match called {
            "write" => Fate::AnswerWrong,
            "list" if lists < 4 => Fate::Stale,
            _ => Fate::Done,
        };
        (Duration::ZERO, fate)
    }));
    assert_eq!(publish(&store, "b").await.unwrap().generation, Generation(2));
    store.turn(Box::new(|_, _| (Duration::ZERO, Fate::Done)));
    assert_eq!(releases(&store).await, named(&[(1, "a"), (2, "b")]));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_did_not_come_through_is_a_failure() {
    let store = Memory::new();
    store.fates_of_writes(vec![Fate::Fails; 7]);
    let error = publish(&store, "a").await.unwrap_err();
    assert!(matches!(error, SwapError::Write(error) if error.kind == ErrorKind::Unavailable));
    assert_eq!(releases(&store).await, []);
}

/// The one case in which nobody knows: the bucket stays whole.
#[tokio::test(start_paused = true)]
async fn a_write_that_comes_through_late_is_one_write() {
    let store = Memory::new();
    store.fates_of_writes(vec![Fate::Late(Duration::from_secs(60)); 7]);
    publish(&store, "a").await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(releases(&store).await, named(&[(1, "a")]));
    publish(&store, "b").await.unwrap();
    assert_eq!(releases(&store).await, named(&[(1, "a"), (2, "b")]));
}

#[tokio::test]
async fn a_step_is_decided_anew_when_somebody_else_wrote() {
    let store = Memory::new();
    let (memory, mut others) = (store.clone(), 0);
    store.turn(Box::new(move |operation, _| {
        if operation == "write" && others < 3 {
            others += 1;
            publish_aside(&memory, "other");
        }
        (Duration::ZERO, Fate::Done)
    }));
    let decided = Cell::new(0);
    let published = swap(&store, "app", |state| {
        assert_eq!(state.current().unwrap_or(0), decided.get(), "the newest state");
        decided.set(decided.get() + 1);
        state.published(draft("a", "a"), None, None, at(0))
    });
    assert_eq!(published.await.unwrap().state.current(), Some(4));
    assert_eq!(decided.get(), 4);
}

#[tokio::test]
async fn an_endless_race_is_given_up() {
    let store = Memory::new();
    let memory = store.clone();
    store.turn(Box::new(move |operation, _| {
        if operation == "write" {
            let others = memory.slots(layout::STATE).len();
            publish_aside(&memory, &format!("other-{others}"));
        }
        (Duration::ZERO, Fate::Done)
    }));
    let error = publish(&store, "a").await.unwrap_err();
    assert!(matches!(error, SwapError::Contended), "{error}");
    let others = releases(&store).await;
    assert_eq!(others.len() as u32, SWAP_ATTEMPTS_MAX);
    assert!(others.iter().all(|(_, by)| by.starts_with("other-")));
}

#[tokio::test]
async fn a_refused_step_writes_nothing() {
    let store = Memory::new();
    publish(&store, "a").await.unwrap();
    let stale = swap(&store, "app", |state| state.published(draft("b", "b"), None, Some(7), at(0)));
    let expected = Refused::NotCurrent { expected: 7, current: Some(1) };
    assert!(matches!(stale.await, Err(SwapError::Refused(refused)) if refused == expected));
    assert_eq!(store.slots(layout::STATE).len(), 1);
}

#[tokio::test]
async fn damage_is_healed_from_the_newest_whole_generation() {
    let store = Memory::new();
    for id in ["a", "b", "c"] {
        publish(&store, id).await.unwrap();
    }
    store.rot(layout::STATE, Generation(3));
    let damage = Damage { live: Generation(3), taken: Some(Generation(2)) };
    let loaded = load(&store, "app").await.unwrap();
    assert_eq!((loaded.damage, loaded.state.current()), (Some(damage), Some(2)));

    let healed = publish(&store, "d").await.unwrap();
    assert_eq!((healed.damage, healed.state.current()), (Some(damage), Some(4)));
    assert_eq!(publish(&store, "e").await.unwrap().state.current(), Some(5));
    assert_eq!(releases(&store).await, named(&[(1, "a"), (2, "b"), (4, "d"), (5, "e")]));
    assert_eq!(History::read(&store).await.unwrap().damaged, [Generation(3)]);
}

#[tokio::test]
async fn each_damaged_generation_may_have_held_a_release() {
    let store = Memory::new();
    for id in ["a", "b", "c", "d"] {
        publish(&store, id).await.unwrap();
    }
    for generation in [2, 3, 4] {
        store.rot(layout::STATE, Generation(generation));
    }
    assert_eq!(publish(&store, "e").await.unwrap().state.current(), Some(5));

    let store = Memory::new();
    publish(&store, "a").await.unwrap();
    store.rot(layout::STATE, Generation(1));
    let healed = publish(&store, "b").await.unwrap();
    assert_eq!(healed.damage, Some(Damage { live: Generation(1), taken: None }));
    assert_eq!(healed.state.current(), Some(2));
}

#[tokio::test]
async fn a_claim_is_not_brought_back_from_the_dead() {
    let store = Memory::new();
    let claim = || Claim::new(Id::fixed("claim"), "a".to_owned(), at(0));
    swap(&store, "app", |state| state.claimed(claim(), at(0))).await.unwrap();
    swap(&store, "app", |state| state.renewed(&claim().id, None, at(1))).await.unwrap();
    store.rot(layout::STATE, Generation(2));
    assert_eq!(load(&store, "app").await.unwrap().state.claim, None);
    let under = swap(&store, "app", |state| {
        state.published(draft("a", "a"), Some(&claim().id), None, at(2))
    });
    let error = under.await.unwrap_err();
    assert!(matches!(error, SwapError::Refused(Refused::ClaimLost(None))), "{error}");
}

/// Two find the damage; the second must see that the first has healed it.
#[tokio::test]
async fn a_second_healer_throws_nothing_away() {
    let store = Memory::new();
    publish(&store, "a").await.unwrap();
    store.rot(layout::STATE, Generation(1));
    let (memory, mut healed) = (store.clone(), false);
    store.turn(Box::new(move |operation, _| {
        if operation == "list" && !healed {
            healed = true;
            let first = State { numbers_taken: 1, ..State::new("app") };
            let first = first.published(draft("first", "first"), None, None, at(0)).unwrap();
            let over = Expect::Generation(Generation(1));
            memory.put_aside(layout::STATE, &first.to_object(), over);
        }
        (Duration::ZERO, Fate::Done)
    }));
    let second = publish(&store, "second").await.unwrap();
    assert_eq!(second.damage, None);
    assert_eq!(releases(&store).await, named(&[(2, "first"), (3, "second")]));
}

/// The answer is lost and the bytes rot, but others have built on them by then.
#[tokio::test]
async fn a_write_that_rots_before_it_is_known_again_is_not_done_twice() {
    let store = Memory::new();
    let memory = store.clone();
    store.turn(Box::new(move |operation, _| {
        if operation == "list" {
            publish_aside(&memory, "other");
            memory.rot(layout::STATE, Generation(1));
        }
        let fate = if operation == "write" { Fate::AnswerWrong } else { Fate::Done };
        (Duration::ZERO, fate)
    }));
    let error = publish(&store, "a").await.unwrap_err();
    assert!(matches!(error, SwapError::Write(error) if error.kind == ErrorKind::Corrupt));
    assert_eq!(store.slots(layout::STATE).len(), 2);
}

#[tokio::test]
async fn bytes_that_are_no_state_are_damage_and_a_newer_states_are_not() {
    let store = Memory::new();
    publish(&store, "a").await.unwrap();
    store.put_aside(layout::STATE, b"{}", Expect::Any);
    assert_eq!(publish(&store, "b").await.unwrap().state.current(), Some(3));

    let newer = br#"{"schema": 2, "who": "knows"}"#;
    store.put_aside(layout::STATE, newer, Expect::Any);
    let error = publish(&store, "c").await.unwrap_err();
    assert!(matches!(error, SwapError::Load(LoadError::State(StateError::Newer { found: 2 }))));
    store.put_aside(layout::STATE, b"damaged", Expect::Any);
    publish(&store, "c").await.expect_err("an older one must not write over a newer one's state");
}

#[tokio::test(start_paused = true)]
async fn what_is_named_by_its_content_is_written_once() {
    let store = Memory::new();
    let put = async |name: &str| {
        put_once(&store, &State::new("app"), name, async |expect| {
            store.write(name, b"content", expect).await
        })
        .await
    };
    assert!(put("artifacts/1").await.unwrap());
    assert!(!put("artifacts/1").await.unwrap());
    store.rot("artifacts/1", Generation(1));
    assert!(put("artifacts/1").await.unwrap(), "damage is healed");
    assert_eq!(store.read("artifacts/1").await.unwrap().data, b"content");
    store.fates_of_writes(vec![Fate::AnswerLost]);
    put("artifacts/2").await.unwrap();
    assert_eq!(store.slots("artifacts/2").len(), 1);
    store.fates_of_writes(vec![Fate::Fails; 7]);
    put("artifacts/3").await.unwrap_err();
}
