//! When a watch asks next. Pure.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

/// The longest pause between two questions to a store that does not answer.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A pause is longer or shorter by up to this share of itself, so that a fleet does not ask in step.
const JITTER: f64 = 0.1;

/// How often a watch asks.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// How many questions in a row had no answer.
    failures: u32,
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, failures: 0 }
    }

    /// Asks so often from now on.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The last question was answered.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// The last question had no answer.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The pause from the last question to the next. It doubles with each failure, up to
    /// [`PAUSE_MAX`], and is the interval again after the first answer. `chance` is from 0 to 1.
    pub(super) fn pause(&self, chance: f64) -> Duration {
        let longest = PAUSE_MAX.max(self.interval);
        let factor = 2_u32.saturating_pow(self.failures);
        let pause = self.interval.checked_mul(factor).unwrap_or(longest).min(longest);
        pause.mul_f64(1.0 + JITTER * (2.0 * chance - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(5);
    const FAST: Duration = Duration::from_millis(200);

    fn secs(pace: &Pace) -> f64 {
        pace.pause(0.5).as_secs_f64()
    }

    #[test]
    fn failures_slow_it_down_and_an_answer_brings_it_back() {
        let mut pace = Pace::new(SLOW);
        let mut pauses = vec![secs(&pace)];
        for _ in 0..5 {
            pace.failed();
            pauses.push(secs(&pace));
        }
        assert_eq!(pauses, [5.0, 10.0, 20.0, 30.0, 30.0, 30.0]);
        pace.answered();
        assert_eq!(secs(&pace), 5.0);
        (0..1_000).for_each(|_| pace.failed());
        assert_eq!(secs(&pace), 30.0);
    }

    #[test]
    fn another_interval_holds_at_once_and_keeps_the_failures() {
        let mut pace = Pace::new(SLOW);
        pace.set_interval(FAST);
        assert_eq!(secs(&pace), 0.2);
        pace.failed();
        assert_eq!(secs(&pace), 0.4);
        pace.set_interval(Duration::from_secs(120));
        assert_eq!(secs(&pace), 120.0, "an interval beyond the longest pause is kept to");
    }

    #[test]
    fn the_pause_is_jittered_by_a_tenth() {
        let pace = Pace::new(SLOW);
        assert_eq!(pace.pause(0.0), Duration::from_millis(4_500));
        assert_eq!(pace.pause(1.0), Duration::from_millis(5_500));
    }
}
