//! What must hold, whatever happens.

use std::time::Duration;

use deploy::desired_agent::order_key;
use deploy::release::Release;
use deploy::report::{Ending, Report};
use deploy::rollout::{Limit, OnFailure, Progress, Stage, Verb};

use super::Temper;
use super::world::World;

impl World {
    pub(super) fn broken(&self, rule: &str) -> ! {
        let rollout = self.bucket.rollout.as_ref().map(|(_, progress)| progress);
        panic!(
            "seed {}, at {:?}: {rule}\n{:?}\n{rollout:#?}\nrun it alone with SEED={}",
            self.plot.seed, self.now, self.plot, self.plot.seed
        );
    }

    /// How long a rollout that nothing disturbs any more may take.
    pub(super) fn patience(&self) -> Duration {
        let rules = &self.plot.rules;
        let parallel = rules.parallel(self.vms.len(), self.plot.is_graceful);
        let batches = self.vms.len().div_ceil(parallel) + 2;
        let one = Duration::from_secs(40);
        let silent = rules.stale_after.0 * 3;
        rules.bake.0 + rules.watch_for.0 + silent + one * batches as u32 + Duration::from_secs(120)
    }

    /// How the rollouts ended.
    pub(super) fn ends(&self) -> impl Iterator<Item = &'static str> {
        self.stages.values().map(|stage| stage.word())
    }

    fn limit(&self, limit: Limit) -> usize {
        limit.of(self.vms_max)
    }

    /// This machine begins to switch to the newest release.
    pub(super) fn check_beginning(&self, vm: usize, release: &Release) {
        let it = &self.vms[vm];
        let Some(plan) = release.rollout.as_ref().filter(|plan| !plan.now) else { return };
        let Some(progress) = it.core.progress() else {
            self.broken("it begins, and nobody has let it");
        };
        if progress.stage.is_proven() {
            return;
        }
        if !progress.mark.lets(&order_key(&release.id, &it.name)) {
            self.broken("it begins, and it is not its turn");
        }
        if self.bucket.state.release.as_ref().is_some_and(|newest| newest.id == release.id)
            && it.begun[&release.number] > 1 + it.boot + it.life
        {
            self.broken("it begins more than once");
        }
        if self.plot.is_quick {
            return;
        }
        // Those of which the conductor can know, and that it can count on.
        let published = self.published[&release.number];
        let on_their_way = self.vms.iter().filter(|one| {
            let outcome = one.outcomes.iter().find(|outcome| outcome.release == release.number);
            one.is_sound(self.now)
                && one.joined < published
                && one.begun.contains_key(&release.number)
                && outcome.is_none_or(|it| it.ended.is_none() && it.reverted.is_none())
        });
        let canaries = self.limit(plan.rules.canary);
        let parallel = plan.rules.parallel(self.vms_max, self.plot.is_graceful);
        let allowed = match progress.stage {
            Stage::Canary => canaries,
            _ => canaries.max(parallel),
        };
        // One that was passed over has another in its place.
        let unsound = self.vms.iter().filter(|one| !one.is_sound(self.now)).count();
        if on_their_way.count() > allowed + unsound {
            self.broken("more are on their way than the rules allow");
        }
    }

    /// A conductor has written how far it is.
    pub(super) fn check_write(
        &mut self,
        before: Option<&Progress>,
        after: &Progress,
        listed: Option<Duration>,
    ) {
        let by = &after.conductor.by;
        self.say(|| {
            format!(
                "{by} writes: v{} {:?} {:?} {:?} beat {} {:?}",
                after.number,
                after.stage,
                after.mark,
                after.steady_ms,
                after.conductor.beat,
                after.halt.as_ref().map(|halt| &halt.message)
            )
        });
        self.stages.insert(after.number, after.stage);
        if let Some(before) = before {
            if before.number > after.number {
                self.broken("an older release takes the place of a newer one");
            }
            let is_over = |stage| matches!(stage, Stage::Done | Stage::Reverted);
            if before.number == after.number && is_over(before.stage) {
                self.broken("a rollout that has ended goes on");
            }
            if before.number == after.number
                && before.mark > after.mark
                && (before.stage == Stage::Reverting) == (after.stage == Stage::Reverting)
            {
                self.broken("the mark goes back");
            }
        }
        if !matches!(after.stage, Stage::Rolling | Stage::Watching | Stage::Done) {
            return;
        }
        let Some(release) = self.newest().filter(|newest| newest.id == after.release) else {
            return;
        };
        let plan = release.rollout.as_ref().expect("every release here has one");
        // What this conductor has seen.
        let Some(listed) = listed else { return };
        let failed = self.vms.iter().filter(|one| {
            let stored = self.bucket.stored(&one.name);
            let outcome = stored.and_then(|report| report.outcome(after.number));
            let is_failed = outcome.is_some_and(|it| matches!(it.ended, Some(Ending::Failed(_))));
            let was_seen = one.failed_at.get(&after.number).is_some_and(|at| *at <= listed);
            is_failed && was_seen && !after.forgiven.contains(&one.name)
        });
        let is_news =
            before.is_none_or(|before| before.stage != after.stage || before.mark != after.mark);
        if is_news && failed.count() > plan.rules.max_failures as usize {
            self.broken("it goes on past what has failed");
        }
        let before = before.filter(|before| before.release == after.release);
        let leaves_canary = before.is_some_and(|before| before.stage == Stage::Canary)
            && after.stage != Stage::Canary
            && after.order == before.and_then(|before| before.order.clone());
        if leaves_canary && !self.plot.has_faults {
            let ripe = |since: &Duration| *since + plan.rules.bake.0 <= self.now;
            let baked =
                self.vms.iter().filter(|one| one.good_at.get(&after.number).is_some_and(ripe));
            let failed = plan.rules.max_failures as usize;
            if baked.count() + failed < plan.rules.canary.of(self.vms.len()) {
                self.broken("the others follow before the first are baked");
            }
        }
    }

    /// The bucket has this report.
    pub(super) fn note_outcomes(&mut self, vm: usize, report: &Report) {
        for outcome in &report.outcomes {
            let at = match &outcome.ended {
                Some(Ending::Failed(_)) => &mut self.vms[vm].failed_at,
                Some(Ending::Done) => &mut self.vms[vm].good_at,
                None => continue,
            };
            at.entry(outcome.release).or_insert(self.now);
        }
    }

    /// After each step of a machine.
    pub(super) fn check_capacity(&self) {
        if self.plot.has_faults || self.plot.may_be_bad || self.plot.is_quick {
            return;
        }
        // Nothing is amiss: capacity is what the rules leave.
        let first_is_there = self.stages.get(&1).is_some_and(|stage| stage.is_proven());
        if !first_is_there || self.plot.publishes == 1 {
            return;
        }
        let release = self.newest().and_then(|release| release.rollout.as_ref());
        let is_now = release.is_some_and(|plan| plan.now);
        let down = self.vms.iter().filter(|one| one.serving().is_none()).count();
        let rules = &self.plot.rules;
        let allowed = match self.plot.is_graceful {
            true => 0,
            false if is_now => return,
            // One that a newer release finds without its old version goes on.
            false => {
                self.limit(rules.canary).max(rules.parallel(self.vms_max, false))
                    * (self.published.len() - 1)
            }
        };
        if down > allowed {
            self.broken("more are down than the rules allow");
        }
    }

    /// At the end, long after the last disturbance.
    pub(super) fn check_end(&self) {
        let Some(newest) = self.newest() else { self.broken("nothing was published") };
        let Some((_, progress)) = &self.bucket.rollout else { self.broken("nobody has conducted") };
        let (number, rules) = (newest.number, &self.plot.rules);
        let is_paused = self
            .bucket
            .state
            .order
            .as_ref()
            .is_some_and(|order| order.release == newest.id && order.verb == Verb::Pause);
        if progress.number != number {
            self.broken("nobody has conducted the newest release");
        }
        let sound: Vec<_> = self.vms.iter().filter(|one| one.is_up && !one.is_gone).collect();
        if sound.is_empty() {
            return;
        }
        if progress.stage.is_underway() {
            match is_paused {
                true => return,
                false => self.broken("the rollout does not end"),
            }
        }
        let base = self.bucket.state.base.as_ref().map(|base| base.release.number);
        let aims_at =
            |vm: &super::vm::Vm| vm.machine.snapshot().serving.map(|version| version.release);
        match progress.stage {
            Stage::Reverted => {
                // Where the base had failed, and might, what was before it serves.
                let has_failed =
                    |one: &super::vm::Vm| one.failed_at.keys().any(|number| Some(*number) == base);
                if sound.iter().any(|one| aims_at(one) != base && !has_failed(one)) {
                    self.broken("it was taken back, and somebody runs it");
                }
            }
            Stage::Done => {
                // One that came back when it was done has tried it by itself.
                let was_late = |one: &super::vm::Vm| {
                    one.troubled.is_some() && one.failed_at.contains_key(&number)
                };
                let astray = sound.iter().filter(|one| aims_at(one) != Some(number));
                let astray = astray.filter(|one| !was_late(one)).count();
                if astray > rules.max_failures as usize + progress.forgiven.len() {
                    self.broken("it is done, and somebody does not run it");
                }
            }
            Stage::Halted => {
                let may_halt = rules.on_failure == OnFailure::Halt || base.is_none();
                if !may_halt {
                    self.broken("it was to be taken back");
                }
            }
            _ => self.broken("it ends in no known way"),
        }
        // What cannot serve anywhere is not taken for good.
        let temper = self.tempers[&number];
        let is_hopeless = matches!(temper, Temper::ExitsAtOnce | Temper::NeverReady);
        if is_hopeless && progress.stage == Stage::Done && progress.forgiven.is_empty() {
            self.broken("what never serves is done");
        }
        if temper == Temper::Good
            && !self.plot.has_faults
            && !self.plot.has_orders
            && progress.stage != Stage::Done
        {
            self.broken("a good release does not get through");
        }
    }
}
