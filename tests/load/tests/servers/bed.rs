//! Servers on threads of their own, and clients that ask until it is enough.

use std::future::Future;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use load::{Failure, Load, Plan, Tally};
use tokio::net::{TcpListener, TcpStream};

/// Gives every connection to a task of `serve`, for as long as the process lives.
pub(crate) fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a non-blocking socket");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                tokio::spawn(serve(stream));
            }
        });
    });
    address
}

/// One client that asks until `enough` says so.
pub(crate) fn load(plan: Plan, enough: impl Fn(&Tally) -> bool) -> Tally {
    load_by(Plan { clients: 1, pause: Duration::from_millis(2), ..plan }, enough)
}

/// The plan's clients, until `enough` says so.
pub(crate) fn load_by(plan: Plan, enough: impl Fn(&Tally) -> bool) -> Tally {
    let load = Load::start(plan).expect("the load starts");
    let limit = Instant::now() + Duration::from_secs(20);
    while !enough(&load.tally()) {
        assert!(Instant::now() < limit, "{}", load.tally());
        thread::sleep(Duration::from_millis(2));
    }
    load.stop()
}

#[track_caller]
pub(crate) fn assert_all_failed(plan: Plan, failure: Failure) {
    let tally = load(plan, |tally| tally.requests() >= 3);
    assert_eq!(tally.answered, 0, "{tally}");
    assert_eq!(tally.failed_by(failure), tally.requests(), "{tally}");
}
