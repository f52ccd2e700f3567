//! The conductor's decision: from how far a rollout is, and what the instances say, to how far it is
//! next. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::progress::{Halt, Mark, Order, Progress, Stage, Verb};
use super::rules::{OnFailure, Plan};
use crate::Digest;
use crate::desired_agent::order_key;
use crate::id::Id;
use crate::report::{Ending, Failure, Phase, Report};

/// One instance, as its conductor sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its place in the order.
    pub key: Digest,
    /// How it is with the release.
    pub condition: Condition,
    /// How often the app was started again there.
    pub restarts: u32,
    /// Another release serves there, and nothing is on its way.
    pub is_back: bool,
    /// It has not reported for too long: it is passed over.
    pub is_stale: bool,
}

/// An app that was started again so often since its switch is not well, however far apart that was.
const RESTARTS_MAX: u32 = 3;

/// How an instance is with a release.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// It has not begun to switch.
    Before,
    /// It is on its way, or not ready at the moment.
    Coming,
    /// It has switched, and all is well.
    Good,
    /// It has failed, or is not well after its switch: why, for people, and how it failed if it says
    /// so.
    Bad(String, Option<Box<Failure>>),
}

impl Member {
    /// The instance of `report`, on its way to the release `id`. None: it has left with its machine.
    pub fn of(report: &Report, id: &Id, number: u64, is_stale: bool) -> Option<Self> {
        if report.left.is_some() {
            return None;
        }
        let serving = report.serving.as_ref().filter(|version| version.release == number);
        let is_back =
            serving.is_none() && report.serving.is_some() && report.phase == Phase::Serving;
        Some(Self {
            is_back,
            name: report.instance.clone(),
            key: order_key(id, &report.instance),
            condition: condition(report, number),
            restarts: serving.map_or(0, |version| version.restarts),
            is_stale,
        })
    }

    fn is_over(&self) -> bool {
        matches!(self.condition, Condition::Good | Condition::Bad(..))
    }
}

fn condition(report: &Report, number: u64) -> Condition {
    let outcome = report.outcome(number).filter(|outcome| outcome.reverted.is_none());
    let serving = report.serving.as_ref().filter(|version| version.release == number);
    match outcome.and_then(|outcome| outcome.ended.as_ref()) {
        Some(Ending::Failed(failure)) => {
            return Condition::Bad(failure.message.clone(), Some(Box::new(failure.clone())));
        }
        Some(Ending::Done) => {}
        None if outcome.is_some() => return Condition::Coming,
        // On its way, it has nothing to remember yet.
        None => {
            let is_coming =
                matches!(report.phase, Phase::Starting | Phase::Proving | Phase::Settling);
            let is_on = report.seen == Some(number) && report.waits != Some(number);
            return if is_coming && is_on { Condition::Coming } else { Condition::Before };
        }
    }
    let Some(serving) = serving else { return Condition::Coming };
    let crashes = report.crash_loop.as_ref().map_or(0, |it| it.crashes);
    if crashes > 0 || serving.restarts >= RESTARTS_MAX {
        let failure = report.last_failure.clone().filter(|failure| failure.release == number);
        let message = match crashes {
            0 => format!("it has crashed {} times", serving.restarts),
            crashes => format!("it has crashed {crashes} times in a row"),
        };
        return Condition::Bad(message, failure.map(Box::new));
    }
    match (&serving.unwell, report.phase) {
        (Some(why), _) => Condition::Bad(why.clone(), None),
        (None, Phase::Serving) => Condition::Good,
        (None, _) => Condition::Coming,
    }
}

/// Whether the instance of `report` runs the release `number`, and all is well there.
pub fn is_good(report: &Report, number: u64) -> bool {
    condition(report, number) == Condition::Good
}

/// What a conductor goes by.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What the release carries.
    pub plan: &'a Plan,
    /// Whether versions overlap, so that a switch costs no capacity.
    pub is_graceful: bool,
    /// Whether there is a release to go back to.
    pub has_base: bool,
    /// What somebody wants of the rollout.
    pub order: Option<&'a Order>,
    /// The fleet.
    pub members: &'a [Member],
    /// How much time has passed since the last decision.
    pub passed: Duration,
    /// What the clock says, for people.
    pub now: Timestamp,
}

/// How far the rollout is next: the same, if there is nothing to do.
pub fn conduct(progress: &Progress, view: &View<'_>) -> Progress {
    let mut next = progress.clone();
    carry_out_order(&mut next, view);
    if !next.stage.is_underway() {
        return next;
    }
    if next.stage != Stage::Reverting
        && let Some(halt) = trouble(&next, view)
    {
        next.fail(view, view.plan.rules.on_failure == OnFailure::Revert);
        next.halt = Some(halt);
    }
    let may_pause = matches!(next.stage, Stage::Canary | Stage::Rolling);
    if may_pause && view.order.is_some_and(|order| order.verb == Verb::Pause) {
        next.steady_ms = None;
        return next;
    }
    let mut view = *view;
    let live = live(view.members);
    // A stage that has nothing to wait for is passed at once.
    loop {
        let stage = next.stage;
        match stage {
            Stage::Canary => bake(&mut next, &view, &live),
            Stage::Rolling => roll(&mut next, &view, &live),
            Stage::Watching => watch(&mut next, &view, &live),
            Stage::Reverting => bring_back(&mut next, &view, &live),
            Stage::Done | Stage::Halted | Stage::Reverted | Stage::Unknown => {}
        }
        if next.stage == stage {
            return next;
        }
        view.passed = Duration::ZERO;
    }
}

impl Progress {
    fn enter(&mut self, stage: Stage) {
        (self.stage, self.steady_ms, self.restarts) = (stage, None, 0);
    }

    /// It goes no further; and those that have switched go back, if they are to and there is something
    /// to go back to.
    fn fail(&mut self, view: &View<'_>, goes_back: bool) {
        self.enter(match goes_back && view.has_base {
            true if view.is_graceful => Stage::Reverted,
            true => Stage::Reverting,
            false => Stage::Halted,
        });
        if self.stage == Stage::Reverting {
            self.mark = Mark::None;
        }
    }

    /// Counts the time that has passed since the last look, if all was well at both, and says whether
    /// it was so for that long.
    fn is_steady(&mut self, is_well: bool, passed: Duration, long: Duration) -> bool {
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        self.steady_ms = is_well.then(|| self.steady_ms.map_or(0, |ms| ms.saturating_add(passed)));
        self.steady_ms.is_some_and(|ms| Duration::from_millis(ms) >= long)
    }
}

/// Those that speak, in the order of the switches.
fn live(members: &[Member]) -> Vec<&Member> {
    let mut live: Vec<_> = members.iter().filter(|one| !one.is_stale).collect();
    live.sort_by_key(|one| one.key);
    live
}

fn carry_out_order(next: &mut Progress, view: &View<'_>) {
    let Some(order) = view.order.filter(|order| next.order.as_ref() != Some(&order.id)) else {
        return;
    };
    match order.verb {
        Verb::Abort if next.stage != Stage::Done && !next.stage.is_taken_back() => {
            next.fail(view, true);
            let message = format!("{} has called it off", order.by);
            let halt = Halt {
                at: view.now,
                message,
                instance: None,
                failure: None,
                by: Some(order.by.clone()),
            };
            next.halt = Some(halt);
        }
        Verb::Resume if next.stage == Stage::Halted => {
            let bad = view.members.iter().filter(|one| matches!(one.condition, Condition::Bad(..)));
            next.forgiven.extend(bad.map(|one| one.name.clone()));
            next.halt = None;
            next.enter(Stage::Rolling);
        }
        Verb::Pause | Verb::Resume | Verb::Abort | Verb::Unknown => {}
    }
    next.order = Some(order.id.clone());
}

/// What ends the rollout, if too much has failed.
fn trouble(next: &Progress, view: &View<'_>) -> Option<Halt> {
    let bad = |one: &&Member| {
        matches!(one.condition, Condition::Bad(..)) && !next.forgiven.contains(&one.name)
    };
    let mut bad: Vec<&Member> = view.members.iter().filter(bad).collect();
    if bad.len() <= view.plan.rules.max_failures as usize {
        // Those that go first are there to be heard; and what serves nowhere is no success, however
        // many may fail.
        let mut heard = live(view.members);
        if next.stage == Stage::Canary {
            heard.truncate(view.plan.rules.canary.of(heard.len()));
        }
        let is_bad = |one: &&Member| bad.iter().any(|bad| bad.name == one.name);
        if heard.is_empty() || !heard.iter().all(is_bad) {
            return None;
        }
        bad = heard;
    }
    let first = bad.into_iter().min_by_key(|one| one.key)?;
    let Condition::Bad(why, failure) = &first.condition else { return None };
    Some(Halt {
        at: view.now,
        message: format!("{}: {why}", first.name),
        instance: Some(first.name.clone()),
        failure: failure.as_deref().cloned(),
        by: None,
    })
}

/// The first instances go, and must be well for a while.
fn bake(next: &mut Progress, view: &View<'_>, live: &[&Member]) {
    let rules = &view.plan.rules;
    let canaries = &live[..rules.canary.of(live.len())];
    let Some(last) = canaries.last() else {
        if !live.is_empty() || rules.canary.of(1) == 0 {
            next.enter(Stage::Rolling);
        }
        return;
    };
    next.mark = next.mark.max(Mark::UpTo(last.key));
    // One that is bad, and may be, is not waited for.
    let good = canaries.iter().filter(|one| one.condition == Condition::Good);
    let restarts = good.map(|one| u64::from(one.restarts)).sum();
    let is_well = canaries.iter().all(|one| one.is_over()) && restarts == next.restarts;
    next.restarts = restarts;
    if next.is_steady(is_well, view.passed, rules.bake.0) {
        next.enter(Stage::Rolling);
    }
}

/// The others go, so many at a time.
fn roll(next: &mut Progress, view: &View<'_>, live: &[&Member]) {
    let on_their_way = live.iter().filter(|one| next.mark.lets(&one.key) && !one.is_over()).count();
    let parallel = view.plan.rules.parallel(live.len(), view.is_graceful);
    let waits = |one: &&&Member| !next.mark.lets(&one.key) && !one.is_over();
    let waiting: Vec<_> = live.iter().filter(waits).collect();
    let more = parallel.saturating_sub(on_their_way).min(waiting.len());
    if let Some(last) = more.checked_sub(1).and_then(|last| waiting.get(last)) {
        next.mark = Mark::UpTo(last.key);
    }
    if waiting.is_empty() && on_their_way == 0 && !live.is_empty() {
        next.mark = Mark::All;
        next.enter(Stage::Watching);
    }
}

/// Those that have switched go back, so many at a time.
fn bring_back(next: &mut Progress, view: &View<'_>, live: &[&Member]) {
    let is_underway = |one: &&&Member| next.mark.lets(&one.key) && !one.is_back;
    let on_their_way = live.iter().filter(is_underway).count();
    let parallel = view.plan.rules.parallel(live.len(), view.is_graceful);
    let waits = |one: &&&Member| !next.mark.lets(&one.key) && !one.is_back;
    let waiting: Vec<_> = live.iter().filter(waits).collect();
    let more = parallel.saturating_sub(on_their_way).min(waiting.len());
    if let Some(last) = more.checked_sub(1).and_then(|last| waiting.get(last)) {
        next.mark = Mark::UpTo(last.key);
    }
    if waiting.is_empty() && on_their_way == 0 {
        next.mark = Mark::All;
        next.enter(Stage::Reverted);
    }
}

/// All have gone, and are watched. One that goes astray for a moment does not make it longer: what is
/// wrong with it for long is a failure.
fn watch(next: &mut Progress, view: &View<'_>, live: &[&Member]) {
    let is_over = next.is_steady(true, view.passed, view.plan.rules.watch_for.0);
    if is_over && live.iter().all(|one| one.is_over()) {
        next.enter(Stage::Done);
    }
}

#[cfg(test)]
#[path = "conduct_tests.rs"]
mod tests;
