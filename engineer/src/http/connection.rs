//! One connection: its bytes, and what the end has to know of it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Accepted, Open};

/// A connection, shared by the protocol that reads and writes it and the task that ends it. It is
/// closed, and counted out, when the last of them is gone; one that was upgraded lives on with
/// whoever took it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    _open: Open,
    activity: Mutex<Activity>,
    changed: Notify,
}

#[derive(Debug)]
struct Activity {
    /// Requests whose responses are not written to the end.
    requests: usize,
    /// The client does not take what is written.
    blocked: bool,
    /// Stream came since the last request that are none yet.
    fragment: bool,
    http2: bool,
    last: Instant,
}

/// How a connection stands, for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Speaks HTTP/2, which has a graceful end of its own.
    Http2,
    /// Answers a request.
    Busy,
    /// No request since then.
    Idle(Instant),
    /// A part of a request came then.
    Fragment(Instant),
}

impl Connection {
    pub(super) fn new(accepted: Accepted) -> Arc<Self> {
        let activity = Activity {
            requests: 0,
            blocked: false,
            fragment: false,
            http2: false,
            last: Instant::now(),
        };
        Arc::new(Self {
            stream: accepted.stream,
            _open: accepted.open,
            activity: Mutex::new(activity),
            changed: Notify::new(),
        })
    }

    pub(super) fn standing(&self) -> Standing {
        let activity = self.activity();
        match &*activity {
            Activity { http2: true, .. } => Standing::Http2,
            Activity { requests: 1.., .. } | Activity { blocked: true, .. } => Standing::Busy,
            Activity { fragment: true, last, .. } => Standing::Fragment(*last),
            Activity { last, .. } => Standing::Idle(*last),
        }
    }

    /// Returns when the standing may have changed since this was called last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether the kernel holds bytes of the client that nobody has read yet: asked of the kernel
    /// itself, since tokio's knowledge of the socket lags behind it. Such bytes count as a part of
    /// a request from now on.
    pub(super) fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let unread = matches!(SockRef::from(&self.stream).peek(&mut byte), Ok(1..));
        if unread {
            self.activity().read();
        }
        unread
    }

    /// What came so far was a handshake, and no part of a request.
    pub(super) fn has_shaken_hands(&self) {
        let mut activity = self.activity();
        activity.fragment = false;
        activity.last = Instant::now();
        drop(activity);
        self.changed.notify_one();
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>, http2: bool) -> RequestGuard {
        let mut activity = self.activity();
        activity.requests += 1;
        activity.fragment = false;
        activity.http2 |= http2;
        drop(activity);
        self.changed.notify_one();
        RequestGuard { connection: Arc::clone(self) }
    }

    fn end_request(&self) {
        let mut activity = self.activity();
        activity.requests -= 1;
        activity.fragment = false;
        activity.last = Instant::now();
        drop(activity);
        self.changed.notify_one();
    }

    fn wrote(&self, blocked: bool) {
        let mut activity = self.activity();
        let unblocked = activity.blocked && !blocked;
        activity.blocked = blocked;
        if unblocked {
            activity.last = Instant::now();
            drop(activity);
            self.changed.notify_one();
        }
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Activity {
    fn read(&mut self) {
        self.fragment = true;
        self.last = Instant::now();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct RequestGuard {
    connection: Arc<Connection>,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.connection.end_request();
    }
}

/// The bytes of an accepted connection, for [`Server::serve_over`](super::Server::serve_over).
#[derive(Debug)]
pub struct Stream(pub(super) Arc<Connection>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(cx))?;
            match self.0.stream.try_read_buf(buffer) {
                Ok(count) => {
                    if count > 0 {
                        self.0.activity().read();
                    }
                    return Poll::Ready(Ok(()));
                }
                // The readiness was out of date, and is cleared now: asking again sets the waker.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Stream {
    fn poll_write_by(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let ready = self.0.stream.poll_write_ready(cx);
            self.0.wrote(ready.is_pending());
            ready!(ready)?;
            match write(&self.0.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(std::net::Shutdown::Write))
    }
}

/// When a connection may be closed that has stood as `standing` since the end began at `ended`;
/// none where only a change can tell.
pub(super) fn closable_at(standing: Standing, ended: Instant, grace: Duration) -> Option<Instant> {
    match standing {
        Standing::Http2 | Standing::Busy => None,
        Standing::Idle(since) => Some(since.max(ended) + grace),
        // Somebody is sending a request, but it may never be finished: one more grace for that.
        Standing::Fragment(since) => Some(since.max(ended) + 2 * grace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incoming, Shutdown};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn pair() -> (TcpStream, Arc<Connection>) {
        let listener = crate::bind_reusable("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        let mut incoming = Incoming::new(listener, Shutdown::new());
        let client = TcpStream::connect(address).await.expect("connect");
        let accepted = incoming.accept().await.expect("accept").expect("a connection");
        (client, Connection::new(accepted))
    }

    #[tokio::test]
    async fn a_connection_goes_from_idle_over_a_fragment_to_busy_and_back() {
        let (mut client, connection) = pair().await;
        assert!(matches!(connection.standing(), Standing::Idle(_)));
        client.write_all(b"GET").await.expect("write");
        let mut bytes = Stream(Arc::clone(&connection));
        bytes.read_exact(&mut [0; 3]).await.expect("read");
        assert!(matches!(connection.standing(), Standing::Fragment(_)));
        let request = connection.begin_request(false);
        assert_eq!(connection.standing(), Standing::Busy);
        drop(request);
        assert!(matches!(connection.standing(), Standing::Idle(_)));
        drop(connection.begin_request(true));
        assert_eq!(connection.standing(), Standing::Http2);
    }

    #[tokio::test]
    async fn bytes_in_the_kernel_are_seen_before_they_are_read() {
        let (client, connection) = pair().await;
        assert!(!connection.has_unread());
        assert!(matches!(connection.standing(), Standing::Idle(_)));
        client.writable().await.expect("writable");
        client.try_write(b"G").expect("write");
        assert!(connection.has_unread());
        assert!(matches!(connection.standing(), Standing::Fragment(_)));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_keeps_the_connection_busy() {
        let (mut client, connection) = pair().await;
        let mut bytes = Stream(Arc::clone(&connection));
        let written = tokio::spawn(async move { bytes.write_all(&vec![0; 16 << 20]).await });
        while connection.standing() != Standing::Busy {
            tokio::task::yield_now().await;
        }
        let mut read = vec![0; 16 << 20];
        client.read_exact(&mut read).await.expect("read");
        written.await.expect("it wrote").expect("write");
        assert!(matches!(connection.standing(), Standing::Idle(_)));
    }

    #[test]
    fn the_grace_counts_from_the_end_or_from_the_last_request() {
        let grace = Duration::from_secs(3);
        let earlier = Instant::now();
        let ended = earlier + Duration::from_secs(60);
        let later = ended + Duration::from_secs(10);
        assert_eq!(closable_at(Standing::Idle(earlier), ended, grace), Some(ended + grace));
        assert_eq!(closable_at(Standing::Idle(later), ended, grace), Some(later + grace));
        assert_eq!(closable_at(Standing::Fragment(later), ended, grace), Some(later + 2 * grace));
        assert_eq!(closable_at(Standing::Busy, ended, grace), None);
        assert_eq!(closable_at(Standing::Http2, ended, grace), None);
    }
}
