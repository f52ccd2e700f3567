//! A load generator that counts every request, and every failed one by its kind.
//!
//! It is there to prove that a switch fails no request, so it never tries one again silently and
//! calls nothing a success that a plain client would not: an answer has to be whole, its status
//! good, and the answer has to be this request's own. What is *not* a failure:
//!
//! - A kept connection that the server ends while no request is on it, or by its word: `Connection:
//!   close`, GOAWAY, a WebSocket's close frame. The next request takes a new one, and it is counted
//!   how often.
//! - A request that the server has refused by such a word: an HTTP/2 stream past GOAWAY's last one,
//!   or a message to a WebSocket that the server was closing. The client knows that it was not
//!   carried out, sends it again, and it is counted apart how often.
//!
//! A WebSocket that ends without a close frame is a failure, whether a message was on it or not.
//!
//! ```text
//!   Plan ──► Load ──► drive, one for each client ──► Client ──► http1 ─┐
//!                            │                         │        http2 ─┼─► stream: TCP, or TLS
//!                            ▼                         └──► websocket ─┘
//!                          Tally
//! ```

mod answer;
mod client;
mod failure;
mod http1;
mod http2;
mod plan;
mod stream;
mod tally;
mod tls;
mod websocket;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use client::Client;
pub use failure::Failure;
pub use plan::{Plan, Protocol};
pub use tally::Tally;
pub use tls::{TEST_CERT, TEST_KEY, TEST_NAME, Tls};

/// A load that is being made, on a thread of its own.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    tally: Arc<Mutex<Tally>>,
    started: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts to make the load, in the calling thread's network.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn start(plan: Plan) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Mutex::new(Tally::default()));
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("load".to_owned()).spawn({
            let tally = Arc::clone(&tally);
            move || runtime.block_on(run(Arc::new(plan), &tally, &stopped))
        })?;
        Ok(Self { stop, tally, started: Instant::now(), thread: Some(thread) })
    }

    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        let mut tally = lock(&self.tally).clone();
        tally.elapsed = self.started.elapsed();
        tally
    }

    /// Sends no new request, waits for the answers that are due, and gives the whole count.
    ///
    /// # Panics
    /// When the load's thread has panicked.
    pub fn stop(mut self) -> Tally {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the load does not panic");
        }
        self.tally()
    }
}

/// A load that nobody stops ends with its owner.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn run(plan: Arc<Plan>, tally: &Arc<Mutex<Tally>>, stopped: &watch::Receiver<bool>) {
    let mut clients = JoinSet::new();
    for (index, client) in Client::all(&plan).into_iter().enumerate() {
        // The clients' requests are spread over the pause.
        let delay = plan.pause * index as u32 / plan.clients as u32;
        clients.spawn(drive(client, delay, plan.pause, Arc::clone(tally), stopped.clone()));
    }
    while let Some(client) = clients.join_next().await {
        client.expect("a client does not panic");
    }
}

async fn drive(
    mut client: Client,
    delay: Duration,
    pause: Duration,
    tally: Arc<Mutex<Tally>>,
    mut stopped: watch::Receiver<bool>,
) {
    // What fails at once would otherwise be tried as fast as the processor can.
    const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(1);
    let mut rest = delay;
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            () = client.rest(rest) => {}
        }
        let begun = Instant::now();
        let result = client.request().await;
        rest = if result.is_ok() { pause } else { pause.max(PAUSE_AFTER_FAILURE) };
        lock(&tally).count(result, begun.elapsed(), client.take_connections());
    }
    client.end().await;
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
