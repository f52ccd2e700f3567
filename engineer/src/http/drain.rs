//! Serving one connection, and ending it without a failed request.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming as RequestBody};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::BoxError;
use super::connection::{Connection, RequestGuard, Standing, closable_at};
use crate::Shutdown;

/// When connections end, and how long idle ones may stay then.
#[derive(Clone, Debug)]
pub(super) struct Drain {
    pub(super) shutdown: Shutdown,
    pub(super) grace: Duration,
}

impl Drain {
    /// Serves `connection`, after its handshake, until it is closed or upgraded.
    pub(super) async fn serve<I, S, B>(
        self,
        connection: Arc<Connection>,
        handshake: impl Future<Output = io::Result<I>>,
        service: S,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        // What fails on a connection is its client's doing, and the client's to find out.
        let stream = tokio::select! {
            biased;
            stream = handshake => match stream {
                Ok(stream) => stream,
                Err(_) => return,
            },
            () = self.closable(&connection) => return,
        };
        connection.has_shaken_hands();
        let service = {
            let (connection, shutdown) = (Arc::clone(&connection), self.shutdown.clone());
            service_fn(move |request: Request<RequestBody>| {
                let http2 = request.version() == Version::HTTP_2;
                let guard = connection.begin_request(http2);
                let response = service.call(request);
                let shutdown = shutdown.clone();
                async move {
                    let mut response = response.await?;
                    // Asked when the response begins, so that also the requests that were
                    // there before the end are told to come back by another connection.
                    if !http2 && shutdown.has_begun() {
                        say_close(&mut response);
                    }
                    Ok::<_, S::Error>(guarded(response, guard))
                }
            })
        };
        let builder = auto::Builder::new(TokioExecutor::new());
        let stream = TokioIo::new(stream);
        let mut protocol = pin!(builder.serve_connection_with_upgrades(stream, service));
        tokio::select! {
            _ = protocol.as_mut() => return,
            () = self.closable(&connection) => {}
        }
        protocol.as_mut().graceful_shutdown();
        let _ = protocol.await;
    }

    /// Waits for the end to begin, and then until the protocol's own graceful shutdown cuts nobody
    /// off.
    async fn closable(&self, connection: &Connection) {
        self.shutdown.begun().await;
        let ended = Instant::now();
        loop {
            let standing = connection.standing();
            match closable_at(standing, ended, self.grace) {
                None if standing == Standing::Http2 => return,
                None => connection.changed().await,
                Some(at) if at > Instant::now() => tokio::select! {
                    () = connection.changed() => {}
                    () = sleep_until(at) => {}
                },
                Some(_) if matches!(standing, Standing::Idle(_)) && connection.has_unread() => {}
                Some(_) => return,
            }
        }
    }
}

/// Tells the client that this response is the connection's last; hyper closes it after that.
fn say_close<B>(response: &mut Response<B>) {
    // There the header says what the connection is upgraded to.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Keeps `guard` for as long as the body is being written.
fn guarded<B: Body>(
    response: Response<B>,
    guard: RequestGuard,
) -> Response<impl Body<Data = B::Data, Error = B::Error>> {
    // The mapping is the identity: it is there because it owns the guard, and, unlike most other
    // wrappers of a body, keeps its exact length.
    response.map(|body| {
        body.map_err(move |error| {
            let _held = &guard;
            error
        })
    })
}
