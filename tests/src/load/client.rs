//! One client: at most one connection, at most one request on it.

use std::mem::{self, MaybeUninit};
use std::sync::Arc;

use serde::Deserialize;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Plan;
use super::answer;
use super::tally::{Connections, Failed, Failure};

#[derive(Debug)]
pub(super) struct Client {
    plan: Arc<Plan>,
    request: Vec<u8>,
    kept: Option<TcpStream>,
    connections: Connections,
}

/// What the answer of a test's app says of itself, as far as it matters here.
#[derive(Deserialize)]
struct Who {
    release: u64,
}

impl Client {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let connection = if plan.keep_alive { "keep-alive" } else { "close" };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n\r\n",
            plan.path, plan.address
        );
        Self {
            plan,
            request: request.into_bytes(),
            kept: None,
            connections: Connections::default(),
        }
    }

    /// Makes one request. A good answer is told by the release that it says it is from.
    pub(super) async fn request(&mut self) -> Result<Option<u64>, Failed> {
        let limit = self.plan.timeout;
        // What is dropped on a time-out has its connection with it.
        timeout(limit, self.exchange()).await.unwrap_or_else(|_| {
            let text = format!("no whole answer in {:.1} s", limit.as_secs_f64());
            Err(Failed::new(Failure::Timeout, text))
        })
    }

    /// What happened to the client's connections since this was asked last.
    pub(super) fn take_connections(&mut self) -> Connections {
        mem::take(&mut self.connections)
    }

    async fn exchange(&mut self) -> Result<Option<u64>, Failed> {
        let mut stream = match self.kept() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        stream.write_all(&self.request).await.map_err(Failed::io)?;
        let answer = answer::read(&mut stream).await?;
        if self.plan.keep_alive {
            if answer.keeps {
                self.kept = Some(stream);
            } else {
                self.connections.told_to_close += 1;
            }
        }
        if !(200..300).contains(&answer.status) {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(Failed::new(Failure::BadStatus, format!("{} {body}", answer.status)));
        }
        Ok(serde_json::from_slice::<Who>(&answer.body).ok().map(|who| who.release))
    }

    /// The kept connection, unless the server has ended it by now: then nothing was on it that
    /// could have failed. Asks the kernel, so that what it knew counts and not what tokio did.
    fn kept(&mut self) -> Option<TcpStream> {
        let stream = self.kept.take()?;
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(&stream).peek(&mut byte) {
            // The answer to this request will turn out malformed, as it should.
            Ok(1..) => Some(stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(stream),
            Ok(0) | Err(_) => {
                self.connections.closed_idle += 1;
                None
            }
        }
    }

    async fn connect(&mut self) -> Result<TcpStream, Failed> {
        let stream = TcpStream::connect(self.plan.address).await.map_err(Failed::io)?;
        stream.set_nodelay(true).map_err(Failed::io)?;
        self.connections.opened += 1;
        Ok(stream)
    }
}
