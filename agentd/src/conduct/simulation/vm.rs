//! A machine with its agent: the real cores, and made-up processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deploy::Timestamp;
use deploy::id::Id;
use deploy::release::Release;
use deploy::report::{Agent, Ending, Failure, Outcome, Phase, Report, Version};

use super::super::{Core, Direction, Pace, direct};
use crate::switch::{self, Exit, Machine, Record, Retained, RunId, VersionId};

/// One machine.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) name: String,
    pub(super) core: Core,
    pub(super) machine: Machine,
    /// Counts the agent's lives, and the machine's.
    pub(super) life: u32,
    pub(super) boot: u32,
    /// The agent lives.
    pub(super) is_up: bool,
    /// The machine is gone for good.
    pub(super) is_gone: bool,
    pub(super) cut_off_until: Duration,
    /// When something was amiss with it last: nothing is demanded of it for a while.
    pub(super) troubled: Option<Duration>,
    pub(super) joined: Duration,
    /// By how much its clock is wrong, in seconds.
    pub(super) skew: i64,
    pub(super) seen_release: Option<Arc<Release>>,
    pub(super) waits: Option<(u64, bool)>,
    pub(super) outcomes: Vec<Outcome>,
    last_failure: Option<Failure>,
    /// The processes that run, by version.
    pub(super) up: BTreeMap<VersionId, RunId>,
    pub(super) releases: BTreeMap<VersionId, Arc<Release>>,
    pub(super) runs_begun: u64,
    pub(super) steered: Option<VersionId>,
    pub(super) unwell: Option<VersionId>,
    /// What it has written, or is about to.
    pub(super) told: Option<Report>,
    pub(super) is_writing: bool,
    pub(super) is_looking: bool,
    /// How often it has begun to switch to each release.
    pub(super) begun: BTreeMap<u64, u32>,
    /// When the bucket had it first that a release failed here, and that one was good.
    pub(super) failed_at: BTreeMap<u64, Duration>,
    pub(super) good_at: BTreeMap<u64, Duration>,
}

impl Vm {
    pub(super) fn new(index: usize, now: Duration, skew: i64) -> Self {
        let name = format!("app-{index}");
        Self {
            core: Core::new(name.clone(), life_id(&name, 0), Pace::PAID),
            name,
            machine: Machine::new(Retained::default(), 0),
            life: 0,
            boot: 0,
            is_up: true,
            is_gone: false,
            cut_off_until: Duration::ZERO,
            troubled: None,
            joined: now,
            skew,
            seen_release: None,
            waits: None,
            outcomes: Vec::new(),
            last_failure: None,
            up: BTreeMap::new(),
            releases: BTreeMap::new(),
            runs_begun: 0,
            steered: None,
            unwell: None,
            told: None,
            is_writing: false,
            is_looking: false,
            begun: BTreeMap::new(),
            failed_at: BTreeMap::new(),
            good_at: BTreeMap::new(),
        }
    }

    /// What its clock says.
    pub(super) fn wall(&self, now: Duration) -> Timestamp {
        let now = i64::try_from(now.as_millis()).expect("it is soon");
        Timestamp::from_millisecond(1_800_000_000_000 + self.skew * 1_000 + now).expect("a time")
    }

    /// Whether anything can be demanded of it: it has been well for long enough to be known.
    pub(super) fn is_sound(&self, now: Duration) -> bool {
        let has_been = |since: Duration| now.saturating_sub(since) > Duration::from_secs(150);
        self.is_up
            && !self.is_gone
            && self.cut_off_until <= now
            && self.troubled.is_none_or(has_been)
    }

    /// The agent dies: what it knows of the rollout is gone, and what the switch core had stays.
    pub(super) fn die(&mut self, now: Duration) {
        self.life += 1;
        self.is_up = false;
        self.troubled = Some(now);
        self.is_writing = false;
        self.is_looking = false;
    }

    /// The next agent.
    pub(super) fn revive(&mut self, now: Duration) {
        self.core = Core::new(self.name.clone(), life_id(&self.name, self.life), Pace::PAID);
        (self.is_up, self.waits, self.seen_release, self.told) = (true, None, None, None);
        self.troubled = Some(now);
    }

    /// The machine starts anew: no process is left.
    pub(super) fn reboot(&mut self, now: Duration) -> Vec<switch::Action> {
        self.boot += 1;
        let retained = self.machine.retained();
        self.machine = Machine::new(retained, self.runs_begun);
        self.up.clear();
        (self.steered, self.unwell) = (None, None);
        self.die(now);
        self.revive(now);
        self.machine.begin()
    }

    /// What it is to do now.
    pub(super) fn direction(&self) -> Option<Direction> {
        direct(&self.core, &self.machine)
    }

    /// The release that new connections go to, where a process takes them.
    pub(super) fn serving(&self) -> Option<&Arc<Release>> {
        let version = self.steered.filter(|version| self.up.contains_key(version))?;
        self.releases.get(&version)
    }

    pub(super) fn outcome(&mut self, release: u64) -> &mut Outcome {
        if let Some(index) = self.outcomes.iter().position(|outcome| outcome.release == release) {
            return &mut self.outcomes[index];
        }
        let (switched, ended, note, reverted) = (None, None, None, None);
        self.outcomes.push(Outcome { release, switched, ended, note, reverted });
        self.outcomes.last_mut().expect("one was pushed")
    }

    /// The same as the agent does with it.
    pub(super) fn record(&mut self, at: Timestamp, record: Record) {
        match record {
            Record::Switched { release, note } => {
                let outcome = self.outcome(release);
                if outcome.ended.is_none() {
                    (outcome.switched, outcome.note) = (Some(at), note);
                }
            }
            Record::Done { release } => self.outcome(release).ended = Some(Ending::Done),
            Record::Failed { release, stage, message, exit, .. } => {
                let Exit { code: exit_code, signal, .. } = exit;
                let last_lines = Vec::new();
                let failure =
                    Failure { release, at, stage, message, exit_code, signal, last_lines };
                self.last_failure = Some(failure.clone());
                self.outcome(release).ended.get_or_insert(Ending::Failed(failure));
            }
            Record::Crashed { .. } => {}
        }
    }

    /// The same as the agent says of itself.
    pub(super) fn report(&self, now: Duration) -> Report {
        let snapshot = self.machine.snapshot();
        let is_coming = self.waits.is_some_and(|(_, is_there)| !is_there);
        let phase = match snapshot.phase {
            Phase::Serving | Phase::Idle if is_coming => Phase::Fetching,
            phase => phase,
        };
        let version = |view: switch::VersionView| Version {
            release: view.release,
            pid: 1,
            started: Timestamp::UNIX_EPOCH,
            restarts: view.restarts,
            status: None,
            unwell: (self.unwell == Some(view.id)).then(|| "/health answers 500".to_owned()),
        };
        let serving = snapshot.serving.filter(|view| self.up.contains_key(&view.id));
        Report {
            instance: self.name.clone(),
            written: self.wall(now),
            agent: Agent {
                pid: 1,
                launcher: None,
                version: "1".to_owned(),
                started: Timestamp::UNIX_EPOCH,
                digest: None,
                update: None,
                bad: Vec::new(),
            },
            looked: None,
            addresses: Vec::new(),
            seen: self.seen_release.as_ref().map(|release| release.number),
            waits: self.waits.filter(|(_, is_there)| *is_there).map(|(number, _)| number),
            phase,
            serving: serving.map(version),
            draining: Vec::new(),
            outcomes: self.outcomes.clone(),
            left: None,
            crash_loop: snapshot
                .crash_loop
                .map(|it| deploy::report::CrashLoop { crashes: it.crashes, next_start: None }),
            last_failure: self.last_failure.clone(),
        }
    }
}

fn life_id(name: &str, life: u32) -> Id {
    Id::fixed(format!("{name} life {life}"))
}
