//! Helpers of the tests.

pub mod apps;
pub mod bare_app;
pub mod chance;
pub mod engr;
pub mod fake_fleet;
pub mod fleet;
pub mod launch;
pub mod load;
pub mod mounts;
pub mod running;
