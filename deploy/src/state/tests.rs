//! The rules by which one state follows another.

use super::*;
use crate::fixtures::{artifact, at, draft};
use crate::lock::Lock;

fn claim(id: &str, now: i64) -> Claim {
    Claim::new(Id::fixed(id), format!("{id}@laptop"), at(now))
}

fn claimed(id: &str, now: i64) -> State {
    State::new("app").claimed(claim(id, now), at(now)).unwrap()
}

fn publish(state: State, id: &str) -> State {
    state.published(draft(id, "a"), None, None, at(0)).unwrap()
}

#[test]
fn a_state_is_written_and_read_back() {
    let mut draft = draft("one", "a@b");
    draft.environment = Some(Digest::of(b"env"));
    draft.message = Some("first".to_owned());
    let state = State::new("app").published(draft, None, None, at(5)).unwrap();
    let state = State { staged_environment: Some(Digest::of(b"staged")), ..state };
    let state = state.claimed(claim("c", 6), at(6)).unwrap();
    let state = state.renewed(&Id::fixed("c"), Some(artifact("x")), at(7)).unwrap();
    assert_eq!(State::from_object(&state.to_object()).unwrap(), state);

    let new = r#"{
  "schema": 1,
  "app": "app",
  "attempt": "none"
}
"#;
    assert_eq!(String::from_utf8(State::new("app").to_object()).unwrap(), new);
}

/// A newer program's fields outlive this one's steps.
#[test]
fn what_is_not_known_is_kept() {
    let newer = br#"{"schema": 1, "app": "app", "attempt": "1", "waves": {"canary": 1}}"#;
    let state = publish(State::from_object(newer).unwrap(), "one");
    let read: Value = serde_json::from_slice(&state.to_object()).unwrap();
    assert_eq!(read["waves"]["canary"], 1);
}

#[test]
fn what_is_no_state_is_refused_and_says_why() {
    for form in ["", "{}", "null", r#"{"schema": 1}"#, r#"{"schema": "1"}"#, "{\"schema\": 1"] {
        let error = State::from_object(form.as_bytes()).unwrap_err();
        assert!(matches!(error, StateError::Form { .. }), "{form}: {error}");
    }
    let error = State::from_object(br#"{"schema": 2}"#).unwrap_err();
    let text = "state.json has schema 2, and this program knows schemas up to 1";
    assert_eq!(error.to_string(), text);
}

#[test]
fn releases_are_numbered_without_gaps() {
    let mut state = State::new("app");
    assert_eq!(state.current(), None);
    for number in 1..=3 {
        state = publish(state, &number.to_string());
        assert_eq!(state.current(), Some(number));
    }
    let state = publish(State { numbers_taken: 5, ..state }, "six");
    assert_eq!(state.current(), Some(6));
    assert_eq!(publish(state, "seven").current(), Some(7));
}

#[test]
fn a_release_is_what_its_draft_says() {
    let draft = draft("one", "a@b");
    let state = State::new("app").published(draft.clone(), None, None, at(7)).unwrap();
    let release = state.release.unwrap();
    assert_eq!((release.number, release.published, &*release.by), (1, at(7), "a@b"));
    let again = Draft::again(&release, "b@c".to_owned(), crate::release::Kind::Rollback(1), None);
    assert_ne!(again.id, release.id);
    assert_eq!(
        (again.artifact, again.environment, again.settings),
        (draft.artifact, draft.environment, draft.settings)
    );
}

#[test]
fn one_claim_at_a_time() {
    let state = claimed("a", 0);
    let refused = state.clone().claimed(claim("b", 10), at(10)).unwrap_err();
    assert_eq!(refused, Refused::Claimed(Box::new(claim("a", 0))));
    assert_eq!(refused.to_string(), "a@laptop has been deploying since 2026-01-01T00:00:00Z");
    // The same claim again, after an answer that was lost.
    state.clone().claimed(claim("a", 0), at(10)).unwrap();
    // It ended by itself.
    let state = state.claimed(claim("b", 30), at(30)).unwrap();
    assert_eq!(state.claim, Some(claim("b", 30)));
}

#[test]
fn a_claim_is_renewed_while_it_is_there() {
    let state = claimed("a", 0);
    let renewed = state.clone().renewed(&Id::fixed("a"), None, at(20)).unwrap();
    let held = renewed.live_claim(at(49)).unwrap();
    assert_eq!((held.since, held.expires, held.artifact), (at(0), at(50), None));
    // Too late, but nobody has taken it.
    let late = renewed.renewed(&Id::fixed("a"), Some(artifact("x")), at(100)).unwrap();
    let later = late.renewed(&Id::fixed("a"), None, at(110)).unwrap();
    assert_eq!(later.claim.unwrap().artifact, Some(artifact("x")), "the artifact stays named");

    let refused = state.clone().renewed(&Id::fixed("b"), None, at(1)).unwrap_err();
    assert_eq!(refused, Refused::ClaimLost(Some(Box::new(claim("a", 0)))));
    assert_eq!(refused.to_string(), "the claim was taken away, a@laptop is deploying now");
    let refused = state.unlocked("b", at(1)).renewed(&Id::fixed("a"), None, at(1)).unwrap_err();
    assert_eq!(refused.to_string(), "the claim was taken away");
}

#[test]
fn a_claim_is_given_up_by_its_owner_or_broken_by_anybody() {
    let author = |state: State| state.author.map(|author| (author.by, author.at, author.under));
    let given_up = claimed("a", 0).unclaimed(&Id::fixed("a"), at(3));
    assert_eq!(given_up.claim, None);
    let own = ("a@laptop".to_owned(), at(3), Some(Id::fixed("a")));
    assert_eq!(author(given_up), Some(own), "under the claim that ends by it");
    assert_eq!(claimed("a", 0).unclaimed(&Id::fixed("b"), at(3)), claimed("a", 0));
    let broken = claimed("a", 0).unlocked("b@desk", at(3));
    assert_eq!(broken.claim, None);
    assert_eq!(author(broken), Some(("b@desk".to_owned(), at(3), None)));
}

#[test]
fn a_publish_ends_the_claim_that_it_is_under() {
    let own = Id::fixed("a");
    let published = claimed("a", 0).published(draft("one", "a"), Some(&own), None, at(5)).unwrap();
    assert_eq!((published.current(), &published.claim), (Some(1), &None));
    // Expired, but nobody has taken it: nobody has published in between.
    claimed("a", 0).published(draft("one", "a"), Some(&own), None, at(500)).unwrap();

    let again = published.published(draft("two", "a"), Some(&own), None, at(6)).unwrap_err();
    assert_eq!(again, Refused::ClaimLost(None));
    let stolen = claimed("b", 0).published(draft("one", "a"), Some(&own), None, at(5));
    assert_eq!(stolen.unwrap_err(), Refused::ClaimLost(Some(Box::new(claim("b", 0)))));
}

#[test]
fn a_publish_without_a_claim_respects_anothers() {
    let refused = claimed("a", 0).published(draft("one", "b"), None, None, at(29)).unwrap_err();
    assert_eq!(refused, Refused::Claimed(Box::new(claim("a", 0))));
    let published = claimed("a", 0).published(draft("one", "b"), None, None, at(30)).unwrap();
    assert_eq!(published.claim, None, "the dead claim ends");
}

#[test]
fn a_publish_can_expect_the_current_release() {
    let state = publish(State::new("app"), "one");
    let refused = |state: &State, expected| {
        state.clone().published(draft("two", "a"), None, Some(expected), at(0)).unwrap_err()
    };
    let expected = Refused::NotCurrent { expected: 2, current: Some(1) };
    assert_eq!(refused(&state, 2), expected);
    assert_eq!(expected.to_string(), "the current release is v1, not v2");
    let none = refused(&State::new("app"), 1).to_string();
    assert_eq!(none, "the current release is none, not v1");
    state.published(draft("two", "a"), None, Some(1), at(0)).unwrap();
}

#[test]
fn a_staged_environment_waits_for_the_release_that_has_it() {
    let staged = Digest::of(b"staged");
    let state = State::new("app").staged(Some(staged), "a", at(0)).unwrap();
    let state = publish(state, "without");
    assert_eq!(state.staged_environment, Some(staged));
    assert_eq!(state.release.as_ref().unwrap().environment, None);
    let with = Draft { environment: Some(staged), ..draft("with", "a") };
    let taken = state.clone().published(with, None, None, at(0)).unwrap();
    assert_eq!(taken.staged_environment, None);
    assert_eq!(state.staged(None, "a", at(0)).unwrap().staged_environment, None);

    let refused = claimed("a", 0).staged(Some(staged), "a", at(1)).unwrap_err();
    assert_eq!(refused, Refused::Claimed(Box::new(claim("a", 0))));
    claimed("a", 0).staged(Some(staged), "a", at(30)).unwrap();
}

fn lock(until: Option<i64>) -> Lock {
    Lock { by: "b@desk".to_owned(), since: at(0), message: "why".to_owned(), until: until.map(at) }
}

#[test]
fn while_a_lock_binds_nothing_is_claimed_staged_or_published() {
    let own = Id::fixed("a");
    for (until, now) in [(None, 1_000_000), (Some(60), 59)] {
        let state = claimed("a", 0).locked(lock(until), at(0));
        let now = at(now);
        let refused = Refused::Locked(Box::new(lock(until)));
        let attempts = [
            state.clone().claimed(claim("c", 1_000), now),
            state.clone().renewed(&own, None, now),
            state.clone().staged(Some(Digest::of(b"staged")), "a", now),
            state.clone().published(draft("one", "a"), Some(&own), None, now),
            State { claim: None, ..state }.published(draft("one", "a"), None, None, now),
        ];
        for attempt in attempts {
            assert_eq!(attempt.unwrap_err(), refused);
        }
    }
    let refused = Refused::Locked(Box::new(lock(None))).to_string();
    assert_eq!(refused, "b@desk has locked the app since 2026-01-01T00:00:00Z: why");
}

#[test]
fn a_lock_ends_by_its_time_or_by_hand() {
    let state = State::new("app").locked(lock(Some(60)), at(0));
    let published = state.clone().published(draft("one", "a"), None, None, at(60)).unwrap();
    assert_eq!((published.current(), published.live_lock(at(60))), (Some(1), None));
    assert!(state.live_lock(at(59)).is_some());

    let unlocked = claimed("a", 0).locked(lock(None), at(1)).unlocked("c@desk", at(2));
    assert_eq!((&unlocked.lock, &unlocked.claim), (&None, &None));
    publish(unlocked, "one");
}

#[test]
fn a_lock_leaves_the_claim_and_another_takes_its_place() {
    let state = claimed("a", 0).locked(lock(None), at(1));
    assert_eq!(state.claim, Some(claim("a", 0)));
    assert_eq!(state.clone().unclaimed(&Id::fixed("a"), at(2)).claim, None, "it can be given up");
    let other = Lock { message: "another reason".to_owned(), ..lock(Some(60)) };
    assert_eq!(state.locked(other.clone(), at(3)).lock, Some(other));
    let read = State::from_object(&claimed("a", 0).locked(lock(Some(60)), at(1)).to_object());
    assert_eq!(read.unwrap().lock, Some(lock(Some(60))));
}

#[test]
fn what_somebody_has_called_off_is_nothing_to_go_back_to() {
    let plan = crate::rollout::Plan::default();
    let conductor = rollout::Lease { by: "app-1".into(), life: Id::fixed("l"), beat: 1 };
    let at_stage = |state: &State, stage| {
        let release = state.release.as_ref().unwrap();
        Progress { stage, ..Progress::begin(release, &plan, conductor.clone()) }
    };
    let first = publish(State::new("app"), "one");
    let done = at_stage(&first, Stage::Done);
    let second = publish(first.based(Some(&done)), "two");
    let aborted = second.clone().ordered(Verb::Abort, 2, "a@laptop", at(1)).unwrap();
    let based = |state: &State, stage| {
        let base = state.clone().based(Some(&at_stage(state, stage))).base.unwrap();
        (base.release.number, base.reverted.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(based(&second, Stage::Watching), (2, vec![]));
    assert_eq!(based(&aborted, Stage::Watching), (1, vec![2]));
    assert_eq!(based(&aborted, Stage::Rolling), (1, vec![2]));
    assert_eq!(based(&aborted, Stage::Done), (2, vec![]), "it came too late");
    // The instances' own word counts before their conductor's, unless it has been taken back.
    let on = |state: &State, stage, good| {
        let base = state.clone().based_on(Some(&at_stage(state, stage)), good).base.unwrap();
        (base.release.number, base.reverted.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(on(&second, Stage::Rolling, Some(2)), (2, vec![]));
    assert_eq!(on(&second, Stage::Rolling, Some(1)), (1, vec![]));
    assert_eq!(on(&second, Stage::Reverted, Some(2)), (1, vec![2]));
    assert_eq!(on(&aborted, Stage::Rolling, Some(2)), (1, vec![2]));
}
