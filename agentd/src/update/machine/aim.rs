//! What to aim at: by what is wished, what runs, and what is known not to do.

use deploy::Digest;
use deploy::desired_agent::{AgentBinary, DesiredAgent};
use deploy::report::{AgentStage, BadAgent};

use super::super::types::{Action, FellBack, Now};
use super::{Goal, Machine, Phase};

/// How often a binary is executed of which nothing is heard afterwards.
const ATTEMPTS_MAX: u32 = 3;

/// How many bad binaries are remembered.
const BAD_MAX: usize = 20;

impl Machine {
    /// What became of what an earlier life was in the middle of.
    pub(super) fn come_back(
        &mut self,
        now: Now,
        phase: Phase,
        fell_back: Option<&FellBack>,
        actions: &mut Vec<Action>,
    ) {
        let went_back = |goal: &Goal| fell_back.filter(|fell| fell.digest == goal.binary.digest);
        let runs = |goal: &Goal| goal.binary.digest == self.home.running.digest;
        match phase {
            Phase::Leaving(goal) | Phase::Trial { goal, .. } if runs(&goal) => {
                self.kept.phase = Phase::Trial { goal, is_up: false, has_looked: false };
            }
            Phase::Leaving(goal) | Phase::Trial { goal, .. } | Phase::Good(goal)
                if went_back(&goal).is_some() =>
            {
                let reason = went_back(&goal).map(|fell| fell.reason.clone()).unwrap_or_default();
                self.mark(now, &goal, AgentStage::Trial, reason);
                self.aim(0, actions);
            }
            Phase::Trial { goal, .. } => {
                let reason = "the one before was started in its place".to_owned();
                self.mark(now, &goal, AgentStage::Trial, reason);
                self.aim(0, actions);
            }
            // It died on the way, before the launcher knew of it or just after.
            Phase::Leaving(goal) if goal.attempts >= ATTEMPTS_MAX => {
                let reason = format!("executed {} times, it never came up", goal.attempts);
                self.mark(now, &goal, AgentStage::Trial, reason);
                self.aim(0, actions);
            }
            Phase::Fetching(goal)
            | Phase::Checking(goal)
            | Phase::Waiting(goal)
            | Phase::Going(goal)
            | Phase::Leaving(goal) => self.aim(goal.attempts, actions),
            Phase::Halted(goal) => {
                self.kept.phase = Phase::Halted(goal);
                self.aim(0, actions);
            }
            Phase::Rest | Phase::Good(_) | Phase::Bad(_) => self.aim(0, actions),
        }
    }

    /// Begins what is wished, unless it is done, under way, or known not to do.
    pub(super) fn aim(&mut self, attempts: u32, actions: &mut Vec<Action>) {
        let Some(wish) = &self.kept.wish else {
            self.kept.phase = Phase::Rest;
            return;
        };
        let binary = wish.binaries.get(&self.home.arch).unwrap_or(&self.home.installed).clone();
        let goal = Goal { update: wish.id.clone(), binary, attempts };
        let is_halted =
            |phase: &Phase| matches!(phase, Phase::Halted(halted) if halted.update == goal.update);
        self.own_word = None;
        self.list_at = None;
        self.kept.phase = match &self.kept.phase {
            _ if goal.binary.digest == self.home.running.digest => Phase::Good(goal),
            _ if self.is_marked(wish, &goal.binary.digest) => Phase::Bad(goal.update),
            phase if is_halted(phase) => Phase::Halted(goal),
            _ => {
                actions.push(Action::Fetch(goal.binary.clone()));
                Phase::Fetching(goal)
            }
        };
    }

    fn is_marked(&self, wish: &DesiredAgent, digest: &Digest) -> bool {
        self.kept
            .bad
            .iter()
            .filter(|bad| bad.digest == *digest)
            .any(|bad| bad.update == wish.id || (bad.stage != AgentStage::Fetch && !wish.retry))
    }

    pub(super) fn fail(&mut self, now: Now, goal: &Goal, stage: AgentStage, reason: String) {
        self.mark(now, goal, stage, reason);
        self.kept.phase = Phase::Bad(goal.update.clone());
    }

    pub(super) fn mark(&mut self, now: Now, goal: &Goal, stage: AgentStage, reason: String) {
        let AgentBinary { digest, version, .. } = goal.binary.clone();
        let excess = (self.kept.bad.len() + 1).saturating_sub(BAD_MAX);
        self.kept.bad.drain(..excess);
        let update = goal.update.clone();
        self.kept.bad.push(BadAgent { digest, version, update, at: now.clock, stage, reason });
    }
}
