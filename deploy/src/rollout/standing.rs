//! A release's way through the fleet, judged by what the instances report. Pure.

use jiff::Timestamp;

use crate::report::{Ending, Failure, Phase, Report};

/// How far one instance is with one release.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It has not reported since it was started, or never.
    Silent,
    /// It has not seen the release yet.
    Behind,
    /// The release lies on its disk, and it waits for its turn.
    Waiting,
    /// It is on its way, in this phase.
    Underway(Phase),
    /// New connections go to the release, and the instance keeps the old one in reserve.
    Settling {
        /// When it switched.
        switched: Timestamp,
        /// What the agent says about how.
        note: Option<String>,
    },
    /// The release serves.
    Done {
        /// When it switched.
        switched: Timestamp,
        /// What the agent says about how.
        note: Option<String>,
    },
    /// The release does not serve here.
    Failed(Failure),
    /// The rollout has taken the release back, and what was before it serves.
    Reverted,
    /// The instance has gone on to a newer release before this one ended.
    Superseded {
        /// The newer one.
        by: u64,
    },
}

impl Standing {
    /// Where the instance of `report` stands with `release`.
    pub fn of(release: u64, report: Option<&Report>) -> Self {
        let Some(report) = report else { return Self::Silent };
        let outcome = report.outcome(release);
        // One that had failed before is no other for it.
        let is_taken_back = outcome.is_some_and(|outcome| {
            outcome.reverted.is_some() && !matches!(outcome.ended, Some(Ending::Failed(_)))
        });
        if is_taken_back {
            let serves_it =
                report.serving.as_ref().is_some_and(|version| version.release == release);
            return match report.phase {
                Phase::Serving if !serves_it => Self::Reverted,
                phase => Self::Underway(phase),
            };
        }
        match outcome.map(|outcome| (&outcome.ended, outcome.switched)) {
            Some((Some(Ending::Failed(failure)), _)) => return Self::Failed(failure.clone()),
            Some((Some(Ending::Done), switched)) => {
                return Self::Done {
                    switched: switched.unwrap_or(report.written),
                    note: outcome.and_then(|outcome| outcome.note.clone()),
                };
            }
            _ => {}
        }
        match report.seen {
            Some(seen) if seen > release => Self::Superseded { by: seen },
            Some(seen) if seen == release && report.waits == Some(release) => Self::Waiting,
            Some(seen) if seen == release => match outcome.and_then(|outcome| outcome.switched) {
                Some(switched) => Self::Settling {
                    switched,
                    note: outcome.and_then(|outcome| outcome.note.clone()),
                },
                None => Self::Underway(report.phase),
            },
            _ => Self::Behind,
        }
    }

    /// Whether nothing more will come of it.
    pub fn has_ended(&self) -> bool {
        matches!(
            self,
            Self::Done { .. } | Self::Failed(_) | Self::Reverted | Self::Superseded { .. }
        )
    }
}

/// What can be said of a release over all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Some instances have not ended.
    Underway,
    /// It serves everywhere.
    Done,
    /// It serves nowhere: every instance is where it was before.
    Failed,
    /// It serves on some instances and failed on others.
    Mixed,
    /// It has failed on some, and was taken back from all others.
    Reverted,
    /// A newer release has taken its place.
    Superseded {
        /// The newer one.
        by: u64,
    },
    /// There is no instance to run it.
    NoInstances,
}

/// The verdict over a fleet. None is never success.
pub fn verdict<'a>(standings: impl IntoIterator<Item = &'a Standing>) -> Verdict {
    let (mut all, mut done, mut failed, mut reverted, mut superseded) = (0, 0, 0, 0, None);
    for standing in standings {
        all += 1;
        match standing {
            Standing::Done { .. } => done += 1,
            Standing::Failed(_) => failed += 1,
            Standing::Reverted => reverted += 1,
            Standing::Superseded { by } => superseded = superseded.max(Some(*by)),
            Standing::Silent
            | Standing::Behind
            | Standing::Waiting
            | Standing::Underway(_)
            | Standing::Settling { .. } => {}
        }
    }
    match superseded {
        _ if all == 0 => Verdict::NoInstances,
        Some(by) => Verdict::Superseded { by },
        None if done == all => Verdict::Done,
        None if failed == all => Verdict::Failed,
        None if failed + reverted == all => Verdict::Reverted,
        None if done + failed + reverted == all => Verdict::Mixed,
        None => Verdict::Underway,
    }
}

/// What the history can say of a release, from what today's instances remember of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It served on every instance that remembers it.
    Done,
    /// It served on none of them.
    Failed,
    /// It served on some.
    Mixed,
    /// It was taken back.
    Reverted,
    /// It is under way.
    Underway,
    /// No instance remembers it.
    Unknown,
}

/// The fate of `release`, where `current` is the newest.
pub fn fate<'a>(release: u64, current: u64, reports: impl IntoIterator<Item = &'a Report>) -> Fate {
    let (mut done, mut failed, mut reverted, mut underway) = (0, 0, 0, 0);
    for report in reports {
        match Standing::of(release, Some(report)) {
            Standing::Done { .. } => done += 1,
            Standing::Failed(_) => failed += 1,
            Standing::Reverted => reverted += 1,
            Standing::Superseded { .. } => {}
            Standing::Silent
            | Standing::Behind
            | Standing::Waiting
            | Standing::Underway(_)
            | Standing::Settling { .. } => underway += 1,
        }
    }
    match (done, failed) {
        _ if reverted > 0 => Fate::Reverted,
        _ if release == current && underway > 0 => Fate::Underway,
        (0, 0) => Fate::Unknown,
        (_, 0) => Fate::Done,
        (0, _) => Fate::Failed,
        _ => Fate::Mixed,
    }
}

impl Fate {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Mixed => "mixed",
            Self::Reverted => "reverted",
            Self::Underway => "under way",
            Self::Unknown => "-",
        }
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
