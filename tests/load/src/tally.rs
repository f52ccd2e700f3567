//! What was counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::failure::{Failed, Failure};

/// What a client did to its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) opened: u64,
    pub(crate) closed_idle: u64,
    pub(crate) told_to_close: u64,
    pub(crate) sent_again: u64,
}

/// All requests, by how they ended. Each is in `answered` or in `failures`.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Whole answers with a good status.
    pub answered: u64,
    /// The others, by kind.
    pub failures: BTreeMap<Failure, u64>,
    /// The first of each kind, in words.
    pub examples: BTreeMap<Failure, String>,
    /// The answers by the release that they say they are from; by none for other answers.
    pub releases: BTreeMap<Option<u64>, u64>,
    /// Connections made.
    pub opened: u64,
    /// Kept connections that the server ended while no request was on them, unannounced.
    pub closed_idle: u64,
    /// Kept connections that the server ended by its word: `Connection: close`, GOAWAY, or a close
    /// frame.
    pub told_to_close: u64,
    /// Requests that were sent once more because the server had refused them by such a word,
    /// without doing anything with them. Each counts as one request, however it ended.
    pub sent_again: u64,
    /// For how long the load was made.
    pub elapsed: Duration,
    latencies_us: Vec<u32>,
}

impl Tally {
    /// How many requests were made.
    pub fn requests(&self) -> u64 {
        self.answered + self.failed()
    }

    /// How many of them failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// How many failed in that way.
    pub fn failed_by(&self, failure: Failure) -> u64 {
        self.failures.get(&failure).copied().unwrap_or_default()
    }

    /// How many answers were from that release.
    pub fn answered_by(&self, release: u64) -> u64 {
        self.releases.get(&Some(release)).copied().unwrap_or_default()
    }

    /// The time that `percent` of the answers took at most; zero without answers.
    pub fn latency(&self, percent: f64) -> Duration {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        let latency = sorted.get(rank.saturating_sub(1)).or(sorted.last());
        Duration::from_micros(latency.copied().unwrap_or_default().into())
    }

    /// Adds what `other` counted, at the same time or at another.
    pub fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
        for (failure, text) in &other.examples {
            self.examples.entry(*failure).or_insert_with(|| text.clone());
        }
        for (release, count) in &other.releases {
            *self.releases.entry(*release).or_default() += count;
        }
        self.opened += other.opened;
        self.closed_idle += other.closed_idle;
        self.told_to_close += other.told_to_close;
        self.sent_again += other.sent_again;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latencies_us.extend_from_slice(&other.latencies_us);
    }

    /// Counts one request that took `latency`; a good one is told by its release.
    pub(crate) fn count(
        &mut self,
        result: Result<Option<u64>, Failed>,
        latency: Duration,
        connections: Connections,
    ) {
        self.opened += connections.opened;
        self.closed_idle += connections.closed_idle;
        self.told_to_close += connections.told_to_close;
        self.sent_again += connections.sent_again;
        match result {
            Ok(release) => {
                self.answered += 1;
                *self.releases.entry(release).or_default() += 1;
                self.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            }
            Err(failed) => {
                *self.failures.entry(failed.failure).or_default() += 1;
                self.examples.entry(failed.failure).or_insert(failed.text);
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { self.requests() as f64 / seconds } else { 0.0 };
        writeln!(f, "requests     {:>9}   {rate:.0}/s for {seconds:.1} s", self.requests())?;
        writeln!(f, "answered     {:>9}", self.answered)?;
        for (release, count) in &self.releases {
            match release {
                Some(release) => writeln!(f, "  {:<10} {count:>9}", format!("v{release}"))?,
                None => writeln!(f, "  no release {count:>9}")?,
            }
        }
        writeln!(f, "failed       {:>9}", self.failed())?;
        for failure in Failure::ALL {
            write!(f, "  {failure:<10} {:>9}", self.failed_by(failure))?;
            match self.examples.get(&failure) {
                Some(text) => writeln!(f, "   first: {text}")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "sent again   {:>9}", self.sent_again)?;
        let ms = |percent| self.latency(percent).as_secs_f64() * 1000.0;
        let (p50, p99, max) = (ms(50.0), ms(99.0), ms(100.0));
        writeln!(f, "latency      p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")?;
        write!(
            f,
            "connections  {:>9}   {} told to close, {} closed while idle",
            self.opened, self.told_to_close, self.closed_idle
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally { elapsed: Duration::from_secs(2), ..Tally::default() };
        let one = Connections { opened: 1, told_to_close: 1, ..Connections::default() };
        for ms in 1..=100 {
            tally.count(Ok(Some(1 + ms / 100)), Duration::from_millis(ms), one);
        }
        let reset = std::io::ErrorKind::ConnectionReset.into();
        tally.count(Err(Failed::io(reset)), Duration::ZERO, Connections::default());
        tally
    }

    #[test]
    fn every_request_is_counted_once() {
        let tally = tally();
        assert_eq!((tally.requests(), tally.answered, tally.failed()), (101, 100, 1));
        assert_eq!(tally.failed_by(Failure::Reset), 1);
        assert_eq!((tally.answered_by(1), tally.answered_by(2)), (99, 1));
        assert_eq!(tally.latency(50.0), Duration::from_millis(50));
        assert_eq!(tally.latency(99.0), Duration::from_millis(99));
        assert_eq!(tally.latency(100.0), Duration::from_millis(100));
        assert_eq!(Tally::default().latency(99.0), Duration::ZERO);
        let mut twice = tally.clone();
        twice.add(&tally);
        assert_eq!((twice.requests(), twice.failed(), twice.opened), (202, 2, 200));
    }

    #[test]
    fn the_table_names_every_kind() {
        insta::assert_snapshot!(tally(), @r"
        requests           101   50/s for 2.0 s
        answered           100
          v1                99
          v2                 1
        failed               1
          refused            0
          reset              1   first: connection reset
          end before         0
          end within         0
          timeout            0
          bad status         0
          wrong              0
          malformed          0
          TLS alert          0
          other              0
        sent again           0
        latency      p50 50.0 ms, p99 99.0 ms, max 100.0 ms
        connections        100   100 told to close, 0 closed while idle
        ");
    }
}
