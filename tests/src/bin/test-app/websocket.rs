//! The WebSocket at `/ws`: each message is answered by who answers, with the message in it.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::answer::App;

/// How long a client may take to answer the close frame.
const GOODBYE_MAX: Duration = Duration::from_secs(10);

/// The sockets that are open, for [`closed`].
static OPEN: Mutex<Option<JoinSet<()>>> = Mutex::new(None);

#[derive(Serialize)]
struct Reply<'a> {
    #[serde(flatten)]
    app: &'a App,
    echo: &'a str,
}

/// The answer to a request for a WebSocket, which then lives on by itself.
pub(crate) fn accept(app: App, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted.expect("base64"));
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let open = open.get_or_insert_default();
    while open.try_join_next().is_some() {}
    open.spawn(upgraded(app, hyper::upgrade::on(&mut request)));
    response
}

/// Waits until all sockets are closed: they close by themselves on `SIGTERM`. For apps without the
/// library, which waits for its connections itself.
pub(crate) async fn closed() {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(open) = open {
        open.join_all().await;
    }
}

async fn upgraded(app: App, upgrade: OnUpgrade) {
    // What fails on a connection is its client's to count.
    if let Ok(upgraded) = upgrade.await {
        serve(&app, upgraded).await;
    }
}

async fn serve(app: &App, upgraded: Upgraded) {
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let mut terminated = pin!(engineer::terminated());
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let reply = Reply { app, echo: &text };
                    let reply = serde_json::to_string(&reply).expect("strings and numbers");
                    if socket.send(Message::text(reply)).await.is_err() {
                        return;
                    }
                }
                // The answer to the client's close frame goes out by asking on.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = &mut terminated => break,
        }
    }
    let frame = CloseFrame { code: CloseCode::Away, reason: "another version serves".into() };
    if socket.close(Some(frame)).await.is_ok() {
        // What the client sent before it saw the frame is not read any more, and it knows that.
        let _ =
            timeout(GOODBYE_MAX, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    }
}
