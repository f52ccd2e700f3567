//! Helpers of the tests.

pub mod apps;
pub mod engr;
pub mod launch;
pub mod load;
