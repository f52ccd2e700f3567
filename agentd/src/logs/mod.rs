//! The app's output, line by line, into the instance's spool.
//!
//! ```text
//!   app ──▶ FIFO ──splice──▶ raw file ──▶ lines ──▶ spool: *.jsonl
//! ```
//!
//! An agent may be killed between any two of its system calls, and no line may be lost or doubled by
//! it. So nothing is ever in the agent's memory alone: [`capture`] lets the kernel move the bytes from
//! the app's FIFO into a file, which is one call, and each line in the spool says which bytes of the
//! stream it was ([`deploy::log_line::Source`]). An agent that takes over goes on behind the last
//! line that the spool has.

pub mod capture;
mod last;
mod lines;
mod spool;

pub use last::LastLines;
pub use spool::{OwnLines, Spool};

use deploy::Timestamp;

/// The clock, for the time of a line: the one place where the log asks it.
fn now() -> Timestamp {
    Timestamp::now()
}
