//! One port of the app at the balancer: takes connections and gives each to an instance.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use super::pool::Pool;
use super::proxy;

/// How many connections the kernel holds until they are taken.
const BACKLOG: u32 = 4096;

/// How long a new connection waits for an instance that takes it.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// How long one instance may take to take a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait with the next try after all candidates refused: none of them may have changed
/// in the balancer's eyes when one of them is back.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How long to wait when the process has no files left: until some connection has ended.
const NO_FILES_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections until `ended`'s sender is dropped, then waits until the open ones have ended.
pub(super) async fn serve(
    listener: TcpListener,
    listen: SocketAddr,
    pool: Arc<Pool>,
    mut ended: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => _ = connections.spawn(pass(client, listen, pool.clone())),
                Err(error) => rest_after(error, listen).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = ended.changed() => break,
        }
    }
    // What the kernel has accepted already is still served: closing the listener would reset it.
    while let Some(Ok((client, _))) = now_or_never(listener.accept()).await {
        connections.spawn(pass(client, listen, pool.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = std::future::ready(()) => None,
    }
}

/// A failed accept is no reason to end: either the client has gone meanwhile, or this process is
/// out of files for the moment.
async fn rest_after(error: io::Error, listen: SocketAddr) {
    let client_gone =
        matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
    if !client_gone {
        warn!(%listen, %error, "cannot take a connection; trying again");
        sleep(NO_FILES_PAUSE).await;
    }
}

async fn pass(client: TcpStream, listen: SocketAddr, pool: Arc<Pool>) {
    match connect(listen, &pool, Instant::now() + HOLD_MAX).await {
        Some(instance) => proxy::pass(client, instance).await,
        None => debug!(%listen, "no instance took the connection in time: it is closed"),
    }
}

/// A connection to an instance that serves `listen`; `None` when `deadline` has come.
async fn connect(listen: SocketAddr, pool: &Pool, deadline: Instant) -> Option<TcpStream> {
    let mut changes = pool.changes();
    loop {
        changes.mark_unchanged();
        for address in pool.candidates(listen) {
            let limit = deadline.min(Instant::now() + CONNECT_WITHIN);
            match timeout_at(limit, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(error)) => debug!(%address, %error, "an instance refused"),
                Err(_) => debug!(%address, "an instance does not answer"),
            }
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(TRY_AGAIN_AFTER) => {}
        }
    }
}
