//! What the agent answers over HTTP: `GET /health` for load balancers, `GET /status` for people.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::Bytes;
use deploy::Timestamp;
use deploy::report::Report;
use deploy::store::LastLook;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::link::{Held, Link};

/// What there is to be told.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether connections may be sent here.
    pub healthy: bool,
    /// The instance's newest report.
    pub report: Option<Report>,
    /// How fresh its view of the bucket is.
    pub last_look: LastLook,
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, status: watch::Receiver<Status>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: some must come free first.
                tracing::warn!(%error, "cannot accept a health check");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let status = status.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let answer = answer(&request, &status.borrow());
                async { Ok::<_, Infallible>(answer) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            // Whoever asks may go away in the middle.
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), answer).await {
                tracing::debug!(%error, "a health check was cut");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, status: &Status) -> Response<Full<Bytes>> {
    let (code, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") if status.healthy => {
            (StatusCode::OK, "ok\n".into())
        }
        (&Method::GET | &Method::HEAD, "/health") => {
            (StatusCode::SERVICE_UNAVAILABLE, "not serving\n".into())
        }
        (&Method::GET | &Method::HEAD, "/status") => {
            let mut report = status.report.clone();
            if let Some(report) = &mut report {
                report.looked = status.last_look.time(Timestamp::now());
            }
            let text = serde_json::to_vec(&report).expect("a report serializes");
            (StatusCode::OK, Bytes::from(text))
        }
        _ => (StatusCode::NOT_FOUND, "there are /health and /status\n".into()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = code;
    response
}

/// Binds the health address, or takes the socket there that was held while no agent lived.
///
/// # Errors
/// What the kernel says, above all that the address is in use.
pub fn listen(address: SocketAddr, link: &Link, held: &mut Held) -> std::io::Result<TcpListener> {
    const NAME: &str = "health";
    if let Some(socket) = held.remove(NAME).map(std::net::TcpListener::from)
        && socket.local_addr()? == address
    {
        return TcpListener::from_std(socket);
    }
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    link.hold(NAME, socket.as_fd());
    TcpListener::from_std(socket)
}
