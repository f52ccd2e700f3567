//! Helpers of the tests.

pub mod engr;
