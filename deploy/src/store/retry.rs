//! Bounded, spaced, jittered tries of store calls that failed for the moment.

use std::time::Duration;

use super::Result;

const TRIES_MAX: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Calls `call` until it succeeds, is refused, or has failed five times; the pauses between double
/// from 100 ms on, each shortened at random by up to a half, so that a fleet does not try in step.
///
/// # Errors
/// The last try's.
pub async fn with_tries<T>(mut call: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        tries += 1;
        if tries == TRIES_MAX || !error.kind.may_be_tried_again() {
            return Err(error);
        }
        let pause = FIRST_PAUSE * 2_u32.pow(tries - 1);
        tracing::debug!(%error, tries, "a store call failed and is tried again");
        tokio::time::sleep(pause - pause.mul_f64(random_share() / 2.0)).await;
    }
}

/// A number from 0 to 1, evenly spread.
fn random_share() -> f64 {
    // Without randomness the pauses lose their jitter, and nothing else.
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}
