use super::*;
use crate::Span;
use crate::fixtures::{at, failure, outcome, report};
use crate::report::{CrashLoop, Version};
use crate::rollout::{Lease, Limit, Rules};

fn member(name: &str, condition: Condition) -> Member {
    let key = order_key(&Id::fixed("r"), name);
    Member { name: name.to_owned(), key, condition, restarts: 0, is_back: true, is_stale: false }
}

fn bad() -> Condition {
    Condition::Bad("it ended".to_owned(), None)
}

/// So many that have not begun, in the order of the rollout.
fn fleet(count: usize) -> Vec<Member> {
    let mut all: Vec<_> =
        (0..count).map(|one| member(&format!("app-{one}"), Condition::Before)).collect();
    all.sort_by_key(|one| one.key);
    all
}

struct Rollout {
    plan: Plan,
    is_graceful: bool,
    has_base: bool,
    order: Option<Order>,
    members: Vec<Member>,
    progress: Progress,
}

impl Rollout {
    fn of(members: Vec<Member>, rules: Rules) -> Self {
        let plan = Plan { now: false, instances: 0, rules };
        let conductor = Lease { by: "app-0".to_owned(), life: Id::fixed("life"), beat: 1 };
        let release = crate::state::State::new("app")
            .published(crate::fixtures::draft("r", "a"), None, None, at(0))
            .unwrap()
            .release
            .unwrap();
        let progress = Progress::begin(&release, &plan, conductor);
        Self { plan, is_graceful: true, has_base: true, order: None, members, progress }
    }

    fn step(&mut self, passed_secs: u64) -> &mut Self {
        let view = View {
            plan: &self.plan,
            is_graceful: self.is_graceful,
            has_base: self.has_base,
            order: self.order.as_ref(),
            members: &self.members,
            passed: Duration::from_secs(passed_secs),
            now: at(7),
        };
        self.progress = conduct(&self.progress, &view);
        self
    }

    fn all(&mut self, condition: Condition) -> &mut Self {
        self.members.iter_mut().for_each(|one| one.condition = condition.clone());
        self
    }

    /// How many may switch.
    fn let_on(&self) -> usize {
        self.members.iter().filter(|one| self.progress.mark.lets(&one.key)).count()
    }

    fn order(&mut self, id: &str, verb: Verb) -> &mut Self {
        let (id, release) = (Id::fixed(id), Id::fixed("r"));
        self.order = Some(Order { id, release, verb, by: "ann@laptop".to_owned(), at: at(6) });
        self
    }
}

#[test]
fn a_canary_bakes_and_the_others_follow_all_at_once() {
    let mut it = Rollout::of(fleet(5), Rules::default());
    it.step(0);
    assert_eq!((it.progress.stage, it.let_on()), (Stage::Canary, 1));
    it.members[0].condition = Condition::Coming;
    assert_eq!(it.step(30).progress.stage, Stage::Canary);
    it.members[0].condition = Condition::Good;
    // From here on it counts.
    assert_eq!(it.step(30).step(9).progress.stage, Stage::Canary);
    it.step(1);
    assert_eq!((it.progress.stage, it.let_on()), (Stage::Rolling, 5));
    assert_eq!(it.step(100).progress.stage, Stage::Rolling);
    it.all(Condition::Good).step(1);
    assert_eq!((it.progress.stage, it.progress.mark), (Stage::Watching, Mark::All));
    assert_eq!(it.step(59).progress.stage, Stage::Watching);
    assert_eq!(it.step(1).progress.stage, Stage::Done);
}

#[test]
fn a_canary_that_starts_anew_bakes_anew() {
    let mut it = Rollout::of(fleet(2), Rules::default());
    it.members[0].condition = Condition::Good;
    it.step(0).step(9);
    it.members[0].restarts = 1;
    assert_eq!(it.step(1).step(9).progress.stage, Stage::Canary);
    assert_eq!(it.step(10).progress.stage, Stage::Rolling);
}

#[test]
fn no_more_are_on_their_way_than_the_rules_allow() {
    let rules = Rules { canary: Limit::Count(0), ..Rules::default() };
    let mut it = Rollout::of(fleet(10), rules);
    it.is_graceful = false;
    // A fourth of ten.
    assert_eq!(it.step(0).let_on(), 2);
    assert_eq!(it.step(5).let_on(), 2);
    it.members[1].condition = Condition::Good;
    assert_eq!(it.step(0).let_on(), 3);
    // One in their midst that comes late stands before the mark, and takes a place.
    let late = member("late", Condition::Before);
    it.members.push(Member { key: it.members[0].key, ..late });
    it.members[0].condition = Condition::Good;
    assert_eq!(it.step(0).let_on(), 4);
}

#[test]
fn a_failure_brings_all_back_or_leaves_them_as_they_are() {
    let mut it = Rollout::of(fleet(3), Rules::default());
    it.step(0).members[0].condition = bad();
    it.step(0);
    assert_eq!((it.progress.stage, it.let_on()), (Stage::Reverted, 1));
    let halt = it.progress.halt.clone().unwrap();
    assert_eq!(halt.message, format!("{}: it ended", it.members[0].name));
    assert_eq!(halt.instance.as_ref(), Some(&it.members[0].name));
    let ended = it.progress.clone();
    assert_eq!(it.all(Condition::Good).step(100).progress, ended);

    let canary = Limit::Count(2);
    let rules = Rules { on_failure: OnFailure::Halt, max_failures: 1, canary, ..Rules::default() };
    let mut it = Rollout::of(fleet(3), rules.clone());
    it.step(0).members[0].condition = bad();
    it.members[1].condition = Condition::Good;
    assert_eq!(it.step(0).step(10).progress.stage, Stage::Rolling);
    it.members[1].condition = bad();
    assert_eq!(it.step(0).progress.stage, Stage::Halted);
    // Somebody says to go on in spite of them, and that counts once.
    it.order("go", Verb::Resume).step(0);
    assert_eq!((it.progress.stage, it.progress.halt.as_ref()), (Stage::Rolling, None));
    it.members[2].condition = Condition::Good;
    assert_eq!(it.step(0).progress.stage, Stage::Watching);

    // Nobody goes on where all fail that went first, however many may.
    let mut it = Rollout::of(fleet(3), Rules { canary: Limit::Count(1), ..rules });
    it.step(0).members[0].condition = bad();
    assert_eq!(it.step(0).progress.stage, Stage::Halted);

    // There is nothing before it.
    let mut it = Rollout::of(fleet(1), Rules::default());
    it.has_base = false;
    it.members[0].condition = bad();
    assert_eq!(it.step(0).progress.stage, Stage::Halted);
}

#[test]
fn where_a_switch_costs_capacity_they_go_back_in_turn() {
    let mut it = Rollout::of(fleet(8), Rules::default());
    it.is_graceful = false;
    it.plan.now = true;
    (it.progress.stage, it.progress.mark) = (Stage::Rolling, Mark::All);
    for one in &mut it.members {
        (one.condition, one.is_back) = (Condition::Good, false);
    }
    it.step(0).members[7].condition = bad();
    it.step(0);
    assert_eq!((it.progress.stage, it.let_on()), (Stage::Reverting, 2));
    it.members[0].is_back = true;
    assert_eq!(it.step(0).let_on(), 3);
    it.order("p", Verb::Pause).members[1].is_back = true;
    assert_eq!(it.step(0).let_on(), 4, "nobody stops it on its way back");
    it.members.iter_mut().for_each(|one| one.is_back = true);
    it.members[5].is_stale = true;
    it.step(0);
    assert_eq!((it.progress.stage, it.progress.mark), (Stage::Reverted, Mark::All));
    assert!(it.progress.halt.is_some());
}

#[test]
fn one_that_was_good_is_watched() {
    let mut it = Rollout::of(fleet(2), Rules::default());
    it.all(Condition::Good).step(0).step(10);
    assert_eq!(it.progress.stage, Stage::Watching);
    it.members[1].condition = bad();
    assert_eq!(it.step(59).progress.stage, Stage::Reverted);
}

#[test]
fn the_silent_are_passed_over_and_never_count_as_good() {
    let mut it = Rollout::of(fleet(4), Rules::default());
    assert_eq!(it.step(0).let_on(), 1);
    it.members[0].is_stale = true;
    assert_eq!(it.step(0).let_on(), 2, "the next one is the canary");
    it.members[1].condition = Condition::Good;
    it.step(0).step(10);
    it.members[3].is_stale = true;
    it.members[2].condition = Condition::Good;
    assert_eq!(it.step(0).progress.stage, Stage::Watching);
    // What it said last counts, if that was bad.
    it.members[3].condition = bad();
    assert_eq!(it.step(0).progress.stage, Stage::Reverted);
    // Where nobody speaks, nothing is good.
    let mut it = Rollout::of(fleet(2), Rules { canary: Limit::Count(0), ..Rules::default() });
    it.members.iter_mut().for_each(|one| one.is_stale = true);
    assert!(it.step(1_000).progress.stage.is_underway());
}

#[test]
fn people_pause_it_and_call_it_off() {
    let mut it = Rollout::of(fleet(2), Rules::default());
    it.step(0).members[0].condition = Condition::Good;
    it.step(0).order("p", Verb::Pause);
    assert_eq!(it.step(10).step(10).progress.stage, Stage::Canary);
    it.order("r", Verb::Resume).step(10).step(10);
    assert_eq!(it.progress.stage, Stage::Rolling);
    it.order("a", Verb::Abort).step(0);
    assert_eq!(it.progress.stage, Stage::Reverted);
    assert_eq!(it.progress.halt.unwrap().by.as_deref(), Some("ann@laptop"));
    // What is done is done.
    let mut it = Rollout::of(fleet(1), Rules { watch_for: Span::from_secs(0), ..Rules::default() });
    it.all(Condition::Good).step(0).step(10);
    assert_eq!(it.progress.stage, Stage::Done);
    assert_eq!(it.order("a", Verb::Abort).step(0).progress.stage, Stage::Done);
}

#[test]
fn all_at_once_is_watched_too() {
    let mut it = Rollout::of(fleet(3), Rules::default());
    it.plan.now = true;
    (it.progress.stage, it.progress.mark) = (Stage::Rolling, Mark::All);
    assert_eq!(it.step(0).progress.stage, Stage::Rolling);
    assert_eq!(it.all(Condition::Good).step(0).progress.stage, Stage::Watching);
    it.members[1].condition = bad();
    assert_eq!(it.step(0).progress.stage, Stage::Reverted);
}

#[test]
fn an_instance_is_as_it_says() {
    let of = |report: &Report| Member::of(report, &Id::fixed("r"), 2, false).unwrap().condition;
    let version = |restarts| Version {
        release: 2,
        pid: 1,
        started: at(0),
        restarts,
        status: None,
        unwell: None,
    };
    assert_eq!(of(&report(Some(1), Phase::Starting, vec![])), Condition::Before);
    let waiting = Report { waits: Some(2), ..report(Some(2), Phase::Settling, vec![]) };
    assert_eq!(of(&waiting), Condition::Before, "it is the release before that settles");
    assert_eq!(of(&report(Some(2), Phase::Proving, vec![])), Condition::Coming);
    let done = || vec![outcome(2, Some(1), Some(Ending::Done))];
    let mut good = report(Some(2), Phase::Serving, done());
    assert_eq!(of(&good), Condition::Coming, "nothing serves");
    good.serving = Some(version(1));
    assert_eq!(of(&good), Condition::Good);
    assert_eq!(Member::of(&good, &Id::fixed("r"), 2, false).unwrap().restarts, 1);
    let mut loops = good.clone();
    loops.crash_loop = Some(CrashLoop { crashes: 2, next_start: None });
    assert_eq!(of(&loops), Condition::Bad("it has crashed 2 times in a row".to_owned(), None));
    let mut again = good.clone();
    again.serving = Some(version(RESTARTS_MAX));
    assert_eq!(of(&again), Condition::Bad("it has crashed 3 times".to_owned(), None));
    let mut unwell = good.clone();
    unwell.serving.as_mut().unwrap().unwell = Some("/health answers 500".to_owned());
    assert_eq!(of(&unwell), Condition::Bad("/health answers 500".to_owned(), None));
    let mut starts_anew = good.clone();
    starts_anew.phase = Phase::Starting;
    assert_eq!(of(&starts_anew), Condition::Coming);
    let failed =
        report(Some(2), Phase::Serving, vec![outcome(2, None, Some(Ending::Failed(failure(2))))]);
    assert!(matches!(of(&failed), Condition::Bad(_, Some(_))));
    let left = Report { left: Some(at(3)), ..good };
    assert_eq!(Member::of(&left, &Id::fixed("r"), 2, false), None);
}
