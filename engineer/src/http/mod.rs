//! Serving HTTP/1.1, with upgrades, and HTTP/2 (with prior knowledge), to an end at which no client
//! sees a failure. TLS comes from a crate of the app's choice: see [`Server::serve_over`].
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use axum::{Router, routing::get};
//!
//! let router = Router::new().route("/", get(|| async { "hello" }));
//! engineer::http::serve_tower(engineer::listen("0.0.0.0:8080")?, router).await
//! # }
//! ```
//!
//! # The end
//!
//! On `SIGTERM` hyper's own graceful shutdown closes every idle connection at once, and with it the
//! request that is already on its way there. So the end is taken in steps:
//!
//! ```text
//! SIGTERM ──► accept what is queued ──► close the listener, say STOPPING=1
//!                                            │
//!   HTTP/1.1  every further response says `Connection: close`, and closes
//!             a connection idle for the grace (3 s) is closed, if no byte waits in it;
//!             so is one whose handshake of TLS does not go on
//!   HTTP/2    GOAWAY; the streams that are open are finished
//!   upgraded  theirs to end: give their tasks the `Shutdown`
//!                                            │
//!                            all connections closed ──► return
//! ```
//!
//! Requests and upgraded connections are waited for without a limit; whoever sent the `SIGTERM`
//! holds the deadline.

mod connection;
mod drain;

use std::error::Error;
use std::future::{Future, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming as RequestBody};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::{Incoming, Shutdown, notify};
use connection::Connection;
pub use connection::Stream;
use drain::Drain;

/// How long a kept-alive connection may stay idle after `SIGTERM` until it is closed, unless
/// [`Server::grace`] says otherwise. Measured: with 0.3 s, 0.8 % of the idle connections of clients
/// 20 ms away still met a request; with 3 s, none.
pub const GRACE: Duration = Duration::from_secs(3);

type BoxError = Box<dyn Error + Send + Sync>;

/// Serves a hyper service until `SIGTERM`; see [`Server`].
///
/// # Errors
/// When the listener is broken or the signals cannot be caught.
pub async fn serve<S, B>(listener: TcpListener, service: S) -> io::Result<()>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Server::new(listener).serve(service).await
}

/// Serves a tower service until `SIGTERM`, such as an axum router; see [`Server`].
///
/// # Errors
/// When the listener is broken or the signals cannot be caught.
pub async fn serve_tower<S, B>(listener: TcpListener, service: S) -> io::Result<()>
where
    S: Clone + Send + 'static,
    TowerToHyperService<S>: Service<Request<RequestBody>, Response = Response<B>>,
    <TowerToHyperService<S> as Service<Request<RequestBody>>>::Future: Send,
    <TowerToHyperService<S> as Service<Request<RequestBody>>>::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Server::new(listener).serve_tower(service).await
}

/// Serves one listener, and says `READY=1` when it begins to.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    shutdown: Option<Shutdown>,
    grace: Duration,
}

impl Server {
    /// Will serve `listener` until `SIGTERM` or `SIGINT`, with a [`GRACE`] for idle connections.
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, shutdown: None, grace: GRACE }
    }

    /// Ends when `shutdown` begins, instead of on a signal.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// Lets idle connections stay for `grace` after the end has begun.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Serves until the end, and returns when the last connection is closed. What fails on one
    /// connection, a client that goes away for the most part, is that connection's end and no
    /// error.
    ///
    /// # Errors
    /// When the listener is broken or the signals cannot be caught.
    pub async fn serve<S, B>(self, service: S) -> io::Result<()>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.serve_over(|stream| ready(Ok(stream)), service).await
    }

    /// The same over what `handshake` makes of each connection: TLS, for the most part. The
    /// handshakes run beside one another, and one that fails or does not go on ends its connection
    /// alone. At the end TLS's goodbye is said on each connection that has ever had a request. With
    /// the crate `tokio-rustls`:
    ///
    /// ```text
    /// let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config)); // ALPN: h2, http/1.1
    /// let accept = move |stream| tls.accept(stream);
    /// Server::new(listener).serve_over(accept, TowerToHyperService::new(router)).await
    /// ```
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub async fn serve_over<H, F, I, S, B>(self, handshake: H, service: S) -> io::Result<()>
    where
        H: Fn(Stream) -> F,
        F: Future<Output = io::Result<I>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let shutdown = match self.shutdown {
            Some(shutdown) => shutdown,
            None => Shutdown::on_signal()?,
        };
        let drain = Drain { shutdown: shutdown.clone(), grace: self.grace };
        let mut incoming = Incoming::new(self.listener, shutdown);
        notify::unless_gone(notify::ready())?;
        while let Some(accepted) = incoming.accept().await? {
            let connection = Connection::new(accepted);
            let handshake = handshake(Stream(Arc::clone(&connection)));
            tokio::spawn(drain.clone().serve(connection, handshake, service.clone()));
        }
        incoming.closed().await;
        Ok(())
    }

    /// The same for a tower service, such as an axum router.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub async fn serve_tower<S, B>(self, service: S) -> io::Result<()>
    where
        S: Clone + Send + 'static,
        TowerToHyperService<S>: Service<Request<RequestBody>, Response = Response<B>>,
        <TowerToHyperService<S> as Service<Request<RequestBody>>>::Future: Send,
        <TowerToHyperService<S> as Service<Request<RequestBody>>>::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.serve(TowerToHyperService::new(service)).await
    }
}
