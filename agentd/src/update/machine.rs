//! The update core itself. See the module above for the way of a binary through it.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use deploy::Digest;
use deploy::desired_agent::{AgentBinary, DesiredAgent};
use deploy::id::Id;
use deploy::report::{AgentStage, AgentUpdate, BadAgent, UpdatePhase};
use serde::{Deserialize, Serialize};

use super::turn::{Neighbours, Turn};
use super::types::{Action, Event, FellBack, Home, Now, OWN_WORD_MAX};

/// How often the reports are listed by whoever is next. Those further back look as much more
/// rarely as they have to wait for more.
const LIST_EVERY: Duration = Duration::from_secs(2);

/// See [`LIST_EVERY`].
const LIST_EVERY_MAX: Duration = Duration::from_secs(60);

/// How often a binary is executed of which nothing is heard afterwards.
const ATTEMPTS_MAX: u32 = 3;

/// How many bad binaries are remembered.
const BAD_MAX: usize = 20;

/// What outlives the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Retained {
    wish: Option<DesiredAgent>,
    phase: Phase,
    bad: Vec<BadAgent>,
    /// The binary that has proved itself here last.
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<Digest>,
}

impl Retained {
    /// The agent that was wished last.
    pub fn wish(&self) -> Option<&DesiredAgent> {
        self.wish.as_ref()
    }
}

/// The update core of one instance.
#[derive(Debug)]
pub struct Machine {
    home: Home,
    kept: Retained,
    is_quiet: bool,
    neighbours: Neighbours,
    /// The number of the newest listing, and whether its outcome is yet to come.
    listing: (u32, bool),
    list_at: Option<Duration>,
    /// How often this instance has said that it is going.
    words: u32,
    own_word: Option<OwnWord>,
}

/// This instance has said that it is going.
#[derive(Clone, Copy, Debug)]
struct OwnWord {
    /// Since when that is known to be in the bucket.
    written: Duration,
    /// Only listings from this number on were begun after it.
    seen_from: u32,
}

/// A binary that is to run, and for which wish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Goal {
    update: Id,
    binary: AgentBinary,
    /// How often it was executed.
    attempts: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    /// Nothing is wished.
    #[default]
    Rest,
    Fetching(Goal),
    Checking(Goal),
    /// For its turn, and for the switch to rest.
    Waiting(Goal),
    /// It says so, and looks whether another does.
    Going(Goal),
    /// It is being executed.
    Leaving(Goal),
    /// It runs.
    Trial {
        goal: Goal,
        is_up: bool,
        has_looked: bool,
    },
    Good(Goal),
    Bad(Id),
    Halted(Goal),
}

impl Machine {
    /// The core of an agent that starts, by what an earlier life left, and the actions with which it
    /// begins. `fell_back` is what the launcher says, each time anew or only once.
    pub fn resume(
        now: Now,
        home: Home,
        kept: Retained,
        fell_back: Option<&FellBack>,
    ) -> (Self, Vec<Action>) {
        let mut machine = Self {
            home,
            kept,
            is_quiet: false,
            neighbours: Neighbours::default(),
            listing: (0, false),
            list_at: None,
            words: 0,
            own_word: None,
        };
        let mut actions = Vec::new();
        // The launcher may not have heard of it.
        if machine.kept.proven == Some(machine.home.running.digest) {
            actions.push(Action::SayGood(machine.home.running.digest));
        }
        let phase = std::mem::take(&mut machine.kept.phase);
        machine.come_back(now, phase, fell_back, &mut actions);
        (machine, actions)
    }

    /// What became of what an earlier life was in the middle of.
    fn come_back(
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

    /// Takes one event at `now` and decides.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Seen(wish) => self.seen(wish, &mut actions),
            Event::Fetched(digest) => {
                if let Phase::Fetching(goal) = &self.kept.phase
                    && goal.binary.digest == digest
                {
                    actions.push(Action::Check(goal.binary.clone()));
                    self.kept.phase = Phase::Checking(goal.clone());
                }
            }
            Event::Checked(digest) => {
                if let Phase::Checking(goal) = &self.kept.phase
                    && goal.binary.digest == digest
                {
                    self.kept.phase = Phase::Waiting(goal.clone());
                    self.list(&mut actions);
                }
            }
            Event::FetchFailed(digest, reason) => {
                if let Phase::Fetching(goal) = self.kept.phase.clone()
                    && goal.binary.digest == digest
                {
                    self.fail(now, &goal, AgentStage::Fetch, reason);
                }
            }
            Event::CheckFailed(digest, reason) => {
                if let Phase::Checking(goal) = self.kept.phase.clone()
                    && goal.binary.digest == digest
                {
                    self.fail(now, &goal, AgentStage::Check, reason);
                }
            }
            Event::ExecFailed(reason) => {
                if let Phase::Leaving(goal) = self.kept.phase.clone() {
                    self.mark(now, &goal, AgentStage::Trial, reason);
                    self.aim(0, &mut actions);
                }
            }
            Event::Quiet(is_quiet) => self.quiet(is_quiet, &mut actions),
            Event::Listed(number, listed) => self.listed(now, number, listed, &mut actions),
            Event::ListFailed(number) => {
                if self.listing == (number, true) {
                    self.listing.1 = false;
                    self.list_at = Some(now.since_start + LIST_EVERY);
                }
            }
            Event::Written(told) => self.written(now, told.as_ref(), &mut actions),
            Event::Up => {
                if let Phase::Trial { is_up, .. } = &mut self.kept.phase {
                    *is_up = true;
                }
                self.prove(&mut actions);
            }
            Event::Tick => {}
        }
        self.pass_time(now, &mut actions);
        actions
    }

    /// When to call [`Self::step`] with a tick at the latest.
    pub fn wake_at(&self) -> Option<Duration> {
        self.list_at.filter(|_| self.waits_for_turn() && !self.listing.1)
    }

    /// What must outlive this agent.
    pub fn retained(&self) -> &Retained {
        &self.kept
    }

    /// How far this instance is, for its report.
    pub fn view(&self) -> Option<AgentUpdate> {
        let (id, phase) = match &self.kept.phase {
            Phase::Rest => return None,
            Phase::Fetching(goal) => (&goal.update, UpdatePhase::Fetching),
            Phase::Checking(goal) => (&goal.update, UpdatePhase::Checking),
            Phase::Waiting(goal) => (&goal.update, UpdatePhase::Waiting),
            Phase::Going(goal) | Phase::Leaving(goal) => (&goal.update, UpdatePhase::Going),
            Phase::Trial { goal, .. } => (&goal.update, UpdatePhase::Trial),
            Phase::Good(goal) => (&goal.update, UpdatePhase::Good),
            Phase::Bad(id) => (id, UpdatePhase::Bad),
            Phase::Halted(goal) => (&goal.update, UpdatePhase::Halted),
        };
        let word = if phase == UpdatePhase::Going { self.words } else { 0 };
        Some(AgentUpdate { id: id.clone(), phase, word })
    }

    /// The binaries that did not do here, the newest last.
    pub fn bad(&self) -> &[BadAgent] {
        &self.kept.bad
    }

    /// The instance whose core it is.
    pub fn instance(&self) -> &str {
        &self.home.instance
    }

    /// The binary that runs.
    pub fn running(&self) -> &AgentBinary {
        &self.home.running
    }

    /// The binary that the instance was made with.
    pub fn installed(&self) -> &AgentBinary {
        &self.home.installed
    }

    fn seen(&mut self, wish: Option<DesiredAgent>, actions: &mut Vec<Action>) {
        let id = |wish: &Option<DesiredAgent>| wish.as_ref().map(|wish| wish.id.clone());
        let is_new = id(&wish) != id(&self.kept.wish);
        self.kept.wish = wish;
        match &mut self.kept.phase {
            Phase::Trial { has_looked, .. } => {
                *has_looked = true;
                self.prove(actions);
            }
            // What has begun to run is seen through.
            Phase::Leaving(_) => {}
            _ if is_new => self.aim(0, actions),
            _ => {}
        }
    }

    /// A binary on trial that is up and has looked is good; and by now another may be wished.
    fn prove(&mut self, actions: &mut Vec<Action>) {
        let Phase::Trial { goal, is_up: true, has_looked: true } = &self.kept.phase else { return };
        let goal = goal.clone();
        self.kept.proven = Some(goal.binary.digest);
        actions.push(Action::SayGood(goal.binary.digest));
        actions.push(Action::Prune(vec![goal.binary.digest]));
        self.kept.phase = Phase::Good(goal);
        self.aim(0, actions);
    }

    /// Begins what is wished, unless it is done, under way, or known not to do.
    fn aim(&mut self, attempts: u32, actions: &mut Vec<Action>) {
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

    fn fail(&mut self, now: Now, goal: &Goal, stage: AgentStage, reason: String) {
        self.mark(now, goal, stage, reason);
        self.kept.phase = Phase::Bad(goal.update.clone());
    }

    fn mark(&mut self, now: Now, goal: &Goal, stage: AgentStage, reason: String) {
        let AgentBinary { digest, version, .. } = goal.binary.clone();
        let excess = (self.kept.bad.len() + 1).saturating_sub(BAD_MAX);
        self.kept.bad.drain(..excess);
        let update = goal.update.clone();
        self.kept.bad.push(BadAgent { digest, version, update, at: now.clock, stage, reason });
    }

    fn waits_for_turn(&self) -> bool {
        matches!(self.kept.phase, Phase::Waiting(_) | Phase::Going(_))
    }

    /// The switch has come to rest, or begins.
    fn quiet(&mut self, is_quiet: bool, actions: &mut Vec<Action>) {
        let has_come = is_quiet && !self.is_quiet;
        self.is_quiet = is_quiet;
        match &self.kept.phase {
            // Others need not wait for this instance's switch.
            Phase::Going(goal) if !is_quiet => {
                self.kept.phase = Phase::Waiting(goal.clone());
                self.own_word = None;
            }
            Phase::Waiting(_) if has_come => self.list(actions),
            _ => {}
        }
    }

    fn written(&mut self, now: Now, told: Option<&AgentUpdate>, actions: &mut Vec<Action>) {
        if !matches!(self.kept.phase, Phase::Going(_)) || told != self.view().as_ref() {
            return;
        }
        let written = now.since_start;
        match &mut self.own_word {
            Some(word) => word.written = written,
            None => {
                // A listing that is under way was begun before.
                self.own_word = Some(OwnWord { written, seen_from: self.listing.0 + 1 });
                self.list(actions);
            }
        }
    }

    fn list(&mut self, actions: &mut Vec<Action>) {
        self.listing = (self.listing.0 + 1, true);
        self.list_at = None;
        actions.push(Action::List(self.listing.0));
    }

    fn pass_time(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.wake_at().is_some_and(|at| at <= now.since_start) {
            self.list(actions);
        }
    }

    fn listed(
        &mut self,
        now: Now,
        number: u32,
        listed: Vec<super::types::Neighbour>,
        actions: &mut Vec<Action>,
    ) {
        if self.listing != (number, true) {
            return;
        }
        self.listing.1 = false;
        self.neighbours.update(now.since_start, &self.home.instance, listed);
        let (goal, goes) = match &self.kept.phase {
            Phase::Waiting(goal) => (goal.clone(), false),
            Phase::Going(goal) => (goal.clone(), true),
            _ => return,
        };
        let turn = self.neighbours.turn(now.since_start, &self.home.instance, &goal.update);
        self.list_at = Some(now.since_start + pause(turn));
        let has_word = self.own_word.is_some_and(|word| {
            number >= word.seen_from && now.since_start.saturating_sub(word.written) <= OWN_WORD_MAX
        });
        self.kept.phase = match (turn, goes) {
            (Turn::Halted, _) => Phase::Halted(goal),
            (Turn::Mine, false) if self.is_quiet => {
                self.words += 1;
                Phase::Going(goal)
            }
            (Turn::Mine, true) if has_word => {
                let goal = Goal { attempts: goal.attempts + 1, ..goal };
                actions.push(Action::Exec(goal.binary.clone()));
                Phase::Leaving(goal)
            }
            // It holds on to its word until the other has stepped back or is through.
            (Turn::Mine | Turn::Taken { by_earlier: false, .. }, true) => Phase::Going(goal),
            (Turn::Taken { by_earlier: true, .. } | Turn::After(_), true)
            | (Turn::Mine | Turn::Taken { .. } | Turn::After(_), false) => Phase::Waiting(goal),
        };
        if !matches!(self.kept.phase, Phase::Going(_)) {
            self.own_word = None;
        }
    }
}

/// How long until the next listing: those further back have nothing to do for longer.
fn pause(turn: Turn) -> Duration {
    let before = match turn {
        Turn::After(before) | Turn::Taken { before, .. } => before,
        Turn::Mine | Turn::Halted => 1,
    };
    let before = u32::try_from(before.max(1)).unwrap_or(u32::MAX);
    LIST_EVERY.saturating_mul(before).min(LIST_EVERY_MAX)
}
