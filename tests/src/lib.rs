//! Helpers of the tests.

pub mod engr;
pub mod load;
