//! One client: at most one connection, and at most one request under way.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::failure::{Failed, Failure};
use crate::http1::Http1;
use crate::http2::{Http2, Shared};
use crate::stream::Connector;
use crate::tally::Connections;
use crate::websocket::WebSocket;
use crate::{Plan, Protocol};

/// How many clients share a connection of HTTP/2.
const STREAMS: usize = 4;

#[derive(Debug)]
pub(crate) struct Client {
    plan: Arc<Plan>,
    kind: Kind,
    number: usize,
    requests: u64,
    connections: Connections,
}

#[derive(Debug)]
enum Kind {
    Http1(Http1),
    Http2(Http2),
    WebSocket(Box<WebSocket>),
}

/// What the answer of a test's app says of itself, as far as it matters here.
#[derive(Deserialize)]
struct Who {
    release: u64,
}

impl Client {
    /// All clients of a plan.
    pub(crate) fn all(plan: &Arc<Plan>) -> Vec<Self> {
        let connector = Connector::new(Arc::clone(plan));
        let mut shared = Shared::default();
        let client = |number| {
            if number % STREAMS == 0 {
                shared = Shared::default();
            }
            let kind = match plan.protocol {
                Protocol::NewConnections => Kind::Http1(Http1::new(plan, &connector, false)),
                Protocol::KeepAlive => Kind::Http1(Http1::new(plan, &connector, true)),
                Protocol::Http2 => Kind::Http2(Http2::new(plan, &connector, &shared)),
                Protocol::WebSocket => Kind::WebSocket(Box::new(WebSocket::new(plan, &connector))),
            };
            let connections = Connections::default();
            Self { plan: Arc::clone(plan), kind, number, requests: 0, connections }
        };
        (0..plan.clients).map(client).collect()
    }

    /// Lets time pass, with an ear for what the server says on its own account.
    pub(crate) async fn rest(&mut self, time: Duration) {
        let connections = &mut self.connections;
        match &mut self.kind {
            Kind::WebSocket(socket) => {
                tokio::select! {
                    () = sleep(time) => {}
                    () = socket.listen(connections) => sleep(time).await,
                }
            }
            Kind::Http1(_) | Kind::Http2(_) => sleep(time).await,
        }
    }

    /// Makes one request. A good answer is told by the release that it says it is from.
    pub(crate) async fn request(&mut self) -> Result<Option<u64>, Failed> {
        self.requests += 1;
        let id = format!("{}-{}", self.number, self.requests);
        let connections = &mut self.connections;
        let exchange = async {
            match &mut self.kind {
                Kind::Http1(http1) => http1.exchange(&id, connections).await,
                Kind::Http2(http2) => http2.exchange(&id, connections).await,
                Kind::WebSocket(socket) => socket.exchange(&id, connections).await,
            }
        };
        let limit = self.plan.timeout;
        let Ok(exchanged) = timeout(limit, exchange).await else {
            // What was in the middle of it has its connection with it.
            self.kind.give_up().await;
            let text = format!("no whole answer in {:.1} s", limit.as_secs_f64());
            return Err(Failed::new(Failure::Timeout, text));
        };
        let Exchanged { status, body, echo } = exchanged?;
        if !(200..300).contains(&status) {
            let body = String::from_utf8_lossy(&body);
            return Err(Failed::new(Failure::BadStatus, format!("{status} {body}")));
        }
        if self.plan.echoes && echo.as_deref() != Some(&*id) {
            let text = format!("request {id} got the answer to {}", echo.as_deref().unwrap_or("?"));
            return Err(Failed::new(Failure::WrongAnswer, text));
        }
        Ok(serde_json::from_slice::<Who>(&body).ok().map(|who| who.release))
    }

    /// Ends what is kept, as the protocol has it.
    pub(crate) async fn end(self) {
        if let Kind::WebSocket(socket) = self.kind {
            // A server that does not take the goodbye has nothing to do with the count.
            let _ = timeout(self.plan.timeout, socket.close()).await;
        }
    }

    /// What happened to the client's connections since this was asked last.
    pub(crate) fn take_connections(&mut self) -> Connections {
        mem::take(&mut self.connections)
    }
}

impl Kind {
    async fn give_up(&mut self) {
        match self {
            Self::Http1(http1) => http1.give_up(),
            Self::Http2(http2) => http2.give_up().await,
            Self::WebSocket(socket) => socket.give_up(),
        }
    }
}

/// A whole answer, of whatever protocol.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The id of the request that it is the answer to, if it says so.
    pub(crate) echo: Option<String>,
}
