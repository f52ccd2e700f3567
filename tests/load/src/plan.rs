//! What load to make.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Tls;

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
    /// How they ask.
    pub protocol: Protocol,
    /// Whom they trust, where they ask over TLS.
    pub tls: Option<Tls>,
    /// Whether the server gives the `X-Request-Id` of each request back in its answer, as the
    /// tests' apps do. An answer that lacks it, or has another, is a wrong one then.
    pub echoes: bool,
}

/// How the clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, a new connection for each request.
    NewConnections,
    /// HTTP/1.1, one connection for as long as the server keeps it.
    KeepAlive,
    /// HTTP/2, by prior knowledge, or over TLS by ALPN; four clients share a connection.
    Http2,
    /// A WebSocket that stays, with a message instead of each request.
    WebSocket,
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
            protocol: Protocol::NewConnections,
            tls: None,
            echoes: false,
        }
    }

    /// The same on connections that are kept alive.
    pub fn keep_alive(self) -> Self {
        self.by(Protocol::KeepAlive)
    }

    /// The same by another protocol.
    pub fn by(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// The same over TLS.
    pub fn over(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The same on a server that gives each request's id back.
    pub fn echoed(self) -> Self {
        Self { echoes: true, ..self }
    }
}
