//! HTTP/2: some clients on one connection.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use tokio::sync::Mutex;

use crate::Plan;
use crate::client::Exchanged;
use crate::failure::{Failed, Failure};
use crate::stream::Connector;
use crate::tally::Connections;

/// What the clients share.
pub(crate) type Shared = Arc<Mutex<Option<Live>>>;

/// A connection that was not told to end yet.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    requests: SendRequest<Bytes>,
    /// Which of this group of clients it is.
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Http2 {
    connector: Connector,
    uri: http::Uri,
    shared: Shared,
    /// The connection that the request under way is on.
    on: u64,
}

/// Why there is no answer.
enum NoAnswer {
    /// The server said that it has not carried the request out.
    Refused,
    Failed(Failed),
}

impl Http2 {
    pub(crate) fn new(plan: &Arc<Plan>, connector: &Connector, shared: &Shared) -> Self {
        let scheme = if plan.tls.is_some() { "https" } else { "http" };
        let uri = http::Uri::builder()
            .scheme(scheme)
            .authority(plan.address.to_string())
            .path_and_query(plan.path.as_str())
            .build()
            .expect("an address and a path make a URI");
        Self { connector: connector.clone(), uri, shared: Arc::clone(shared), on: 0 }
    }

    pub(crate) async fn exchange(
        &mut self,
        id: &str,
        connections: &mut Connections,
    ) -> Result<Exchanged, Failed> {
        loop {
            let mut live = self.live(connections).await?;
            self.on = live.number;
            let request = http::Request::get(self.uri.clone()).header("x-request-id", id);
            let request = request.body(()).expect("a valid request");
            let answer = match live.requests.send_request(request, true) {
                Ok((answer, _)) => read(answer).await,
                Err(error) => Err(no_answer(&error, false)),
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(NoAnswer::Refused) => {
                    connections.sent_again += 1;
                    self.forget(live.number, connections).await;
                }
                Err(NoAnswer::Failed(failed)) => {
                    self.forget(live.number, &mut Connections::default()).await;
                    return Err(failed);
                }
            }
        }
    }

    /// The group's connection, or a new one where the server has ended it.
    async fn live(&self, connections: &mut Connections) -> Result<Live, Failed> {
        let mut shared = self.shared.lock().await;
        let mut number = 0;
        if let Some(live) = shared.take() {
            number = live.number;
            match live.requests.clone().ready().await {
                Ok(requests) => {
                    let live = Live { requests, number };
                    return Ok(shared.insert(live).clone());
                }
                Err(error) if error.is_go_away() => connections.told_to_close += 1,
                // No stream was on it: those that were have found out for themselves.
                Err(_) => connections.closed_idle += 1,
            }
        }
        let stream = self.connector.connect().await?;
        let handshake = h2::client::handshake(stream).await;
        let (requests, connection) = handshake.map_err(|error| failed(&error, false))?;
        connections.opened += 1;
        // Its streams tell what comes of it. It ends when nobody holds `requests`.
        tokio::spawn(connection);
        let requests = requests.ready().await.map_err(|error| failed(&error, false))?;
        Ok(shared.insert(Live { requests, number: number + 1 }).clone())
    }

    /// That connection takes no further requests; the first client to notice counts it.
    async fn forget(&self, number: u64, connections: &mut Connections) {
        let mut shared = self.shared.lock().await;
        if shared.take_if(|live| live.number == number).is_some() {
            connections.told_to_close += 1;
        }
    }

    pub(crate) async fn give_up(&mut self) {
        self.forget(self.on, &mut Connections::default()).await;
    }
}

async fn read(answer: ResponseFuture) -> Result<Exchanged, NoAnswer> {
    let (head, mut stream) = answer.await.map_err(|error| no_answer(&error, false))?.into_parts();
    let mut body = Vec::new();
    while let Some(bytes) = stream.data().await {
        let bytes = bytes.map_err(|error| NoAnswer::Failed(failed(&error, true)))?;
        let released = stream.flow_control().release_capacity(bytes.len());
        released.map_err(|error| NoAnswer::Failed(failed(&error, true)))?;
        body.extend_from_slice(&bytes);
    }
    let echo = head.headers.get("x-request-id");
    let echo = echo.map(|echo| String::from_utf8_lossy(echo.as_bytes()).into_owned());
    Ok(Exchanged { status: head.status.as_u16(), body, echo })
}

/// GOAWAY ends those streams with an error alone that are past its last one; by that, and by
/// `REFUSED_STREAM`, the server says that it did nothing with them (RFC 9113, 8.7).
fn no_answer(error: &h2::Error, is_within: bool) -> NoAnswer {
    let is_refused = error.is_remote()
        && (error.is_go_away()
            || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM));
    if is_refused { NoAnswer::Refused } else { NoAnswer::Failed(failed(error, is_within)) }
}

fn failed(error: &h2::Error, is_within: bool) -> Failed {
    let failed = match error.get_io() {
        // So h2 names a connection that ended in good order, and a stream's answer did not come.
        Some(io) if io.kind() == std::io::ErrorKind::BrokenPipe => {
            Failed::new(Failure::EndBefore, error.to_string())
        }
        Some(io) => Failed::io(copied(io)),
        None if error.is_reset() => Failed::new(Failure::Reset, error.to_string()),
        None => Failed::malformed(error.to_string()),
    };
    if is_within { failed.within() } else { failed }
}

/// The error of a connection is its streams' too, and so only lent. Of one that TLS gave, h2 keeps
/// the words alone.
fn copied(error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), error.to_string())
}
