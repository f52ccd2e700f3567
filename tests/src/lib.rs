//! Helpers of the tests.

pub mod apps;
pub mod launch;
pub mod load;
