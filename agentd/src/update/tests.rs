//! The update core's decisions, one situation each.

use std::collections::BTreeMap;
use std::time::Duration;

use deploy::desired_agent::{AgentBinary, DesiredAgent, order_key};
use deploy::id::Id;
use deploy::report::{AgentStage, AgentUpdate, UpdatePhase};
use deploy::{Digest, Timestamp};

use super::*;

pub(super) fn binary(version: &str) -> AgentBinary {
    AgentBinary { digest: Digest::of(version.as_bytes()), size: 1, version: version.to_owned() }
}

pub(super) fn wish(id: &str, version: Option<&str>, retry: bool) -> DesiredAgent {
    DesiredAgent {
        id: Id::fixed(id),
        by: "a@b".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        message: None,
        rollback: false,
        retry,
        binaries: BTreeMap::from_iter(version.map(|it| ("amd64".to_owned(), binary(it)))),
    }
}

pub(super) fn at(since_start: Duration) -> Now {
    Now { since_start, clock: Timestamp::UNIX_EPOCH }
}

pub(super) fn home(instance: &str, running: &str) -> Home {
    Home {
        instance: instance.to_owned(),
        arch: "amd64".to_owned(),
        running: binary(running),
        installed: binary("1"),
    }
}

/// Another instance that says this of the update `w`.
fn other(name: &str, phase: Option<UpdatePhase>) -> Neighbour {
    Neighbour {
        name: name.to_owned(),
        written: Timestamp::UNIX_EPOCH,
        is_able: true,
        update: phase.map(|phase| AgentUpdate { id: Id::fixed("w"), phase, word: 0 }),
        bad: Vec::new(),
    }
}

/// Three names in the order in which they go to the update `w`.
fn names() -> [&'static str; 3] {
    let mut names = ["app-1", "app-2", "app-3"];
    names.sort_by_key(|name| order_key(&Id::fixed("w"), name));
    names
}

/// Drives a machine.
struct Drive {
    machine: Machine,
    now: Duration,
    /// The number of the listing that it waits for.
    listing: u32,
}

impl Drive {
    fn new(instance: &str) -> Self {
        let (machine, actions) =
            Machine::resume(at(Duration::ZERO), home(instance, "1"), Retained::default(), None);
        assert_eq!(actions, []);
        Self { machine, now: Duration::ZERO, listing: 0 }
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        let actions = self.machine.step(at(self.now), event);
        for action in &actions {
            if let Action::List(number) = action {
                self.listing = *number;
            }
        }
        actions
    }

    /// The next listing, which says this.
    fn listed(&mut self, others: &[Neighbour]) -> Vec<Action> {
        self.step(Event::Listed(self.listing, others.to_vec()))
    }

    fn wake(&mut self) -> Vec<Action> {
        self.now = self.machine.wake_at().expect("it waits for a time");
        self.step(Event::Tick)
    }

    fn phase(&self) -> Option<UpdatePhase> {
        self.machine.view().map(|view| view.phase)
    }

    fn written(&mut self) -> Vec<Action> {
        self.step(Event::Written(self.machine.view()))
    }

    /// It waits for its turn to go to binary 2.
    fn waiting(instance: &str) -> Self {
        let mut drive = Self::new(instance);
        drive.step(Event::Quiet(true));
        let digest = binary("2").digest;
        let fetch = drive.step(Event::Seen(Some(wish("w", Some("2"), false))));
        assert_eq!(fetch, [Action::Fetch(binary("2"))]);
        assert_eq!(drive.step(Event::Fetched(digest)), [Action::Check(binary("2"))]);
        assert_eq!(drive.step(Event::Checked(digest)), [Action::List(1)]);
        drive
    }

    /// It executes binary 2.
    fn leaving(instance: &str) -> Self {
        let mut drive = Self::waiting(instance);
        assert_eq!(drive.listed(&[]), []);
        assert_eq!(drive.phase(), Some(UpdatePhase::Going));
        assert_eq!(drive.written(), [Action::List(2)]);
        assert_eq!(drive.listed(&[]), [Action::Exec(binary("2"))]);
        drive
    }

    /// The agent's next life, that of the binary `running`.
    fn next_life(self, running: &str, fell_back: Option<&FellBack>) -> (Self, Vec<Action>) {
        let text = serde_json::to_string(self.machine.retained()).unwrap();
        let kept: Retained = serde_json::from_str(&text).unwrap();
        let home = home(self.machine.instance(), running);
        let (machine, actions) = Machine::resume(at(Duration::ZERO), home, kept, fell_back);
        (Self { machine, now: Duration::ZERO, listing: 0 }, actions)
    }
}

#[test]
fn one_alone_goes_when_it_has_said_so_and_proves_itself() {
    let drive = Drive::leaving("app-1");
    let (mut drive, actions) = drive.next_life("2", None);
    assert_eq!((drive.phase(), actions), (Some(UpdatePhase::Trial), vec![]));
    assert_eq!(drive.step(Event::Up), []);
    let good = drive.step(Event::Seen(Some(wish("w", Some("2"), false))));
    let digest = binary("2").digest;
    assert_eq!(good, [Action::SayGood(digest), Action::Prune(vec![digest])]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Good));
    // And says so again, should the launcher not have heard.
    let (drive, actions) = drive.next_life("2", None);
    assert_eq!((drive.phase(), actions), (Some(UpdatePhase::Good), vec![Action::SayGood(digest)]));
}

#[test]
fn what_runs_already_is_good_at_once_and_none_is_what_it_was_made_with() {
    let mut drive = Drive::new("app-1");
    assert_eq!(drive.step(Event::Seen(None)), []);
    assert_eq!(drive.phase(), None);
    assert_eq!(drive.step(Event::Seen(Some(wish("w", Some("1"), false)))), []);
    assert_eq!(drive.phase(), Some(UpdatePhase::Good));
    assert_eq!(drive.step(Event::Seen(Some(wish("x", None, false)))), []);
    assert_eq!(drive.machine.view().unwrap().id, Id::fixed("x"));
    let (mut drive, _) = drive.next_life("2", None);
    let back = drive.step(Event::Seen(Some(wish("y", None, false))));
    assert_eq!(back, [Action::Fetch(binary("1"))]);
}

#[test]
fn a_binary_that_the_launcher_goes_back_from_is_bad_until_it_is_asked_for_again() {
    let fell = FellBack { digest: binary("2").digest, reason: "it crashed 3 times".to_owned() };
    let (drive, actions) = Drive::leaving("app-1").next_life("1", Some(&fell));
    assert_eq!((drive.phase(), actions), (Some(UpdatePhase::Bad), vec![]));
    let bad = &drive.machine.bad()[0];
    assert_eq!((bad.stage, &*bad.reason), (AgentStage::Trial, "it crashed 3 times"));
    // It stays so, and is not counted twice.
    let (mut drive, _) = drive.next_life("1", Some(&fell));
    assert_eq!((drive.phase(), drive.machine.bad().len()), (Some(UpdatePhase::Bad), 1));
    assert_eq!(drive.step(Event::Seen(Some(wish("x", Some("2"), false)))), []);
    assert_eq!(drive.phase(), Some(UpdatePhase::Bad));
    let again = drive.step(Event::Seen(Some(wish("y", Some("2"), true))));
    assert_eq!(again, [Action::Fetch(binary("2"))]);
    // What the launcher said of the last time says nothing of this one.
    let (drive, actions) = drive.next_life("1", Some(&fell));
    assert_eq!((drive.phase(), actions.len()), (Some(UpdatePhase::Fetching), 1));
}

#[test]
fn an_agent_that_dies_before_it_is_replaced_tries_again_and_not_for_ever() {
    let mut drive = Drive::leaving("app-1");
    for _ in 0..2 {
        let (next, actions) = drive.next_life("1", None);
        assert_eq!(actions, [Action::Fetch(binary("2"))]);
        drive = next;
        let digest = binary("2").digest;
        drive.step(Event::Quiet(true));
        drive.step(Event::Fetched(digest));
        drive.step(Event::Checked(digest));
        drive.listed(&[]);
        drive.written();
        assert_eq!(drive.listed(&[]), [Action::Exec(binary("2"))]);
    }
    let (drive, actions) = drive.next_life("1", None);
    assert_eq!((drive.phase(), actions), (Some(UpdatePhase::Bad), vec![]));
    let mut drive = Drive::leaving("app-1");
    drive.step(Event::ExecFailed("out of memory".to_owned()));
    assert_eq!(drive.phase(), Some(UpdatePhase::Bad));
}

#[test]
fn a_binary_that_cannot_be_brought_is_tried_for_the_next_wish_and_one_that_cannot_run_is_not() {
    let digest = binary("2").digest;
    let mut drive = Drive::new("app-1");
    drive.step(Event::Seen(Some(wish("w", Some("2"), false))));
    drive.step(Event::FetchFailed(digest, "the disk is full".to_owned()));
    assert_eq!(drive.phase(), Some(UpdatePhase::Bad));
    let again = drive.step(Event::Seen(Some(wish("x", Some("2"), false))));
    assert_eq!(again, [Action::Fetch(binary("2"))]);
    drive.step(Event::Fetched(digest));
    drive.step(Event::CheckFailed(digest, "no pidfd".to_owned()));
    assert_eq!(drive.step(Event::Seen(Some(wish("y", Some("2"), false)))), []);
    assert_eq!(drive.phase(), Some(UpdatePhase::Bad));
}

#[test]
fn each_waits_for_those_before_it_that_live() {
    let [first, own, last] = names();
    let mut drive = Drive::waiting(own);
    let undecided = [other(first, None), other(last, None)];
    assert_eq!(drive.listed(&undecided), []);
    assert_eq!(drive.phase(), Some(UpdatePhase::Waiting));
    while drive.now <= STALE_AFTER {
        assert_eq!(drive.wake().len(), 1);
        assert_eq!(drive.phase(), Some(UpdatePhase::Waiting));
        drive.listed(&undecided);
    }
    assert_eq!(drive.phase(), Some(UpdatePhase::Going), "the first one is silent");

    let mut drive = Drive::waiting(own);
    drive.listed(&[other(first, Some(UpdatePhase::Trial)), other(last, None)]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Waiting));
    drive.wake();
    drive.listed(&[other(first, Some(UpdatePhase::Good)), other(last, None)]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Going), "it is through");
}

#[test]
fn agents_that_cannot_update_themselves_are_in_nobodys_way() {
    let [first, own, _] = names();
    let mut drive = Drive::waiting(own);
    drive.listed(&[Neighbour { is_able: false, ..other(first, None) }]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Going));
}

#[test]
fn a_bad_canary_halts_the_others_and_a_bad_one_after_a_good_one_does_not() {
    let [first, second, own] = names();
    let mut drive = Drive::waiting(own);
    drive.listed(&[other(first, Some(UpdatePhase::Bad)), other(second, None)]);
    assert_eq!((drive.phase(), drive.machine.wake_at()), (Some(UpdatePhase::Halted), None));
    let (drive, actions) = drive.next_life("1", None);
    assert_eq!((drive.phase(), actions), (Some(UpdatePhase::Halted), vec![]));

    let mut drive = Drive::waiting(own);
    drive.listed(&[other(first, Some(UpdatePhase::Good)), other(second, Some(UpdatePhase::Bad))]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Going));

    // It goes by another wish by now.
    let mut drive = Drive::waiting(own);
    drive.listed(&[Neighbour { bad: vec![Id::fixed("w")], ..other(first, None) }]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Halted));

    // One that has come since, and would be the canary by its name.
    let mut drive = Drive::waiting(first);
    drive.listed(&[other(second, Some(UpdatePhase::Bad)), other(own, None)]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Halted));
}

#[test]
fn of_two_that_go_the_later_one_steps_back_and_the_earlier_one_waits_for_that() {
    let [first, second, _] = names();
    let mut later = Drive::waiting(second);
    later.listed(&[]);
    later.written();
    assert_eq!(later.listed(&[other(first, Some(UpdatePhase::Going))]), []);
    assert_eq!(later.phase(), Some(UpdatePhase::Waiting));

    let mut earlier = Drive::waiting(first);
    earlier.listed(&[]);
    earlier.written();
    assert_eq!(earlier.listed(&[other(second, Some(UpdatePhase::Going))]), []);
    assert_eq!(earlier.phase(), Some(UpdatePhase::Going));
    earlier.wake();
    assert_eq!(earlier.listed(&[other(second, None)]), [Action::Exec(binary("2"))]);
}

#[test]
fn nobody_goes_by_a_word_that_is_not_written_or_too_old() {
    let mut drive = Drive::waiting("app-1");
    drive.listed(&[]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Going));
    drive.wake();
    assert_eq!(drive.listed(&[]), [], "not written yet");
    let earlier = AgentUpdate { word: 7, ..drive.machine.view().unwrap() };
    assert_eq!(drive.step(Event::Written(Some(earlier))), [], "another word of its own");
    // A listing that was begun before the word was written.
    drive.wake();
    let begun = drive.listing;
    assert_eq!(drive.written(), [Action::List(begun + 1)]);
    assert_eq!(drive.step(Event::Listed(begun, Vec::new())), []);
    drive.now += OWN_WORD_MAX + Duration::from_secs(1);
    assert_eq!(drive.listed(&[]), [], "too old");
    drive.written();
    drive.wake();
    assert_eq!(drive.listed(&[]), [Action::Exec(binary("2"))]);
}

#[test]
fn a_switch_is_waited_for_and_one_that_begins_is_made_way_for() {
    let mut drive = Drive::waiting("app-1");
    drive.step(Event::Quiet(false));
    drive.listed(&[]);
    assert_eq!(drive.phase(), Some(UpdatePhase::Waiting));
    assert_eq!(drive.step(Event::Quiet(true)).len(), 1);
    drive.listed(&[]);
    drive.written();
    drive.step(Event::Quiet(false));
    assert_eq!(drive.phase(), Some(UpdatePhase::Waiting));
    assert_eq!(drive.listed(&[]), []);
}

#[test]
fn another_wish_takes_the_place_of_one_that_is_under_way() {
    let mut drive = Drive::waiting("app-1");
    let other = drive.step(Event::Seen(Some(wish("x", Some("3"), false))));
    assert_eq!(other, [Action::Fetch(binary("3"))]);
    assert_eq!(drive.step(Event::Fetched(binary("2").digest)), []);
    assert_eq!(drive.step(Event::Seen(Some(wish("y", Some("1"), false)))), []);
    assert_eq!(drive.phase(), Some(UpdatePhase::Good), "it runs it");

    // What has begun to run is seen through first.
    let (mut drive, _) = Drive::leaving("app-1").next_life("2", None);
    assert_eq!(drive.step(Event::Seen(Some(wish("x", Some("3"), false)))), []);
    assert_eq!(drive.phase(), Some(UpdatePhase::Trial));
    let digest = binary("2").digest;
    let good = drive.step(Event::Up);
    assert_eq!(
        good,
        [Action::SayGood(digest), Action::Prune(vec![digest]), Action::Fetch(binary("3"))]
    );
}

#[test]
fn those_further_back_look_more_rarely() {
    let mut drive = Drive::waiting(names()[2]);
    drive.listed(&[other(names()[0], None), other(names()[1], None)]);
    assert_eq!(drive.machine.wake_at(), Some(Duration::from_secs(4)));
}
