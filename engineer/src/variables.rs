//! What Engineer tells an app of itself. All are `None`, and [`development`] false, where the app
//! runs by itself.

use std::env;

use crate::contract;

/// The app's name.
pub fn app_name() -> Option<String> {
    env::var(contract::APP).ok()
}

/// The project that the app belongs to; `local` on a local fleet.
pub fn project() -> Option<String> {
    env::var(contract::PROJECT).ok()
}

/// The number of the release that runs.
pub fn version() -> Option<u64> {
    env::var(contract::VERSION).ok()?.parse().ok()
}

/// The instance that the app runs on.
pub fn instance() -> Option<String> {
    env::var(contract::INSTANCE).ok()
}

/// Whether the app runs under `engr serve`, on a developer's machine.
pub fn development() -> bool {
    env::var(contract::DEVELOPMENT).is_ok_and(|value| value == "1")
}
