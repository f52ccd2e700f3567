//! The word that the app shall end.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A token that says, once and for good, that the app shall end. Clones share it: give one to
/// each worker, and to each connection that was upgraded.
#[derive(Clone, Debug)]
pub struct Shutdown {
    begun: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    /// A token that only [`Self::begin`] fires.
    pub fn new() -> Self {
        Self { begun: Arc::new(watch::Sender::new(false)) }
    }

    /// The process's own token: `SIGTERM` and `SIGINT` fire it. From the first call on these
    /// signals do not end the process any more; the app has to.
    ///
    /// # Errors
    /// When the signals cannot be caught, or their thread cannot be started.
    pub fn on_signal() -> io::Result<Self> {
        let mut of_the_process = OF_THE_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        match &*of_the_process {
            Some(shutdown) => Ok(shutdown.clone()),
            None => Ok(of_the_process.insert(catch_signals()?).clone()),
        }
    }

    /// Fires the token.
    pub fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Whether the token has fired.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Returns when the token has fired: at once where it had before.
    pub async fn begun(&self) {
        // The sender is `self`, so the wait cannot fail for want of one.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns when the process gets `SIGTERM` or `SIGINT`: at once where it had before. The signals
/// are caught from the call on, not from the first poll.
///
/// # Panics
/// Where [`Shutdown::on_signal`] fails.
pub fn terminated() -> impl Future<Output = ()> + Send + 'static {
    let shutdown = Shutdown::on_signal().expect("SIGTERM and SIGINT can be caught");
    async move { shutdown.begun().await }
}

static OF_THE_PROCESS: Mutex<Option<Shutdown>> = Mutex::new(None);

/// Waits on a thread of its own: the app's runtimes may come and go, and may be busy.
fn catch_signals() -> io::Result<Shutdown> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _runtime = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let shutdown = Shutdown::new();
    let begin = shutdown.clone();
    thread::Builder::new().name("engineer-signal".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        begin.begin();
    })?;
    Ok(shutdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_word_reaches_all_and_stays() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.begun().await }
        });
        assert!(!shutdown.has_begun());
        shutdown.begin();
        waiting.await.expect("it waited");
        shutdown.clone().begun().await;
        assert!(shutdown.has_begun());
    }
}
