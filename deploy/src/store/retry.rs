//! Bounded, spaced, jittered tries of store calls that failed for the moment.

use std::time::Duration;

use super::Result;

/// How many tries there are, however they fail.
const TRIES_MAX: u32 = 7;

const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Calls `call` until it succeeds, is refused, or has failed as often as its failure is worth
/// trying: seven times for a store that cannot be used. The pauses between double from 100 ms on,
/// each shortened at random by up to a half, so that a fleet does not try in step; they are longer
/// where the store asks for that.
///
/// # Errors
/// The last try's.
pub async fn with_tries<T>(mut call: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut failures = Vec::new();
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        failures.push(error.kind);
        let tries = failures.len() as u32;
        // One kind's tries are not used up by another's.
        let alike = failures.iter().filter(|kind| **kind == error.kind).count() as u32;
        if tries >= TRIES_MAX || alike >= error.kind.tries_max() {
            return Err(error);
        }
        let pause = FIRST_PAUSE * 2_u32.pow(tries - 1);
        let pause = pause - pause.mul_f64(random_share() / 2.0);
        let pause = pause.max(error.retry_after.unwrap_or_default());
        let cause: &(dyn std::error::Error + 'static) = &error;
        let pause_ms = pause.as_millis();
        tracing::debug!(error = cause, tries, pause_ms, "a store call failed and is tried again");
        tokio::time::sleep(pause).await;
    }
}

/// A number from 0 to 1, evenly spread.
pub(super) fn random_share() -> f64 {
    if cfg!(test) {
        // Simulations must repeat.
        return 0.5;
    }
    // Without randomness the pauses lose their jitter, and nothing else.
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::store::memory::{Fate, Memory};
    use crate::store::{ErrorKind, Expect, Store};

    async fn write(fates: &[Fate]) -> (Result<crate::store::Generation>, Duration) {
        let (store, start) = (Memory::new(), Instant::now());
        store.fates_of_writes(fates.to_vec());
        let written = with_tries(async || store.write("x", b"", Expect::Absent).await).await;
        (written, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn tries_seven_times_and_waits_longer_each_time() {
        let (written, took) = write(&[Fate::Fails; 6]).await;
        written.unwrap();
        assert_eq!(took, Duration::from_millis(75 + 150 + 300 + 600 + 1_200 + 2_400));
        let (written, _) = write(&[Fate::Fails; 7]).await;
        assert_eq!(written.unwrap_err().kind, ErrorKind::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_tried_again() {
        let (written, took) = write(&[Fate::AnswerWrong]).await;
        assert_eq!(written.unwrap_err().kind, ErrorKind::Lost);
        assert_eq!(took, Duration::ZERO);
    }
}
