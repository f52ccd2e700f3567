//! The bucket: compare-and-set on the rollout's object, everybody's reports, and the counts of what
//! was asked of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deploy::report::Report;
use deploy::rollout::Progress;
use deploy::state::State;
use deploy::store::{Expect, Generation};

/// One write a second to one object; a hotter one is answered with 429.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// What was asked, by the classes in which it is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Operations {
    /// Lists and writes (class A).
    pub(super) lists: u64,
    /// Pages of a thousand objects beyond a list's first (class A).
    pub(super) pages: u64,
    /// Class A.
    pub(super) report_writes: u64,
    /// Class A.
    pub(super) rollout_writes: u64,
    /// Reads of the rollout's object, changed or not (class B).
    pub(super) looks: u64,
    /// Reads of it by those who would conduct (class B).
    pub(super) checks: u64,
    /// Reads of reports that had changed (class B).
    pub(super) report_reads: u64,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) state: Arc<State>,
    pub(super) rollout: Option<(Generation, Progress)>,
    written: Duration,
    reports: BTreeMap<String, (u64, Report)>,
    /// What each conductor has read of the reports already.
    read: BTreeMap<String, u64>,
    report_generations: u64,
    pub(super) asked: Operations,
}

/// Why a write did not come through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotWritten {
    Lost,
    TooOften,
}

impl Bucket {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::new(State::new("app")),
            rollout: None,
            written: Duration::ZERO,
            reports: BTreeMap::new(),
            read: BTreeMap::new(),
            report_generations: 0,
            asked: Operations::default(),
        }
    }

    /// Writes how far the rollout is. A store that counts its writers' haste refuses too much of it.
    pub(super) fn write(
        &mut self,
        now: Duration,
        progress: &Progress,
        expect: Expect,
        is_strict: bool,
    ) -> Result<Generation, NotWritten> {
        self.asked.rollout_writes += 1;
        let live = self.rollout.as_ref().map(|(generation, _)| *generation);
        let holds = match expect {
            Expect::Absent => live.is_none(),
            Expect::Generation(expected) => live == Some(expected),
            Expect::Any => true,
        };
        if is_strict && live.is_some() && now.saturating_sub(self.written) < WRITE_INTERVAL / 2 {
            return Err(NotWritten::TooOften);
        }
        if !holds {
            return Err(NotWritten::Lost);
        }
        let generation = Generation(live.map_or(0, |live| live.0) + 1);
        // What lies there is bytes.
        let read = Progress::from_object(&progress.to_object()).expect("it is read again");
        self.rollout = Some((generation, read));
        self.written = now;
        Ok(generation)
    }

    pub(super) fn report(&mut self, report: Report) {
        self.asked.report_writes += 1;
        self.report_generations += 1;
        self.reports.insert(report.instance.clone(), (self.report_generations, report));
    }

    pub(super) fn stored(&self, name: &str) -> Option<&Report> {
        self.reports.get(name).map(|(_, report)| report)
    }

    /// All reports, for the conductor `by`.
    pub(super) fn list(&mut self, by: &str) -> Vec<Report> {
        self.asked.lists += 1;
        self.asked.pages += self.reports.len().saturating_sub(1) as u64 / 1_000;
        let seen = self.read.insert(by.to_owned(), self.report_generations).unwrap_or(0);
        self.asked.report_reads +=
            self.reports.values().filter(|(generation, _)| *generation > seen).count() as u64;
        self.reports.values().map(|(_, report)| report.clone()).collect()
    }
}
