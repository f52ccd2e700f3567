//! Accepting connections until the end, and knowing when the last of them is closed.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::{Shutdown, notify};

/// How long to wait for a descriptor or memory to come free before trying to accept again.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A listener that ends without leaving anybody in its queue: for servers that do not speak HTTP.
///
/// ```no_run
/// # use engineer::{Incoming, Shutdown};
/// # async fn talk(_: tokio::net::TcpStream, _: &Shutdown) {}
/// # async fn example() -> std::io::Result<()> {
/// let shutdown = Shutdown::on_signal()?;
/// let mut incoming = Incoming::new(engineer::listen("0.0.0.0:7000")?, shutdown.clone());
/// engineer::ready()?;
/// while let Some(accepted) = incoming.accept().await? {
///     let shutdown = shutdown.clone();
///     tokio::spawn(async move {
///         talk(accepted.stream, &shutdown).await;
///         drop(accepted.open);
///     });
/// }
/// incoming.closed().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Incoming {
    listener: Listener,
    shutdown: Shutdown,
    open: Open,
    closed: mpsc::Receiver<Infallible>,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, with `TCP_NODELAY`.
    pub stream: TcpStream,
    /// Its other end.
    pub peer: SocketAddr,
    /// Counts the connection; to be dropped when it is closed.
    pub open: Open,
}

/// Holds [`Incoming::closed`] up for as long as it exists.
#[derive(Clone, Debug)]
pub struct Open {
    // Never sent on: the channel is closed when the last sender is gone.
    _sender: mpsc::Sender<Infallible>,
}

#[derive(Debug)]
enum Listener {
    Open(TcpListener),
    /// Asked the kernel itself, since tokio's knowledge of the queue lags behind it.
    Emptying(std::net::TcpListener),
    Closed,
}

impl Incoming {
    /// Accepts from `listener` until `shutdown` begins and the queue is empty.
    pub fn new(listener: TcpListener, shutdown: Shutdown) -> Self {
        let (sender, closed) = mpsc::channel(1);
        Self {
            listener: Listener::Open(listener),
            shutdown,
            open: Open { _sender: sender },
            closed,
        }
    }

    /// The next connection; none when the end has begun and no connection waits any more. The
    /// listener is closed then, and the agent was told so.
    ///
    /// # Errors
    /// When the listener is broken. Not when a client was gone before it was accepted, nor when the
    /// process has no descriptor left: it waits for one.
    pub async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        loop {
            let accepted = match &self.listener {
                Listener::Open(listener) => tokio::select! {
                    biased;
                    () = self.shutdown.begun() => {
                        self.stop_waiting()?;
                        continue;
                    }
                    accepted = listener.accept() => accepted,
                },
                Listener::Emptying(listener) => listener.accept().and_then(|(stream, peer)| {
                    stream.set_nonblocking(true)?;
                    Ok((TcpStream::from_std(stream)?, peer))
                }),
                Listener::Closed => return Ok(None),
            };
            match accepted {
                Ok((stream, peer)) => return Ok(Some(self.accepted(stream, peer))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.close()?,
                Err(error) => recover(error).await?,
            }
        }
    }

    /// Returns when every [`Open`] of this listener is dropped. Waits without a limit: whoever ended
    /// the app says how long it may take.
    pub async fn closed(mut self) {
        drop(self.open);
        drop(self.listener);
        while self.closed.recv().await.is_some() {}
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr) -> Accepted {
        // Fails only on a connection that is broken already, which its reader will find out.
        let _ = stream.set_nodelay(true);
        Accepted { stream, peer, open: self.open.clone() }
    }

    fn stop_waiting(&mut self) -> io::Result<()> {
        if let Listener::Open(listener) = std::mem::replace(&mut self.listener, Listener::Closed) {
            self.listener = Listener::Emptying(listener.into_std()?);
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.listener = Listener::Closed;
        notify::unless_gone(notify::stopping())
    }
}

/// Passes over a connection that failed before it was accepted, waits where something ran out, and
/// gives back what neither heals.
async fn recover(error: io::Error) -> io::Result<()> {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    use libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    match (error.kind(), error.raw_os_error()) {
        (ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted, _) => Ok(()),
        (_, Some(EMFILE | ENFILE | ENOBUFS | ENOMEM)) => {
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            Ok(())
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_queued_at_the_end_is_still_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let shutdown = Shutdown::new();
        let mut incoming = Incoming::new(listener, shutdown.clone());
        let clients: Vec<_> =
            (0..50).map(|_| std::net::TcpStream::connect(address).expect("connect")).collect();
        shutdown.begin();
        let mut accepted = Vec::new();
        while let Some(connection) = incoming.accept().await.expect("accept") {
            accepted.push(connection);
        }
        assert_eq!(accepted.len(), clients.len());
        let refused = std::net::TcpStream::connect(address).expect_err("closed");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        drop(accepted);
        incoming.closed().await;
    }

    #[tokio::test]
    async fn the_end_waits_for_what_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let shutdown = Shutdown::new();
        let mut incoming = Incoming::new(listener, shutdown.clone());
        let _client = TcpStream::connect(address).await.expect("connect");
        let accepted = incoming.accept().await.expect("accept").expect("a connection");
        shutdown.begin();
        assert!(incoming.accept().await.expect("accept").is_none());
        let mut closed = tokio::spawn(incoming.closed());
        let early = tokio::time::timeout(Duration::from_millis(50), &mut closed).await;
        assert!(early.is_err(), "a connection is open");
        drop(accepted);
        closed.await.expect("it ended");
    }

    #[tokio::test]
    async fn only_a_broken_listener_is_an_error() {
        recover(io::ErrorKind::ConnectionAborted.into()).await.expect("passed over");
        recover(io::Error::from_raw_os_error(libc::EMFILE)).await.expect("waited for");
        recover(io::Error::from_raw_os_error(libc::EINVAL)).await.expect_err("broken");
    }
}
