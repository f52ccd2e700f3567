//! How often the agent asks its bucket for news. Pure.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use deploy::Timestamp;
use deploy::state::State;
use deploy::store::gcs::POLL_INTERVAL;

/// While somebody deploys: a publish is then seen within it.
const WHILE_CLAIMED: Duration = Duration::from_millis(200);

/// The shortest interval otherwise, whatever the settings say: a bucket bears some questions a
/// second, not thousands.
const IDLE_MIN: Duration = Duration::from_millis(100);

/// How often to ask, and for how long that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The pause between two questions.
    pub interval: Duration,
    /// From now: then it is time to look at the same state again. None: until there is another.
    pub holds_for: Option<Duration>,
}

/// The pace that `state`, the newest one known, calls for. While its release `rolls` through the fleet
/// it is not slower than that: what takes its place, or takes it back, is in a hurry.
///
/// A claim is the doorbell: a release is on its way. One that is not renewed ends by the clock, and
/// this machine's may be wrong; a claim binds for a bounded time by any clock, so the pace is slow
/// again soon, too.
pub fn pace(state: Option<&State>, rolls: Option<Duration>, now: Timestamp) -> Pace {
    let idle = state.and_then(|state| state.release.as_ref());
    let idle = idle.map_or(POLL_INTERVAL, |release| release.settings.poll_interval.0.max(IDLE_MIN));
    match state.and_then(|state| state.live_claim(now)) {
        Some(claim) => {
            let left = claim.expires.duration_since(now);
            let left = Duration::try_from(left).unwrap_or_default();
            Pace { interval: WHILE_CLAIMED.min(idle), holds_for: Some(left) }
        }
        None => Pace { interval: rolls.map_or(idle, |rolls| rolls.min(idle)), holds_for: None },
    }
}

#[cfg(test)]
mod tests {
    use deploy::Digest;
    use deploy::claim::{CLAIM_LIFE, Claim};
    use deploy::id::Id;
    use deploy::release::{Artifact, Kind, Release};
    use deploy::settings::Settings;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claimed(since: i64) -> State {
        let claim = Claim::new(Id::fixed("c"), "a@b".to_owned(), at(since));
        State { claim: Some(claim), ..State::new("app") }
    }

    #[test]
    fn a_claim_makes_it_fast_until_its_end() {
        let idle = Pace { interval: POLL_INTERVAL, holds_for: None };
        assert_eq!(pace(None, None, at(0)), idle);
        assert_eq!(pace(Some(&State::new("app")), None, at(0)), idle);
        let second = Duration::from_secs(1);
        let rolls = |every| pace(Some(&State::new("app")), Some(every), at(0));
        assert_eq!(rolls(second), Pace { interval: second, holds_for: None });
        assert_eq!(rolls(second * 60), idle, "never slower than when nothing is under way");
        let fast = pace(Some(&claimed(100)), Some(second), at(110));
        assert_eq!(fast.interval, WHILE_CLAIMED);
        assert_eq!(fast.holds_for, Some(CLAIM_LIFE - Duration::from_secs(10)));
        assert_eq!(pace(Some(&claimed(100)), None, at(130)), idle, "it was left behind");
    }

    /// `state` with a release that asks for this interval.
    fn asking(state: State, interval: Duration) -> State {
        let mut settings = Settings::default();
        settings.poll_interval.0 = interval;
        let release = Release {
            number: 1,
            id: Id::fixed("r"),
            published: at(0),
            by: "a@b".to_owned(),
            kind: Kind::Deploy,
            message: None,
            source: None,
            artifact: Artifact { digest: Digest::of(b""), size: 1 },
            environment: None,
            settings,
            rollout: None,
        };
        State { release: Some(release), ..state }
    }

    #[test]
    fn a_release_sets_the_interval_within_reason() {
        let idle =
            |interval| pace(Some(&asking(State::new("app"), interval)), None, at(0)).interval;
        assert_eq!(idle(Duration::from_secs(60)), Duration::from_secs(60));
        assert_eq!(idle(Duration::ZERO), IDLE_MIN);
        let fast = |interval| pace(Some(&asking(claimed(0), interval)), None, at(0)).interval;
        assert_eq!(fast(Duration::from_secs(60)), WHILE_CLAIMED);
        assert_eq!(fast(IDLE_MIN), IDLE_MIN, "a claim never makes it slower");
    }

    /// Whatever this machine's clock does while a dead deployer's claim stands, fast questions end.
    #[test]
    fn a_clock_that_is_set_does_not_make_it_fast_for_ever() {
        let state = claimed(10_000);
        for now in [0, 9_000, 9_969, 10_030, 1_000_000] {
            assert_eq!(pace(Some(&state), None, at(now)).interval, POLL_INTERVAL, "at {now}");
        }
        for now in 9_970..10_030 {
            assert!(pace(Some(&state), None, at(now)).holds_for.unwrap() <= CLAIM_LIFE * 2);
        }
    }
}
