//! Helpers of the tests.

pub mod apps;
pub mod engr;
pub mod fleet;
pub mod launch;
pub mod load;
