//! Helpers of the tests.

pub mod engr;
pub mod fake_fleet;
pub mod running;
