//! The switch core: which version runs, which one gets the connections, and what to do next.
//!
//! A pure state machine: [`Machine::step`] takes an event and the time and gives back actions.
//! It holds no socket, process or clock, so that it is simulated by the thousand (`simulation`).
//!
//! The way of one release, by overlap:
//!
//! ```text
//!            fetched       prepared      ready        proven         settled
//!   Fetch ────────▶ Prepare ──▶ Start ─────▶ (window) ───▶ Steer ────────▶ old: AwaitIdle
//!                                 │             │            │                   │ idle
//!                                 ▼             ▼            ▼                   ▼
//!                              failed: the old one serves on, or again     Terminate, exit
//! ```
//!
//! Where versions cannot overlap, the old one is ended after *prepared* and before *Start*; if the
//! new one fails, the old release is started again.

mod machine;
mod types;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use machine::Machine;
pub use types::{
    Action, CrashLoop, Event, Exit, Record, Retained, RunId, Snapshot, Time, VersionId,
    VersionView, Way,
};
