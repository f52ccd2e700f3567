//! Helpers of the tests.

pub mod load;
