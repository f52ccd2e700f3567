//! Waiting: for a state, with a limit, and for what the store does.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should take no time, on a machine that is busy with more.
pub const LIMIT: Duration = Duration::from_secs(40);

/// Waits until `look` gives something.
///
/// # Panics
/// When it does not within [`LIMIT`].
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, look).unwrap_or_else(|| panic!("{what}: not within {LIMIT:?}"))
}

/// Waits until `look` gives something, for at most `limit`.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if began.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for what the store does.
///
/// # Panics
/// When there is no runtime to be had.
pub fn blocking<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}
