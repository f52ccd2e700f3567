//! HTTP/2.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Connection, SendResponse};
use http::{Request, Response};
use load::{Failure, Plan, Protocol};
use tokio::net::TcpStream;

use crate::bed::{assert_all_failed, load, load_by, server};

type Wire = Connection<TcpStream, Bytes>;

fn plan(address: SocketAddr) -> Plan {
    Plan::new(address).by(Protocol::Http2)
}

async fn accepted(stream: TcpStream) -> Wire {
    h2::server::handshake(stream).await.expect("a client of HTTP/2")
}

/// The next request; none when the connection has ended.
async fn request(wire: &mut Wire) -> Option<(Request<h2::RecvStream>, SendResponse<Bytes>)> {
    wire.accept().await?.ok()
}

fn answer(request: &Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let id = request.headers()["x-request-id"].clone();
    let head = Response::builder().header("x-request-id", id).body(()).expect("a head");
    let mut body = respond.send_response(head, false).expect("open");
    body.send_data(Bytes::from_static(b"{\"release\":7}"), true).expect("open");
}

async fn until_ended(mut wire: Wire) {
    while let Some((request, respond)) = request(&mut wire).await {
        answer(&request, respond);
    }
}

#[test]
fn four_clients_share_a_connection() {
    let address = server(async |stream| until_ended(accepted(stream).await).await);
    let plan = Plan { clients: 8, ..plan(address).echoed() };
    let tally = load_by(plan, |tally| tally.answered >= 40);
    assert_eq!((tally.failed(), tally.opened), (0, 2), "{tally}");
    assert_eq!(tally.answered_by(7), tally.answered, "{tally}");
}

#[test]
fn goaway_is_followed_without_a_failure() {
    let address = server(async |stream| {
        let mut wire = accepted(stream).await;
        for _ in 0..2 {
            let Some((request, respond)) = request(&mut wire).await else { return };
            answer(&request, respond);
        }
        wire.graceful_shutdown();
        until_ended(wire).await;
    });
    let tally = load(plan(address).echoed(), |tally| tally.answered >= 10);
    assert_eq!((tally.failed(), tally.closed_idle), (0, 0), "{tally}");
    assert!(tally.told_to_close >= 3, "{tally}");
    assert!(tally.opened <= tally.told_to_close + 1, "{tally}");
}

#[test]
fn a_stream_that_was_refused_is_sent_again_and_counted_apart() {
    // The first request of all, on a connection that goes on.
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let address = server(async |stream| {
        let mut wire = accepted(stream).await;
        while let Some((request, mut respond)) = request(&mut wire).await {
            match REFUSED.swap(true, Ordering::Relaxed) {
                false => respond.send_reset(Reason::REFUSED_STREAM),
                true => answer(&request, respond),
            }
        }
    });
    let tally = load(plan(address).echoed(), |tally| tally.answered >= 5);
    assert_eq!((tally.failed(), tally.sent_again), (0, 1), "{tally}");
    assert_eq!(tally.requests(), tally.answered, "{tally}");
}

#[test]
fn a_stream_past_the_last_one_of_goaway_is_sent_again() {
    static GONE: AtomicBool = AtomicBool::new(false);
    let address = server(async |stream| {
        let mut wire = accepted(stream).await;
        if !GONE.swap(true, Ordering::Relaxed) {
            // Nothing is accepted, and GOAWAY says so: its last stream is 0.
            tokio::time::sleep(Duration::from_millis(50)).await;
            wire.abrupt_shutdown(Reason::NO_ERROR);
        }
        until_ended(wire).await;
    });
    let tally = load(plan(address).echoed(), |tally| tally.answered >= 5);
    assert_eq!((tally.failed(), tally.sent_again, tally.told_to_close), (0, 1, 1), "{tally}");
}

#[test]
fn a_stream_that_was_reset_has_failed() {
    let address = server(async |stream| {
        let mut wire = accepted(stream).await;
        while let Some((_, mut respond)) = request(&mut wire).await {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    });
    assert_all_failed(plan(address), Failure::Reset);
}

#[test]
fn an_end_before_an_answer_is_told_from_one_within() {
    let address = server(async |stream| {
        let mut wire = accepted(stream).await;
        let _ = request(&mut wire).await;
    });
    let tally = load(plan(address), |tally| tally.requests() >= 3);
    assert_eq!(tally.answered, 0, "{tally}");
    // Unread bytes of the client's make a reset of the end.
    let ended = tally.failed_by(Failure::EndBefore) + tally.failed_by(Failure::Reset);
    assert_eq!(ended, tally.requests(), "{tally}");

    let address = server(async |stream| {
        let mut wire = accepted(stream).await;
        let Some((_, mut respond)) = request(&mut wire).await else { return };
        let mut body = respond.send_response(Response::new(()), false).expect("open");
        body.send_data(Bytes::from_static(b"{"), false).expect("open");
        // Time to send it.
        let _ = tokio::time::timeout(Duration::from_millis(30), request(&mut wire)).await;
    });
    let tally = load(plan(address), |tally| tally.requests() >= 3);
    let ended = tally.failed_by(Failure::EndWithin) + tally.failed_by(Failure::Reset);
    assert_eq!((tally.answered, ended), (0, tally.requests()), "{tally}");
}

#[test]
fn a_server_of_another_protocol() {
    let address = server(async |mut stream| {
        use tokio::io::AsyncWriteExt;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        let _ = stream.shutdown().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    assert_all_failed(plan(address), Failure::Malformed);
}
