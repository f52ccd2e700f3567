//! Every kind of load on one of the tests' apps.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use load::{Load, Plan, Protocol, Tally, Tls};

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// For HTTP/1.1 and WebSockets.
    pub http1: SocketAddr,
    /// For HTTP/2 by prior knowledge.
    pub http2: SocketAddr,
    /// For all of it over TLS.
    pub tls: SocketAddr,
}

impl Target {
    /// One of the tests' apps, with its port without TLS and that with it.
    pub fn app(host: IpAddr, [plain, tls]: [u16; 2]) -> Self {
        let plain = SocketAddr::new(host, plain);
        Self { http1: plain, http2: plain, tls: SocketAddr::new(host, tls) }
    }
}

/// The names of the kinds of load, in order.
pub const KINDS: [&str; 9] = [
    "HTTP/1.1, new connections",
    "HTTP/1.1, kept connections",
    "the same, each at rest for 0.7 s",
    "HTTP/2",
    "WebSocket",
    "TLS, new connections",
    "TLS, kept connections",
    "TLS, HTTP/2",
    "TLS, WebSocket",
];

/// All kinds of load at once.
#[derive(Debug)]
pub struct AllLoads(Vec<Load>);

impl AllLoads {
    /// Starts them, in the calling thread's network. Each has `clients`, and `pause` between two
    /// requests of one.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(target: Target, clients: usize, pause: Duration) -> io::Result<Self> {
        let of = |address, protocol| {
            let path = if protocol == Protocol::WebSocket { "/ws" } else { "/" };
            let plan = Plan { clients, pause, path: path.to_owned(), ..Plan::new(address) };
            plan.by(protocol).echoed()
        };
        let tls = |protocol| of(target.tls, protocol).over(Tls::of_tests());
        let rest = Duration::from_millis(700);
        let plans: [Plan; KINDS.len()] = [
            of(target.http1, Protocol::NewConnections),
            of(target.http1, Protocol::KeepAlive),
            Plan { clients: 4 * clients, pause: rest, ..of(target.http1, Protocol::KeepAlive) },
            of(target.http2, Protocol::Http2),
            of(target.http1, Protocol::WebSocket),
            tls(Protocol::NewConnections),
            tls(Protocol::KeepAlive),
            tls(Protocol::Http2),
            tls(Protocol::WebSocket),
        ];
        plans.into_iter().map(Load::start).collect::<io::Result<_>>().map(Self)
    }

    /// How many requests have failed so far.
    pub fn failed(&self) -> u64 {
        self.0.iter().map(|load| load.tally().failed()).sum()
    }

    /// Whether each has so many answers.
    pub fn all_answered(&self, at_least: u64) -> bool {
        self.0.iter().all(|load| load.tally().answered >= at_least)
    }

    /// Whether each has had answers of more than one release.
    pub fn all_moved(&self) -> bool {
        self.0.iter().all(|load| load.tally().releases.len() > 1)
    }

    /// Ends them; what each has counted, in the order of [`KINDS`].
    pub fn stop(self) -> Vec<Tally> {
        self.0.into_iter().map(Load::stop).collect()
    }
}

/// What failed, by kinds: `0`, or `3 (2 reset, 1 timeout)`.
pub fn failures(tally: &Tally) -> String {
    let kinds: Vec<String> =
        tally.failures.iter().map(|(failure, count)| format!("{count} {failure}")).collect();
    match tally.failed() {
        0 => "0".to_owned(),
        failed => format!("{failed} ({})", kinds.join(", ")),
    }
}
