//! What the agent remembers, and what it says of itself.

use deploy::Timestamp;
use deploy::release::Release;
use deploy::report::{CrashLoop, Ending, Failure, Phase, Report, Stage, Version as VersionReport};

use super::Agent;
use crate::switch::{Exit, Record, Time, VersionView};

impl Agent {
    pub(super) fn record(&mut self, record: Record) {
        let at = Timestamp::now();
        match record {
            Record::Switched { release, note } => {
                tracing::info!(release, note, "switched");
                let outcome = self.memory.outcome(release);
                if outcome.ended.is_none() {
                    outcome.switched = Some(at);
                    outcome.note = note;
                }
            }
            Record::Done { release } => {
                tracing::info!(release, "settled");
                self.memory.outcome(release).ended = Some(Ending::Done);
                self.prune();
            }
            Record::Failed { release, version, stage, message, exit } => {
                tracing::warn!(release, ?stage, message, "the release failed");
                let last_lines = version.map(|version| self.runner.last_lines(version));
                let awaited = version.and_then(|version| self.runner.awaited(version));
                let message =
                    match awaited.filter(|_| stage == Stage::Ready && exit == Exit::default()) {
                        Some(awaited) => format!("{message}: {awaited}"),
                        None => message,
                    };
                let failure = Failure {
                    release,
                    at,
                    stage,
                    message,
                    exit_code: exit.code,
                    signal: exit.signal,
                    last_lines: last_lines.unwrap_or_default(),
                };
                self.memory.last_failure = Some(failure.clone());
                let outcome = self.memory.outcome(release);
                // A release that served here before, and fails at a later start, did serve.
                outcome.ended.get_or_insert(Ending::Failed(failure));
            }
            Record::Crashed { release, version, exit } => {
                tracing::warn!(release, "the app {exit}, and is started again");
                self.memory.last_failure = Some(Failure {
                    release,
                    at,
                    stage: Stage::Serve,
                    message: format!("it {exit} while it served"),
                    exit_code: exit.code,
                    signal: exit.signal,
                    last_lines: self.runner.last_lines(version),
                });
            }
        }
    }

    /// Keeps the newest artifacts; what runs, and what would run next time, stays in any case.
    fn prune(&self) {
        let Some(good) = self.machine.retained().good else { return };
        let mut keep = self.runner.artifacts();
        keep.extend(self.newest.as_ref().map(|release| release.artifact.digest));
        keep.extend(self.part.base().map(|release| release.artifact.digest));
        if let Err(error) = self.fetcher.prune(&good.artifact.digest, &keep) {
            tracing::warn!(%error, "old artifacts cannot be removed");
        }
    }

    /// Writes the memory, if it has changed. A write that failed is tried again at the next step.
    pub(super) fn remember(&mut self) {
        let retained = self.machine.retained();
        self.memory.good = retained.good.map(|good| Release::clone(&good));
        self.memory.rejected = retained.rejected;
        if self.saved.as_ref() == Some(&self.memory) {
            return;
        }
        match self.memory.save(&self.dir.memory()) {
            Ok(()) => self.saved = Some(self.memory.clone()),
            Err(error) => {
                tracing::error!(%error, "the memory cannot be written: a restart would not know of it");
            }
        }
    }

    /// A moment of the core's clock, the same whenever it is asked for: a report that says nothing
    /// new is not written.
    fn wall_clock(&self, at: Time) -> Timestamp {
        self.started + at.saturating_sub(self.born)
    }

    /// Hands the newest report on, if it says anything new.
    pub(super) fn publish(&self) {
        let mut snapshot = self.machine.snapshot();
        if snapshot.serving.is_some_and(|version| self.runner.had_ended(version.id)) {
            // It ended while no agent lived. The core is about to hear of it.
            (snapshot.healthy, snapshot.phase) = (false, Phase::Starting);
        }
        // The switch core knows nothing of a release that waits for its turn.
        let is_coming = self.part.waits().is_some_and(|(_, is_there)| !is_there);
        let phase = match snapshot.phase {
            Phase::Serving | Phase::Idle if is_coming => Phase::Fetching,
            phase => phase,
        };
        let addresses = self.newest.as_ref().map(|newest| self.runner.shown_addresses(newest));
        let report = Report {
            instance: self.instance.clone(),
            written: self.started,
            agent: self.agent_report(),
            looked: None,
            addresses: addresses.unwrap_or_default(),
            seen: self.newest_seen().or(snapshot.seen),
            waits: self.part.waits().filter(|(_, is_there)| *is_there).map(|(number, _)| number),
            phase,
            serving: snapshot.serving.and_then(|version| self.version(version)),
            draining: snapshot.draining.iter().filter_map(|v| self.version(*v)).collect(),
            outcomes: self.memory.outcomes.clone(),
            left: self.left,
            crash_loop: snapshot.crash_loop.map(|it| CrashLoop {
                crashes: it.crashes,
                next_start: it.next_start.map(|at| self.wall_clock(at)),
            }),
            last_failure: self.memory.last_failure.clone(),
        };
        let is_new = !snapshot.is_restoring && self.reports.borrow().as_ref() != Some(&report);
        if is_new {
            self.status.send_modify(|status| {
                (status.healthy, status.report) = (snapshot.healthy, Some(report.clone()));
            });
            if !self.updating.is_unknown {
                self.reports.send_replace(Some(report));
            }
        } else if self.status.borrow().healthy != snapshot.healthy {
            self.status.send_modify(|status| status.healthy = snapshot.healthy);
        }
    }

    /// The newest release of the states that were seen in this life.
    fn newest_seen(&self) -> Option<u64> {
        self.newest.as_ref().filter(|_| self.part.has_seen()).map(|newest| newest.number)
    }

    fn version(&self, view: VersionView) -> Option<VersionReport> {
        let (pid, started) = self.runner.process(view.id)?;
        let status = self.runner.status(view.id);
        let unwell = self.watched.as_ref().and_then(|watched| watched.of(view.id)).cloned();
        let (release, restarts) = (view.release, view.restarts);
        Some(VersionReport { release, pid, started, restarts, status, unwell })
    }
}
