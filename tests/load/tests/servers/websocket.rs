//! WebSockets.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use load::{Failure, Plan, Protocol};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::bed::{assert_all_failed, load, load_by, server};

type Socket = WebSocketStream<TcpStream>;

fn plan(address: SocketAddr) -> Plan {
    Plan::new(address).by(Protocol::WebSocket).echoed()
}

async fn accepted(stream: TcpStream) -> Socket {
    tokio_tungstenite::accept_async(stream).await.expect("a WebSocket")
}

/// The next message; none when the client has closed.
async fn message(socket: &mut Socket) -> Option<String> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            return Some(text.to_string());
        }
    }
    None
}

async fn reply(socket: &mut Socket, echo: &str) {
    let reply = format!("{{\"release\":7,\"echo\":\"{echo}\"}}");
    socket.send(Message::text(reply)).await.expect("open");
}

async fn close(mut socket: Socket, code: CloseCode) {
    let frame = CloseFrame { code, reason: "".into() };
    socket.close(Some(frame)).await.expect("open");
    while let Some(Ok(_)) = socket.next().await {}
}

#[test]
fn one_socket_for_all_messages() {
    let address = server(async |stream| {
        let mut socket = accepted(stream).await;
        while let Some(text) = message(&mut socket).await {
            reply(&mut socket, &text).await;
        }
    });
    let tally = load(plan(address), |tally| tally.answered >= 10);
    assert_eq!((tally.failed(), tally.opened, tally.told_to_close), (0, 1, 0), "{tally}");
    assert_eq!(tally.answered_by(7), tally.answered, "{tally}");
}

#[test]
fn a_close_frame_is_followed_without_a_failure() {
    let address = server(async |stream| {
        let mut socket = accepted(stream).await;
        let Some(text) = message(&mut socket).await else { return };
        reply(&mut socket, &text).await;
        close(socket, CloseCode::Away).await;
    });
    // Its client rests for so long that the frame is there before the next message.
    let plan = Plan { clients: 1, pause: Duration::from_millis(100), ..plan(address) };
    let tally = load_by(plan, |tally| tally.answered >= 4);
    assert_eq!((tally.failed(), tally.sent_again), (0, 0), "{tally}");
    assert!(tally.told_to_close >= tally.answered - 1, "{tally}");
}

#[test]
fn a_message_that_meets_a_close_frame_is_sent_again_and_counted_apart() {
    let address = server(async |stream| {
        let mut socket = accepted(stream).await;
        let Some(text) = message(&mut socket).await else { return };
        reply(&mut socket, &text).await;
        if message(&mut socket).await.is_some() {
            close(socket, CloseCode::Away).await;
        }
    });
    let tally = load(plan(address), |tally| tally.answered >= 5);
    assert_eq!(tally.failed(), 0, "{tally}");
    assert!(tally.sent_again >= tally.answered - 1, "{tally}");
    assert_eq!(tally.requests(), tally.answered, "{tally}");
}

#[test]
fn a_cut_has_failed_whether_a_message_was_on_it_or_not() {
    let address = server(async |stream| {
        let mut socket = accepted(stream).await;
        let _ = message(&mut socket).await;
    });
    assert_all_failed(plan(address), Failure::EndBefore);

    let address = server(async |stream| {
        let mut socket = accepted(stream).await;
        let Some(text) = message(&mut socket).await else { return };
        reply(&mut socket, &text).await;
    });
    let plan = Plan { clients: 1, pause: Duration::from_millis(100), ..plan(address) };
    let tally = load_by(plan, |tally| tally.failed() >= 2);
    assert_eq!(tally.failed_by(Failure::EndBefore), tally.failed(), "{tally}");
}

#[test]
fn a_close_frame_that_tells_of_an_error_has_failed() {
    let address = server(async |stream| {
        let mut socket = accepted(stream).await;
        let _ = message(&mut socket).await;
        close(socket, CloseCode::Error).await;
    });
    assert_all_failed(plan(address), Failure::BadStatus);
}

#[test]
fn a_reply_to_another_message() {
    let address = server(async |stream| {
        let mut socket = accepted(stream).await;
        while message(&mut socket).await.is_some() {
            reply(&mut socket, "9-9").await;
        }
    });
    assert_all_failed(plan(address), Failure::WrongAnswer);
}

#[test]
fn a_server_that_knows_no_websocket() {
    let address = server(async |mut stream: TcpStream| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    });
    assert_all_failed(plan(address), Failure::BadStatus);
}
