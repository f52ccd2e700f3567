//! One connection, plain or over TLS.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::failure::Failed;
use crate::{Plan, Protocol};

/// Opens connections by one plan. Sessions of TLS are resumed from one to the next.
#[derive(Clone)]
pub(crate) struct Connector {
    plan: Arc<Plan>,
    tls: Option<TlsConnector>,
}

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Connector {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let tls = plan.tls.as_ref().map(|tls| {
            let mut config = tls.config.clone();
            config.alpn_protocols = vec![alpn(plan.protocol).to_vec()];
            TlsConnector::from(Arc::new(config))
        });
        Self { plan, tls }
    }

    pub(crate) async fn connect(&self) -> Result<Stream, Failed> {
        let stream = TcpStream::connect(self.plan.address).await.map_err(Failed::io)?;
        stream.set_nodelay(true).map_err(Failed::io)?;
        let (Some(connector), Some(tls)) = (&self.tls, &self.plan.tls) else {
            return Ok(Stream::Plain(stream));
        };
        let stream = connector.connect(tls.name.clone(), stream).await.map_err(Failed::io)?;
        let agreed = stream.get_ref().1.alpn_protocol();
        // A server without ALPN speaks HTTP/1.1.
        if agreed.unwrap_or(b"http/1.1") != alpn(self.plan.protocol) {
            return Err(Failed::malformed("the server agreed to another protocol by ALPN"));
        }
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http2 => b"h2",
        Protocol::NewConnections | Protocol::KeepAlive | Protocol::WebSocket => b"http/1.1",
    }
}

impl Stream {
    /// Whether the server has not ended it yet, as the kernel knows it: what tokio knows lags
    /// behind. Bytes that nobody asked for leave it open; the next answer will turn out malformed,
    /// as it should.
    pub(crate) async fn is_open(&mut self) -> bool {
        loop {
            let mut byte = [MaybeUninit::uninit()];
            match SockRef::from(self.tcp()).peek(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
            let Self::Tls(stream) = self else { return true };
            // A ticket for the next session, or the server's goodbye: TLS has to look at it.
            if stream.get_ref().0.readable().await.is_err() {
                return false;
            }
            let mut byte = [0];
            let mut read = ReadBuf::new(&mut byte);
            let polled = poll_fn(|context| {
                Poll::Ready(Pin::new(&mut **stream).poll_read(context, &mut read))
            });
            match polled.await {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => return !read.filled().is_empty(),
                Poll::Ready(Err(_)) => return false,
            }
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
