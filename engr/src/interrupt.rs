//! Ctrl-C and its relatives, so that a command can end in order.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{CommandResult, Exit, OrFail};

/// Hears `SIGINT`, `SIGTERM` and `SIGHUP` from its making on: they no longer end the process by
/// themselves, and one that came while nobody listened is heard at the next call.
#[derive(Debug)]
pub struct Interrupt {
    signals: [Signal; 3],
}

impl Interrupt {
    /// Begins to hear.
    pub fn new() -> CommandResult<Self> {
        let hear = |kind| signal(kind).or_fail(Exit::Internal, "cannot listen to signals");
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self { signals: [hear(interrupt)?, hear(terminate)?, hear(hangup)?] })
    }

    /// Ends when one has come.
    pub async fn raised(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
