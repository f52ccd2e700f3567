//! This instance's part in a rollout: it follows how far the newest release is, and conducts the
//! rollout where nobody else does. What a rollout is stands in [`deploy::rollout`].
//!
//! ```text
//!                 nobody has begun, or the lease has run out
//!   following ──────────────────────────────────────────────▶ taking
//!       ▲ ◀───────────────── somebody was faster ─────────────── │
//!       │                                                       ▼ it is written
//!       └── another has taken it, or it has ended ────────── conducting ◀─▶ list, decide, write
//! ```
//!
//! - [`Core`] is all of the decisions, pure, and [`direct()`] what they mean for the switch core; `fleet` is what it knows of the others.
//! - [`Driver`] carries them out.
//!
//! Nothing here compares two machines' clocks: who is silent, and which lease has run out, is told by
//! how long nothing has changed, by this machine's own watch.

mod core;
mod direct;
mod driver;
mod fleet;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use core::{Action, Core, Event, Pace, Rolling, Time, Written};
pub use direct::{Direction, direct};
pub use driver::Driver;
