//! The agent's own update: which binary runs, and when the next one may take its place.
//!
//! As with the switch, a pure core ([`Machine`]) decides, with events in and actions out; [`Updater`]
//! carries out what needs no launcher. The way of one binary:
//!
//! ```text
//!          fetched         says ok           its turn, no switch       told, and nobody else goes
//!   Fetch ────────▶ Check ────────▶ waiting ───────────────────▶ going ──────────────────▶ Exec
//!     │               │                │  ▲                        │                         │
//!     ▼               ▼                │  └── somebody else goes ──┘                         ▼
//!    bad             bad               └──▶ halted: it was bad on the canary              trial
//!                                                                                      │      │
//!                        up, has its app, has looked at the bucket: SayGood ◀── good ◀─┘      ▼
//!                                       the launcher went back to the one before ────────▶  bad
//! ```
//!
//! # One at a time
//!
//! Instances share nothing but the bucket, and cannot lock one another out there: each may only write
//! its own object. So it is done as in Lamport's bakery. Whoever's turn it is says so in its report
//! (`going`), waits until that is written, lists the reports again, and goes only if nobody else says
//! the same or is on trial. Of two that see each other the later one in the order steps back. The bucket's
//! listings are strongly consistent, so of two that go at once one at least sees the other.
//!
//! Who does not write any more would hold up all that come after it. While an update is not decided
//! an agent writes so often that it cannot be missed ([`crate::report`]); an undecided one whose report has not
//! changed for [`STALE_AFTER`], by the clock of whoever looks, is passed over. That is longer than any
//! trial: the launcher ends it after [`TRIAL_MAX`]. And nobody goes by an own word that is older than
//! [`OWN_WORD_MAX`].
//!
//! # What the rest of the agent owes it
//!
//! - The [`Updater`] is stepped with every event, and what it gives is begun after its state was saved:
//!   [`Machine::retained`] is on the disk before the actions of a step are carried out.
//! - [`Launcher::execute`] tells the launcher that a binary is on trial, and executes it, at once.
//! - At every start [`Machine::resume`] is told which binary runs, and which one the launcher has gone
//!   back from, if it has.
//! - [`Event::Quiet`] says whether the switch is at rest; old versions that finish their requests do
//!   not matter, an agent that is ending is never quiet.

mod binaries;
mod check;
mod machine;
mod self_check;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod turn;
mod types;
mod updater;

pub use binaries::{Binaries, binary_at, own_binary};
pub use check::{CHECK_WITHIN, CheckError, check};
pub use machine::{Machine, Retained};
pub use self_check::{SelfCheck, self_check};
pub use turn::STALE_AFTER;
pub use types::{Action, Event, FellBack, Home, Neighbour, Now, OWN_WORD_MAX, TRIAL_MAX};
pub use updater::{Launcher, Updater};
