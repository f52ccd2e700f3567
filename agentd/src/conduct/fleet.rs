//! The instances, as their conductor knows them.

use std::collections::BTreeMap;
use std::time::Duration;

use deploy::Timestamp;
use deploy::id::Id;
use deploy::report::Report;
use deploy::rollout::Member;

use super::core::Time;

/// No living instance has written last so long ago, whatever its clock says: it writes every five
/// minutes, and clocks are not off by more than some minutes.
const LONG_AGO: Duration = Duration::from_secs(900);

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
}

impl Fleet {
    /// Takes a listing in. What is no longer listed is forgotten.
    pub(super) fn update(&mut self, now: Time, listed: Vec<Report>) {
        let mut before = std::mem::take(&mut self.by_name);
        for report in listed {
            let known = match before.remove(&report.instance) {
                Some(known) if known.report.written == report.written => Known { report, ..known },
                known => Known { report, since: now, has_moved: known.is_some() },
            };
            self.by_name.insert(known.report.instance.clone(), known);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// They, on their way to the release `id`. The one named `own` is not silent: it asks.
    pub(super) fn members(
        &self,
        now: Time,
        wall: Timestamp,
        own: &str,
        (id, number): (&Id, u64),
        stale_after: Duration,
    ) -> Vec<Member> {
        let is_stale = |known: &Known| {
            let age = wall.duration_since(known.report.written);
            let age = Duration::try_from(age).unwrap_or_default();
            let was_long_ago = !known.has_moved && age > LONG_AGO + stale_after;
            let is_silent = now.saturating_sub(known.since) > stale_after || was_long_ago;
            is_silent && known.report.instance != own
        };
        let all = self.by_name.values();
        all.filter_map(|known| Member::of(&known.report, id, number, is_stale(known))).collect()
    }
}
