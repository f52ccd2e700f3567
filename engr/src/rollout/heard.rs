//! Since when each instance has said the same. Nobody's clock is compared with another's, but for what
//! was written so long ago that no clock can be that wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use deploy::Timestamp;
use deploy::report::Report;

use crate::output::when;

/// No living instance has written last so long ago: it writes every five minutes, and clocks are not
/// off by more than some minutes.
const LONG_AGO: Duration = Duration::from_secs(900);

/// When each instance was heard last. Times are those of one monotonic clock of the caller's.
#[derive(Debug, Default)]
pub struct Heard {
    by_name: BTreeMap<String, Word>,
}

#[derive(Debug)]
struct Word {
    /// When it was written, by the instance's clock. None: it has never reported.
    written: Option<Timestamp>,
    /// When this word was heard first.
    since: Duration,
    /// It was heard to change: it lives, or did at that time.
    has_moved: bool,
}

impl Heard {
    /// Takes a listing in. What is no longer listed is forgotten.
    pub fn update<'a>(
        &mut self,
        now: Duration,
        listed: impl IntoIterator<Item = (&'a str, Option<&'a Report>)>,
    ) {
        let mut before = std::mem::take(&mut self.by_name);
        for (name, report) in listed {
            let written = report.map(|report| report.written);
            let word = match before.remove(name) {
                Some(word) if word.written == written => word,
                word => Word { written, since: now, has_moved: word.is_some() },
            };
            self.by_name.insert(name.to_owned(), word);
        }
    }

    /// For how long the instance has been silent, if that is longer than `stale_after`. One that
    /// nobody waits for (`is_awaited`) writes every five minutes only, and has that much more time.
    pub fn silence(
        &self,
        name: &str,
        now: Duration,
        wall: Timestamp,
        stale_after: Duration,
        is_awaited: bool,
    ) -> Option<Duration> {
        let word = self.by_name.get(name)?;
        let age = word.written.map_or(Duration::ZERO, |written| when::between(written, wall));
        let silent = now.saturating_sub(word.since);
        let patience = if is_awaited { stale_after } else { LONG_AGO + stale_after };
        let was_long_ago = !word.has_moved && age > LONG_AGO + stale_after;
        (silent > patience || was_long_ago).then_some(silent.max(age))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::follow::fixtures::report;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_says_nothing_new_is_stale_by_the_watch_of_whoever_listens() {
        let wall: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let mut heard = Heard::default();
        let silence = |heard: &Heard, now: u32, is_awaited| {
            heard.silence("hello-1", SECOND * now, wall, SECOND * 90, is_awaited)
        };
        // Its clock is ten minutes behind: that says nothing.
        let mut one = report("hello-1", wall - SignedDuration::from_secs(600));
        heard.update(Duration::ZERO, [("hello-1", Some(&one))]);
        assert_eq!(silence(&heard, 90, true), None);
        assert_eq!(silence(&heard, 91, true), Some(SECOND * 600));
        assert_eq!(silence(&heard, 91, false), None, "nobody waits for it");
        // A word, whatever it says, is a sign of life.
        one.written = wall - SignedDuration::from_secs(500);
        heard.update(SECOND * 91, [("hello-1", Some(&one))]);
        assert_eq!(silence(&heard, 91, true), None);
        assert_eq!(heard.silence("hello-2", SECOND, wall, SECOND, true), None, "it is not listed");
    }

    #[test]
    fn who_wrote_last_long_ago_is_stale_at_the_first_look() {
        let wall: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let mut heard = Heard::default();
        let at = |seconds| report("hello-1", wall - SignedDuration::from_secs(seconds));
        let silence = |heard: &Heard| heard.silence("hello-1", SECOND, wall, SECOND * 90, false);
        heard.update(Duration::ZERO, [("hello-1", Some(&at(990)))]);
        assert_eq!(silence(&heard), None);
        let mut heard = Heard::default();
        heard.update(Duration::ZERO, [("hello-1", Some(&at(991)))]);
        assert_eq!(silence(&heard), Some(SECOND * 991));
        // It writes: its clock is wrong.
        heard.update(SECOND, [("hello-1", Some(&at(990)))]);
        assert_eq!(silence(&heard), None);
    }

    #[test]
    fn who_has_never_reported_is_given_the_same_time() {
        let wall: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let mut heard = Heard::default();
        for now in [0, 50] {
            heard.update(SECOND * now, [("hello-1", None)]);
        }
        let silence = |now| heard.silence("hello-1", SECOND * now, wall, SECOND * 90, true);
        assert_eq!((silence(90), silence(91)), (None, Some(SECOND * 91)));
    }
}
