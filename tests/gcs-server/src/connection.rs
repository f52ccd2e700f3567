//! One connection: its bytes counted, its answers sent whole or cut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::answer::Answer;
use crate::stats::Stats;
use crate::world::World;

/// How long the first half of an answer has to get out before the cut.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// Serves a connection to its end.
pub(crate) async fn serve(world: Arc<World>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(move |request| {
        let world = Arc::clone(&world);
        async move { world.answer(request).await }
    });
    // What it fails with is a client that went away, or a cut on purpose.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The body of an answer.
pub(crate) struct Reply {
    rest: Option<Bytes>,
    /// The half is all that is sent.
    cut: Option<Pin<Box<Sleep>>>,
}

impl Reply {
    /// An answer that ends in the middle of its body, of which it told the whole length.
    pub(crate) fn cut_in_body(answer: Answer) -> Response<Self> {
        let length = answer.body.len();
        let half = answer.body.slice(..length / 2);
        let mut response = Response::from(answer);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *response.body_mut() = Self { rest: Some(half), cut: Some(Box::pin(sleep(BEFORE_CUT))) };
        response
    }
}

impl From<Answer> for Response<Reply> {
    fn from(answer: Answer) -> Self {
        let mut response = Response::new(Reply { rest: Some(answer.body), cut: None });
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = answer.headers;
        response
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(bytes) = self.rest.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &mut self.cut {
            None => Poll::Ready(None),
            // The half goes out while this waits.
            Some(wait) => wait.as_mut().poll(context).map(|()| {
                let error = io::Error::new(io::ErrorKind::ConnectionAborted, "cut on purpose");
                Some(Err(error))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.rest.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.cut {
            None => SizeHint::with_exact(self.rest.as_ref().map_or(0, |rest| rest.len() as u64)),
            Some(_) => SizeHint::default(),
        }
    }
}

/// A stream whose bytes are counted.
pub(crate) struct Counted<S> {
    pub(crate) stream: S,
    pub(crate) stats: Stats,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.stats.count_in(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        if let Poll::Ready(Ok(count)) = written {
            self.stats.count_out(count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
