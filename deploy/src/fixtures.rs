//! What several tests need.

use jiff::{SignedDuration, Timestamp};

use crate::Digest;
use crate::desired_agent::Wish;
use crate::id::Id;
use crate::release::{Artifact, Draft, Kind};
use crate::report::{Agent, Ending, Failure, Outcome, Phase, Report, Stage};
use crate::rollout::Plan;
use crate::settings::Settings;

/// A time, by the seconds since the tests' beginning.
pub(crate) fn at(seconds: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

pub(crate) fn artifact(content: &str) -> Artifact {
    Artifact { digest: Digest::of(content.as_bytes()), size: content.len() as u64 }
}

/// A deploy by `by`, whose id is `id`.
pub(crate) fn draft(id: &str, by: &str) -> Draft {
    Draft {
        id: Id::fixed(id),
        by: by.to_owned(),
        kind: Kind::Deploy,
        message: None,
        source: None,
        artifact: artifact(id),
        environment: None,
        settings: Settings::default(),
        rollout: Plan::default(),
    }
}

/// An instance that has seen `seen`, and remembers these outcomes.
pub(crate) fn report(seen: Option<u64>, phase: Phase, outcomes: Vec<Outcome>) -> Report {
    Report {
        instance: "app-1".to_owned(),
        written: at(1_000),
        looked: None,
        agent: Agent {
            pid: 1,
            launcher: None,
            version: "0.1.0".to_owned(),
            started: at(0),
            digest: None,
            update: None,
            bad: Vec::new(),
        },
        addresses: Vec::new(),
        seen,
        waits: None,
        phase,
        serving: None,
        draining: Vec::new(),
        outcomes,
        left: None,
        crash_loop: None,
        last_failure: None,
    }
}

pub(crate) fn outcome(release: u64, switched: Option<i64>, ended: Option<Ending>) -> Outcome {
    Outcome { release, switched: switched.map(at), ended, note: None, reverted: None }
}

pub(crate) fn failure(release: u64) -> Failure {
    Failure {
        release,
        at: at(0),
        stage: Stage::Ready,
        message: "it ended".to_owned(),
        exit_code: Some(1),
        signal: None,
        last_lines: Vec::new(),
    }
}

/// Somebody of the name `id` wants another agent.
pub(crate) fn wish(id: &str) -> Wish {
    Wish { id: Id::fixed(id), by: id.to_owned(), message: None, retry: false }
}

/// Random numbers that repeat: xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Never 0, which would stay 0; and neighbours are far apart.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
