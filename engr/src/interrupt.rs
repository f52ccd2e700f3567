//! Ctrl-C and its relatives, so that a command can end in order.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// Hears `SIGINT`, `SIGTERM` and `SIGHUP` from its making on: they no longer end the process by
/// themselves, and one that came while nobody listened is heard at the next call.
#[derive(Debug)]
pub struct Interrupt {
    signals: Mutex<[Signal; 3]>,
}

impl Interrupt {
    /// Begins to hear.
    pub fn new() -> CommandResult<Self> {
        let hear = |kind| signal(kind).or_fail(Exit::Internal, "cannot listen to signals");
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals = [hear(interrupt)?, hear(terminate)?, hear(hangup)?];
        Ok(Self { signals: Mutex::new(signals) })
    }

    /// Ends when one has come.
    pub async fn raised(&self) {
        let [interrupt, terminate, hangup] = &mut *self.signals.lock().await;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// Does `work`, which publishes nothing, unless one comes.
    pub async fn unless_raised<T>(
        &self,
        work: impl Future<Output = CommandResult<T>>,
    ) -> CommandResult<T> {
        tokio::select! {
            // What Ctrl-C ended too, a build say, was interrupted and did not fail.
            biased;
            () = self.raised() => Err(interrupted()),
            done = work => done,
        }
    }
}

/// Interrupted while nothing was published yet.
pub fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, anyhow::anyhow!("interrupted; nothing was published"))
}
