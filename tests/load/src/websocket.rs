//! A WebSocket that stays, and a message on it now and then.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use tokio::time::timeout;

use crate::Plan;
use crate::client::Exchanged;
use crate::failure::{Failed, Failure};
use crate::stream::{Connector, Stream};
use crate::tally::Connections;

/// How long a server may take to end a connection that it has closed.
const GOODBYE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct WebSocket {
    connector: Connector,
    url: String,
    socket: Option<WebSocketStream<Stream>>,
    /// It ended while no message was on it, and not as it should.
    broken: Option<Failed>,
}

/// The reply to a message names it.
#[derive(Deserialize)]
struct Reply {
    echo: String,
}

/// What came instead of a reply.
enum Ending {
    /// The server has closed the socket by its word.
    Closed,
    Failed(Failed),
}

impl WebSocket {
    pub(crate) fn new(plan: &Arc<Plan>, connector: &Connector) -> Self {
        let scheme = if plan.tls.is_some() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}{}", plan.address, plan.path);
        Self { connector: connector.clone(), url, socket: None, broken: None }
    }

    /// Waits for the socket's end while no message is on it. It is told by the next exchange, if it
    /// was none as it should be. Never returns otherwise.
    pub(crate) async fn listen(&mut self, connections: &mut Connections) {
        let Some(socket) = &mut self.socket else { return std::future::pending().await };
        let ending = match next(socket).await {
            Ok(reply) => Ending::Failed(unasked(&reply)),
            Err(ending) => ending,
        };
        let socket = self.socket.take();
        match ending {
            Ending::Closed => {
                connections.told_to_close += 1;
                socket.into_iter().for_each(say_goodbye);
            }
            Ending::Failed(failed) => self.broken = Some(failed),
        }
    }

    pub(crate) async fn exchange(
        &mut self,
        id: &str,
        connections: &mut Connections,
    ) -> Result<Exchanged, Failed> {
        if let Some(failed) = self.broken.take() {
            return Err(failed);
        }
        loop {
            let mut socket = match self.socket.take() {
                Some(socket) => socket,
                None => self.open(connections).await?,
            };
            let sent = socket.send(Message::text(id)).await.map_err(ended);
            let reply = match sent {
                Ok(()) => next(&mut socket).await,
                Err(ending) => Err(ending),
            };
            match reply {
                Ok(reply) => {
                    self.socket = Some(socket);
                    let echo = serde_json::from_str(&reply).ok().map(|reply: Reply| reply.echo);
                    return Ok(Exchanged { status: 200, body: reply.into_bytes(), echo });
                }
                // What comes after its close frame a server does not read (RFC 6455, 1.4).
                Err(Ending::Closed) => {
                    connections.told_to_close += 1;
                    connections.sent_again += 1;
                    say_goodbye(socket);
                }
                Err(Ending::Failed(failed)) => return Err(failed),
            }
        }
    }

    async fn open(&self, connections: &mut Connections) -> Result<WebSocketStream<Stream>, Failed> {
        let stream = self.connector.connect().await?;
        let opened = tokio_tungstenite::client_async(&self.url, stream).await;
        connections.opened += 1;
        match opened {
            Ok((socket, _)) => Ok(socket),
            Err(error) => match ended(error) {
                Ending::Closed => Err(Failed::new(Failure::EndBefore, "closed in the handshake")),
                Ending::Failed(failed) => Err(failed),
            },
        }
    }

    /// Says goodbye, and waits for the server's.
    pub(crate) async fn close(self) {
        let Some(mut socket) = self.socket else { return };
        // Nothing that comes now is of a request.
        if socket.close(None).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    }

    pub(crate) fn give_up(&mut self) {
        self.socket = None;
    }
}

/// The next message. Nothing is lost where nobody waits for its end.
async fn next(socket: &mut WebSocketStream<Stream>) -> Result<String, Ending> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => {
                return Err(Ending::Failed(Failed::malformed(format!("{other:?}"))));
            }
            Some(Err(error)) => return Err(ended(error)),
            None => return Err(Ending::Failed(cut())),
        }
    }
}

/// Answers the server's close frame, and waits for its end of the connection, as RFC 6455 (7.1.1)
/// asks of clients; the next request need not wait for that.
fn say_goodbye(mut socket: WebSocketStream<Stream>) {
    tokio::spawn(timeout(
        GOODBYE_MAX,
        async move { while let Some(Ok(_)) = socket.next().await {} },
    ));
}

fn closed(frame: Option<CloseFrame>) -> Ending {
    match frame {
        Some(frame) if !matches!(frame.code, CloseCode::Normal | CloseCode::Away) => {
            Ending::Failed(Failed::new(Failure::BadStatus, format!("closed: {frame}")))
        }
        _ => Ending::Closed,
    }
}

fn ended(error: Error) -> Ending {
    Ending::Failed(match error {
        Error::ConnectionClosed => return Ending::Closed,
        Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => cut(),
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => cut(),
        Error::Io(error) => Failed::io(error),
        Error::Http(answer) => Failed::new(Failure::BadStatus, answer.status().to_string()),
        error => Failed::malformed(error.to_string()),
    })
}

fn cut() -> Failed {
    Failed::new(Failure::EndBefore, "the WebSocket ended without a close frame")
}

fn unasked(reply: &str) -> Failed {
    Failed::new(Failure::WrongAnswer, format!("a message that nobody asked for: {reply}"))
}
