//! The contract between `engr` and `agentd`: all that the two share is a bucket, and this crate
//! says what lies in it, what may be written there by whom, and what it means.
//!
//! ```text
//!   engr ──publish──▶ state.json ──watch──▶ agentd
//!     └──upload───▶ artifacts/, env/ ──fetch──▶┘
//!   engr ◀──list─── fleet/instances/<name> ◀──report──┘
//! ```
//!
//! - [`layout`] names the bucket's objects.
//! - [`state`], [`claim`], [`lock`] and [`release`] are what `state.json` holds, and the pure rules by which
//!   one state follows another; [`publish`] carries such a step out by compare-and-set, and
//!   [`history`] reads the steps that were taken.
//! - [`prune`] removes what is no longer needed.
//! - [`store`] is the one way to the bucket.
//! - [`desired_agent`] is which `agentd` the fleet is to run; [`agent_rollout`] judges its way there.
//! - [`artifact`] turns a built app into one deterministic archive and back into files.
//! - [`report`] is what an instance says of itself, [`reports`] reads those of all; [`rollout`] is
//!   a release's way through the fleet, by what they say.
//!
//! A library with no process of its own: it prints nothing, reads no environment, and takes the
//! time as an argument.

pub mod agent_config;
pub mod agent_rollout;
pub mod amount;
pub mod artifact;
pub mod claim;
pub mod desired_agent;
pub mod digest;
pub mod environment;
#[cfg(test)]
mod fixtures;
pub mod history;
pub mod id;
pub mod layout;
pub mod local_fleet;
pub mod lock;
pub mod log_line;
pub mod prune;
pub mod publish;
pub mod release;
pub mod report;
pub mod reports;
pub mod rollout;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod span;
pub mod state;
pub mod store;

pub use amount::{Cores, Memory, Share};
pub use digest::Digest;
pub use jiff::Timestamp;
pub use span::Span;
