//! The app's own word on when it did what, where `TEST_CLOCK` asks for it.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// Prints `clock WHAT MICROSECONDS`, since 1970.
pub(crate) fn tell(what: &str) {
    if env::var_os("TEST_CLOCK").is_some() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        println!("clock {what} {}", now.as_micros());
    }
}
