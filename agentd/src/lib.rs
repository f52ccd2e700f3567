//! The daemon.
pub mod balance;
