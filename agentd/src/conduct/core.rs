//! The decisions: whom to follow, when to conduct, what to write. Pure.

#![deny(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Duration;

use deploy::Timestamp;
use deploy::desired_agent::order_key;
use deploy::id::Id;
use deploy::release::Release;
use deploy::report::Report;
use deploy::rollout::course::order_of;
use deploy::rollout::progress::{BEAT_EVERY, LEASE};
use deploy::rollout::{Course, Lease, Plan, Progress, Stage, View, conduct, course};
use deploy::state::State;
use deploy::store::{Expect, Generation};

use super::fleet::Fleet;

/// A moment on the kernel's monotonic clock.
pub type Time = Duration;

/// For each instance that there is, those who would begin a rollout spread over so much more time:
/// most others find that the first of them has begun.
const SPREAD_PER_INSTANCE: Duration = Duration::from_millis(20);

/// The longest that anybody waits before it begins a rollout.
const SPREAD_MAX: Duration = Duration::from_secs(60);

/// After a write of which nobody knows whether it came through, or that somebody else forestalled.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How often the conductor looks at the fleet at the most, once all have switched.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// A look has an answer by then, or none comes.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// How often to ask, by what the store bears.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks of the conductor at the fleet.
    pub list: Duration,
    /// Between two looks of everybody else at how far it is.
    pub look: Duration,
    /// The least between two writes of one object.
    pub write: Duration,
}

impl Pace {
    /// Where the store tells of changes by itself, and a look costs nothing.
    pub const FREE: Self = Self {
        list: Duration::from_millis(100),
        look: Duration::from_millis(100),
        write: Duration::ZERO,
    };

    /// Where each question is paid for, and an object bears one write a second.
    pub const PAID: Self = Self {
        list: Duration::from_secs(1),
        look: Duration::from_secs(1),
        write: Duration::from_secs(1),
    };

    /// The same for a fleet of that size: a large one asks less often.
    pub fn of(self, instances: usize) -> Self {
        let instances = u32::try_from(instances).unwrap_or(u32::MAX);
        let slower = |pace: Duration, per: u32| (pace * (instances / per).clamp(1, 10)).max(pace);
        Self { list: slower(self.list, 200), look: slower(self.look, 1_000), write: self.write }
    }
}

/// While a release is on its way through the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolling {
    /// How often to ask for news.
    pub look: Duration,
    /// How often to report at least: others must see that this one lives.
    pub report: Duration,
}

/// How often an instance reports while a release is on its way.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The newest state.
    State(Arc<State>),
    /// What lies at [`deploy::layout::ROLLOUT`].
    Seen(Generation, Box<Progress>),
    /// Nothing lies there.
    Absent,
    /// The reports of all instances.
    Listed(Vec<Report>),
    /// They could not be listed.
    ListFailed,
    /// What became of this write.
    Written(Box<Progress>, Written),
    /// Time has passed.
    Tick,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It came through.
    Done(Generation),
    /// Somebody else has written; or this one did, and its answer was lost.
    Lost,
    /// Nobody knows.
    Unknown,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Read all instances' reports: [`Event::Listed`] or [`Event::ListFailed`].
    List,
    /// Look at once how far it is: [`Event::Seen`] or [`Event::Absent`], or nothing where that fails.
    Look,
    /// Write this: [`Event::Written`].
    Write(Box<Progress>, Expect),
}

/// This instance's part.
#[derive(Debug)]
pub struct Core {
    name: String,
    life: Id,
    pace: Pace,
    state: Option<Arc<State>>,
    /// Kept from one time that this one conducts to the next: since when somebody is silent.
    fleet: Fleet,
    /// The newest that is known of, of whichever release.
    seen: Option<(Generation, Progress)>,
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// Somebody else conducts, or is to begin. If nothing is heard until then, this one does.
    Following { until: Time },
    /// It looks once more whether somebody conducts. If nothing is heard until then, it looks again.
    Looking { until: Time },
    /// Its first word is on its way.
    Taking { beat: u64 },
    /// It conducts.
    Conducting(Box<Conducting>),
}

#[derive(Debug)]
struct Conducting {
    /// As it was decided last, written or not.
    progress: Progress,
    decided: Time,
    /// None: a listing is under way.
    list_at: Option<Time>,
    /// The beat of the write that is under way.
    writing: Option<u64>,
    write_from: Time,
    beat_at: Time,
    /// Another has written, or this one and the answer was lost: it is to be seen which.
    must_look: bool,
}

impl Core {
    /// The core of the instance `name`, in the life `life` of its agent.
    pub fn new(name: impl Into<String>, life: Id, pace: Pace) -> Self {
        let role = Role::Following { until: Time::ZERO };
        let fleet = Fleet::default();
        Self { name: name.into(), life, pace, state: None, fleet, seen: None, role }
    }

    /// What this instance is to run, if there is a release. `aimed` is the release that it is told to
    /// run already, and `serving` the one that serves, or will whatever is said.
    pub fn course(&self, aimed: Option<&Id>, serving: Option<(&Id, u64)>) -> Option<Course<'_>> {
        course(self.state.as_ref()?, self.progress(), &self.name, aimed, serving)
    }

    /// The newest state that was seen.
    pub fn state(&self) -> Option<&State> {
        self.state.as_deref()
    }

    /// Whether the newest release is on its way through the fleet, as far as is known.
    pub fn is_active(&self) -> bool {
        let Some((release, _)) = self.release() else { return false };
        match &self.seen {
            // This one's view of the state is old.
            Some((_, seen)) if seen.number > release.number => false,
            Some((_, seen)) if seen.release == release.id => !seen.has_ended(self.order()),
            _ => true,
        }
    }

    /// How often to look how far it is, and to say that this one lives, while it is on its way.
    pub fn rolling(&self) -> Option<Rolling> {
        let (_, plan) = self.release().filter(|_| self.is_active())?;
        // A word may be late, or get lost.
        let report = (plan.rules.stale_after.0 / 3).min(REPORT_EVERY);
        Some(Rolling { look: self.pace.of(plan.instances as usize).look, report })
    }

    /// When to call [`Self::step`] with a tick at the latest.
    pub fn wake_at(&self) -> Option<Time> {
        if !self.is_active() {
            return None;
        }
        match &self.role {
            Role::Following { until } | Role::Looking { until } => Some(*until),
            Role::Taking { .. } => None,
            Role::Conducting(it) => {
                let beat = it.writing.is_none().then(|| it.beat_at.max(it.write_from));
                let word = it.writing.is_none().then_some(it.write_from);
                let word = word.filter(|_| self.has_news(it));
                it.list_at.into_iter().chain(beat).chain(word).min()
            }
        }
    }

    /// Takes one event and decides. `wall` is for people to read.
    pub fn step(&mut self, now: Time, wall: Timestamp, event: Event) -> Vec<Action> {
        let was_looking = matches!(self.role, Role::Looking { .. });
        match event {
            Event::State(state) => self.see_state(now, state),
            Event::Seen(generation, progress) => {
                self.see(now, generation, *progress);
                // Nobody has taken it since.
                let is_looking = was_looking && matches!(self.role, Role::Looking { .. });
                if is_looking && self.is_active() {
                    return self.take();
                }
            }
            Event::Absent => {
                // Somebody has taken it away, if it was there.
                let is_conducting = matches!(self.role, Role::Conducting(_));
                if was_looking || is_conducting {
                    self.seen = None;
                }
                if is_conducting {
                    self.role = Role::Following { until: now };
                } else if was_looking && self.is_active() {
                    return self.take();
                }
            }
            Event::Listed(reports) => self.listed(now, wall, reports),
            Event::ListFailed => {
                if let Role::Conducting(it) = &mut self.role {
                    it.list_at = Some(now + self.pace.list.max(AFTER_FAILURE));
                }
            }
            Event::Written(progress, written) => self.written(now, *progress, written),
            Event::Tick => {}
        }
        self.act(now)
    }

    fn release(&self) -> Option<(&Release, &Plan)> {
        let release = self.state.as_ref()?.release.as_ref()?;
        Some((release, release.rollout.as_ref()?))
    }

    fn order(&self) -> Option<&deploy::rollout::Order> {
        self.state.as_deref().and_then(order_of)
    }

    /// How far the newest release is, if somebody has said so.
    pub fn progress(&self) -> Option<&Progress> {
        let (release, _) = self.release()?;
        let (_, progress) = self.seen.as_ref()?;
        (progress.release == release.id).then_some(progress)
    }

    fn see_state(&mut self, now: Time, state: Arc<State>) {
        let id = |core: &Self| core.release().map(|(release, _)| release.id.clone());
        let before = (id(self), self.is_active());
        self.state = Some(state);
        // Another release, or somebody has ordered one on that had ended.
        if self.is_active() && before != (id(self), true) {
            self.role = Role::Following { until: now + self.spread() };
        }
    }

    /// How long this one leaves it to others to begin.
    fn spread(&self) -> Duration {
        let Some((release, plan)) = self.release() else { return Duration::ZERO };
        let all = (SPREAD_PER_INSTANCE * plan.instances).min(SPREAD_MAX);
        all.mul_f64(self.share_of(&release.id))
    }

    /// A number from 0 to 1 that is this instance's own, and another for every release.
    fn share_of(&self, release: &Id) -> f64 {
        // Not its place in the order: the canary has enough to do.
        let key = order_key(release, &format!("conducts {}", self.name)).to_string();
        let first = u32::from_str_radix(&key[..8], 16).unwrap_or(0);
        f64::from(first) / f64::from(u32::MAX)
    }

    fn see(&mut self, now: Time, generation: Generation, progress: Progress) {
        if self.seen.as_ref().is_some_and(|(seen, _)| *seen >= generation) {
            return;
        }
        let is_own = progress.conductor.life == self.life;
        let is_current = self.release().is_some_and(|(release, _)| release.id == progress.release);
        self.seen = Some((generation, progress.clone()));
        match &mut self.role {
            // Of an earlier release: that says nothing of who conducts this one.
            _ if !is_current => {}
            // The answer to its write was lost, or comes later.
            Role::Conducting(it) if is_own => {
                if it.writing.is_some_and(|beat| beat <= progress.conductor.beat) {
                    it.writing = None;
                    (it.write_from, it.beat_at) = (now + self.pace.write, now + BEAT_EVERY);
                }
            }
            Role::Taking { .. } | Role::Following { .. } | Role::Looking { .. } if is_own => {
                self.conduct_from(now, progress);
            }
            _ => self.leave_it(now),
        }
    }

    /// Another is given the time of a lease.
    fn leave_it(&mut self, now: Time) {
        let share = self.release().map_or(0.0, |(release, _)| self.share_of(&release.id));
        let until = now + LEASE + (LEASE / 5).mul_f64(share);
        self.role = Role::Following { until };
    }

    fn conduct_from(&mut self, now: Time, progress: Progress) {
        self.fleet.forget_dues();
        self.role = Role::Conducting(Box::new(Conducting {
            progress,
            decided: now,
            list_at: Some(now),
            writing: None,
            write_from: now + self.pace.write,
            beat_at: now + BEAT_EVERY,
            must_look: false,
        }));
    }

    fn listed(&mut self, now: Time, wall: Timestamp, reports: Vec<Report>) {
        let Some((release, plan)) = self.state.as_deref().and_then(|state| {
            let release = state.release.as_ref()?;
            Some((release, release.rollout.as_ref()?))
        }) else {
            return;
        };
        let Role::Conducting(it) = &mut self.role else { return };
        self.fleet.update(now, reports);
        let list_every = self.pace.of(self.fleet.len()).list;
        let progress = it.progress.clone();
        let members = self.fleet.members(now, wall, &self.name, (release, plan), &progress);
        let view = View {
            plan,
            is_graceful: release.settings.graceful_shutdown,
            has_base: self.state.as_ref().is_some_and(|state| state.base.is_some()),
            order: self.state.as_deref().and_then(order_of),
            members: &members,
            passed: now.saturating_sub(it.decided),
            now: wall,
        };
        it.progress = conduct(&progress, &view);
        it.decided = now;
        // When all have switched nobody waits for the next step.
        let least = if it.progress.stage == Stage::Watching { WATCH_EVERY } else { Duration::ZERO };
        it.list_at = Some(now + list_every.max(least));
    }

    fn written(&mut self, now: Time, progress: Progress, written: Written) {
        let beat = progress.conductor.beat;
        match (&mut self.role, written) {
            // Also where this one has turned to something else: it is how far it is.
            (_, Written::Done(generation)) => self.see(now, generation, progress),
            (Role::Taking { beat: own }, written) if *own == beat => {
                match written == Written::Lost && self.progress().is_some() {
                    true => self.leave_it(now),
                    // What it was written over is not seen yet, or nobody knows.
                    false => {
                        let until = now + AFTER_FAILURE + self.spread();
                        self.role = Role::Following { until };
                    }
                }
            }
            (Role::Conducting(it), written) if it.writing == Some(beat) => match written {
                Written::Lost | Written::Unknown | Written::Done(_) => {
                    it.writing = None;
                    it.write_from = now + self.pace.write.max(AFTER_FAILURE);
                    it.must_look = written == Written::Lost;
                }
            },
            _ => {}
        }
    }

    fn has_news(&self, it: &Conducting) -> bool {
        self.progress().is_none_or(|written| !written.says_the_same(&it.progress))
    }

    fn act(&mut self, now: Time) -> Vec<Action> {
        if !self.is_active() {
            if !matches!(self.role, Role::Following { .. }) {
                self.leave_it(now);
            }
            return Vec::new();
        }
        match &self.role {
            Role::Following { until } | Role::Looking { until } if *until <= now => {
                self.role = Role::Looking { until: now + LOOK_WITHIN };
                vec![Action::Look]
            }
            Role::Following { .. } | Role::Looking { .. } | Role::Taking { .. } => Vec::new(),
            Role::Conducting(_) => self.go_on(now),
        }
    }

    /// Begins to conduct: a rollout that nobody has begun, or one whose conductor is gone.
    fn take(&mut self) -> Vec<Action> {
        let Some((release, plan)) = self.release() else { return Vec::new() };
        let before = self.seen.as_ref();
        let beat = before.map_or(0, |(_, before)| before.conductor.beat) + 1;
        let conductor = Lease { by: self.name.clone(), life: self.life.clone(), beat };
        let progress = match before {
            Some((_, before)) if before.release == release.id => {
                Progress { conductor, ..before.clone() }
            }
            _ => Progress::begin(release, plan, conductor),
        };
        let expect = before.map_or(Expect::Absent, |(seen, _)| Expect::Generation(*seen));
        self.role = Role::Taking { beat };
        vec![Action::Write(Box::new(progress), expect)]
    }

    fn go_on(&mut self, now: Time) -> Vec<Action> {
        let Some((generation, written)) = self.seen.clone() else { return Vec::new() };
        let Role::Conducting(it) = &mut self.role else { return Vec::new() };
        let mut actions = Vec::new();
        if std::mem::take(&mut it.must_look) {
            actions.push(Action::Look);
        }
        if it.list_at.is_some_and(|at| at <= now) {
            it.list_at = None;
            actions.push(Action::List);
        }
        let is_news = !written.says_the_same(&it.progress);
        if it.writing.is_none() && it.write_from <= now && (is_news || it.beat_at <= now) {
            let beat = written.conductor.beat + 1;
            it.writing = Some(beat);
            it.progress.conductor = Lease { beat, ..it.progress.conductor.clone() };
            it.progress.conductor.life = self.life.clone();
            it.progress.conductor.by = self.name.clone();
            let progress = Box::new(it.progress.clone());
            actions.push(Action::Write(progress, Expect::Generation(generation)));
        }
        actions
    }
}
