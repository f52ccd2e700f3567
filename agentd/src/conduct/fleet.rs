//! The instances, as their conductor knows them.

use std::collections::BTreeMap;
use std::time::Duration;

use deploy::release::Release;
use deploy::report::Report;
use deploy::rollout::{Condition, Member, Plan, Progress, Stage};
use deploy::{Span, Timestamp};

use super::core::Time;

/// No living instance has written last so long ago, whatever its clock says: it writes every five
/// minutes, and clocks are not off by more than some minutes.
const LONG_AGO: Duration = Duration::from_secs(900);

/// What is fetched lies on the disk by then, or is given up.
const FETCHED_WITHIN: Duration = Duration::from_secs(120);

/// Their reports, and since when each has said the same.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    by_name: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    report: Report,
    /// When this report was seen first.
    since: Time,
    /// It was seen to change: it lives, or did at that time.
    has_moved: bool,
    /// Since when it is to be on its way, and has not come to an end.
    due_since: Option<Time>,
}

impl Fleet {
    /// Takes a listing in. What is no longer listed is forgotten.
    pub(super) fn update(&mut self, now: Time, listed: Vec<Report>) {
        let mut before = std::mem::take(&mut self.by_name);
        for report in listed {
            let known = match before.remove(&report.instance) {
                Some(known) if known.report.written == report.written => Known { report, ..known },
                known => Known {
                    report,
                    since: now,
                    has_moved: known.is_some(),
                    due_since: known.and_then(|known| known.due_since),
                },
            };
            self.by_name.insert(known.report.instance.clone(), known);
        }
    }

    /// Who was to be on its way may have come to an end meanwhile.
    pub(super) fn forget_dues(&mut self) {
        self.by_name.values_mut().for_each(|known| known.due_since = None);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// They, on their way to `release` as far as they are let on. The one named `own` is not silent:
    /// it asks.
    pub(super) fn members(
        &mut self,
        now: Time,
        wall: Timestamp,
        own: &str,
        (release, plan): (&Release, &Plan),
        progress: &Progress,
    ) -> Vec<Member> {
        let stale_after = plan.rules.stale_after.0;
        let overdue_after = overdue_after(release);
        let member = |known: &mut Known| {
            let is_stale = known.is_stale(now, wall, stale_after) && known.report.instance != own;
            let mut member = Member::of(&known.report, &release.id, release.number, is_stale)?;
            let is_let_on = progress.mark.lets(&member.key);
            let goes_back = progress.stage == Stage::Reverting;
            let is_due = match member.condition {
                _ if goes_back => is_let_on && !member.is_back,
                Condition::Before => is_let_on,
                Condition::Coming => true,
                Condition::Good | Condition::Bad(..) => false,
            };
            known.due_since = is_due.then(|| known.due_since.unwrap_or(now));
            let due_for = known.due_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            if due_for > overdue_after && goes_back {
                member.is_stale = true;
            } else if due_for > overdue_after {
                let message = format!("it is not healthy after {}", Span(overdue_after));
                member.condition = Condition::Bad(message, None);
            }
            Some(member)
        };
        self.by_name.values_mut().filter_map(member).collect()
    }
}

impl Known {
    fn is_stale(&self, now: Time, wall: Timestamp, stale_after: Duration) -> bool {
        let age = wall.duration_since(self.report.written);
        let age = Duration::try_from(age).unwrap_or_default();
        let was_long_ago = !self.has_moved && age > LONG_AGO + stale_after;
        now.saturating_sub(self.since) > stale_after || was_long_ago
    }
}

/// How long the way to `release` may take on one instance: each of its parts has its own end, and
/// this is longer than all of them.
fn overdue_after(release: &Release) -> Duration {
    let settings = &release.settings;
    let old = if settings.graceful_shutdown { Duration::ZERO } else { settings.stop_timeout.0 };
    let drain =
        settings.drain.filter(|_| !settings.graceful_shutdown).unwrap_or(Span::from_secs(0));
    let new = settings.ready_within.0 + settings.health_window.0 + settings.settle.0;
    FETCHED_WITHIN + old.max(drain.0) + new
}
