//! Serving as an app does that does not link the library: on a socket of its own or one that it
//! takes by itself, ended as hyper alone ends it.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::pin::pin;

use engineer::contract;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::answer::{App, answer};

/// `TEST_HOST`, or loopback, and `PORT`, or 8080.
pub(crate) fn address() -> io::Result<SocketAddr> {
    let host = env::var("TEST_HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = env::var(contract::PORT).unwrap_or_else(|_| "8080".to_owned());
    let text = format!("{host}:{port}");
    text.parse().map_err(|error| io::Error::other(format!("{text}: {error}")))
}

/// The first handed socket.
pub(crate) fn handed() -> io::Result<TcpListener> {
    let is_ours = |pid: String| pid == std::process::id().to_string();
    if !env::var(contract::LISTEN_PID).is_ok_and(is_ours) {
        return Err(io::Error::other("no socket was handed to this process"));
    }
    // SAFETY: LISTEN_PID says that descriptor 3 is this process's, and this runs once.
    let socket = unsafe { OwnedFd::from_raw_fd(contract::LISTEN_FDS_START) };
    TcpListener::from_std(socket.into())
}

/// A socket of the app's own.
pub(crate) fn bind(reuse_port: bool) -> io::Result<TcpListener> {
    let address = address()?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Serves until `SIGTERM`, then stops accepting and shuts every connection down gracefully, at once.
pub(crate) async fn serve_stock(listener: TcpListener, app: App) -> io::Result<()> {
    let mut terminated = pin!(engineer::terminated());
    println!("ready on {}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(serve_connection(stream, app.clone()));
            }
            // Takes away what has ended, so that it does not pile up.
            Some(_) = connections.join_next() => {}
            () = &mut terminated => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn serve_connection(stream: TcpStream, app: App) {
    let service = service_fn(move |request| answer(app.clone(), request));
    let mut connection =
        pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    // What fails on a connection is its client's to count.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = engineer::terminated() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
