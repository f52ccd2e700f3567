//! A load generator that counts every request, and every failed one by its kind.
//!
//! It is there to prove that a switch fails no request, so it never tries one again silently and
//! calls nothing a success that a plain client would not: an answer has to be whole and its status
//! good. What is *not* a failure is a kept-alive connection that the server ends while no request
//! is on it, or with `Connection: close`: the next request takes a new one, and it is counted how
//! often.

mod answer;
mod client;
mod tally;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use client::Client;
pub use tally::{Failure, Tally};

/// What load to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the requests go.
    pub address: SocketAddr,
    /// What they ask for.
    pub path: String,
    /// How many clients ask, each for one answer at a time.
    pub clients: usize,
    /// How long a client rests between an answer and its next request.
    pub pause: Duration,
    /// How long a request may take, with its connection.
    pub timeout: Duration,
    /// Whether a client keeps its connection for the next request.
    pub keep_alive: bool,
}

impl Plan {
    /// 16 clients with a new connection for each request, each some 100 times a second.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/".to_owned(),
            clients: 16,
            pause: Duration::from_millis(10),
            timeout: Duration::from_secs(10),
            keep_alive: false,
        }
    }

    /// The same on connections that are kept alive.
    pub fn keep_alive(self) -> Self {
        Self { keep_alive: true, ..self }
    }
}

/// A load that is being made, on a thread of its own.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    tally: Arc<Mutex<Tally>>,
    started: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts to make the load.
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
    for index in 0..plan.clients {
        let client = Client::new(Arc::clone(&plan));
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
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(rest) => {}
        }
        let begun = Instant::now();
        let result = client.request().await;
        rest = if result.is_ok() { pause } else { pause.max(PAUSE_AFTER_FAILURE) };
        lock(&tally).count(result, begun.elapsed(), client.take_connections());
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
