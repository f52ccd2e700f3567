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
        let cause: &(dyn std::error::Error + 'static) = &error;
        tracing::debug!(error = cause, tries, "a store call failed and is tried again");
        tokio::time::sleep(pause - pause.mul_f64(random_share() / 2.0)).await;
    }
}

/// A number from 0 to 1, evenly spread.
fn random_share() -> f64 {
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
    async fn tries_five_times_and_waits_longer_each_time() {
        let (written, took) = write(&[Fate::Fails; 4]).await;
        written.unwrap();
        assert_eq!(took, Duration::from_millis(75 + 150 + 300 + 600));
        let (written, _) = write(&[Fate::Fails; 5]).await;
        assert_eq!(written.unwrap_err().kind, ErrorKind::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_tried_again() {
        let (written, took) = write(&[Fate::AnswerWrong]).await;
        assert_eq!(written.unwrap_err().kind, ErrorKind::Lost);
        assert_eq!(took, Duration::ZERO);
    }
}
