//! Uploads piece by piece.

use reqwest::Method;

use super::bench::{Answer, Bench, send};

const QUANTUM: usize = 256 * 1024;

async fn start(bench: &Bench, query: &str, metadata: &str) -> Answer {
    let path = format!("/upload/storage/v1/b/bench/o?uploadType=resumable&name=big{query}");
    bench.call(Method::POST, &path, metadata).await
}

async fn piece(bench: &Bench, session: &str, range: &str, body: Vec<u8>) -> Answer {
    send(bench.http.put(session).header("content-range", range).body(body)).await
}

fn session(started: &Answer) -> String {
    assert_eq!(started.status, 200, "{}", started.text());
    started.header("location").to_owned()
}

#[tokio::test]
async fn pieces_make_an_object() {
    let bench = Bench::new().await;
    let session = session(&start(&bench, "&ifGenerationMatch=0", "").await);
    assert!(session.starts_with(bench.server.url()), "{session}");
    let asked = piece(&bench, &session, "bytes */*", vec![]).await;
    assert_eq!((asked.status, asked.header("range")), (308, ""));
    let sent = piece(&bench, &session, "bytes 0-262143/*", vec![b'a'; QUANTUM]).await;
    assert_eq!((sent.status, sent.header("range")), (308, "bytes=0-262143"));
    // The same again, by a client that did not hear the answer.
    let sent = piece(&bench, &session, "bytes 0-262143/262147", vec![b'a'; QUANTUM]).await;
    assert_eq!((sent.status, sent.header("range")), (308, "bytes=0-262143"));
    let gap = piece(&bench, &session, "bytes 262145-262146/262147", vec![b'b'; 2]).await;
    assert_eq!(gap.status, 400);
    assert_eq!(bench.read("big", "").await.status, 404);
    let done = piece(&bench, &session, "bytes 262144-262146/262147", b"end".to_vec()).await;
    let generation = done.generation();
    let read = bench.read("big", "").await;
    assert_eq!((read.body.len(), &read.body[QUANTUM..]), (QUANTUM + 3, &b"end"[..]));
    // Who did not hear of the end asks, and is told.
    let asked = piece(&bench, &session, "bytes */262147", vec![]).await;
    assert_eq!(asked.generation(), generation);
}

#[tokio::test]
async fn one_piece_of_any_kind() {
    let bench = Bench::new().await;
    for (range, body) in [
        (Some("bytes 0-4/5"), "whole"),
        (Some("bytes 0-*/*"), "rest"),
        (Some("bytes */0"), ""),
        (None, "no header"),
    ] {
        let session = session(&start(&bench, "", "").await);
        let mut request = bench.http.put(&session).body(body);
        if let Some(range) = range {
            request = request.header("content-range", range);
        }
        send(request).await.generation();
        assert_eq!(bench.read("big", "").await.text(), body, "{range:?}");
    }
}

#[tokio::test]
async fn preconditions_hold_at_the_start_and_at_the_end() {
    let bench = Bench::new().await;
    let session = session(&start(&bench, "&ifGenerationMatch=0", "").await);
    bench.put("big", "somebody else", "").await.generation();
    let lost = piece(&bench, &session, "bytes 0-0/1", vec![b'x']).await;
    assert_eq!((lost.status, lost.reason().as_str()), (412, "conditionNotMet"));
    assert_eq!(bench.read("big", "").await.text(), "somebody else");
    assert_eq!(start(&bench, "&ifGenerationMatch=0", "").await.status, 412);
}

#[tokio::test]
async fn wrong_checksums_store_nothing() {
    let bench = Bench::new().await;
    let session_id = session(&start(&bench, "", r#"{"crc32c": "AAAAAA=="}"#).await);
    assert_eq!(piece(&bench, &session_id, "bytes 0-0/1", vec![b'x']).await.status, 400);
    let session_id = session(&start(&bench, "", "").await);
    let last = bench.http.put(&session_id).header("content-range", "bytes 0-0/1").body("x");
    let wrong = send(last.header("x-goog-hash", "crc32c=AAAAAA==")).await;
    assert_eq!(wrong.status, 400);
    assert_eq!(bench.read("big", "").await.status, 404);
}

#[tokio::test]
async fn pieces_that_cannot_be_are_refused() {
    let bench = Bench::new().await;
    let session = session(&start(&bench, "", "").await);
    for (range, length) in [
        ("bytes 0-9/*", 10),
        ("bytes 0-9/20", 10),
        ("bytes 0-4/5", 4),
        ("bytes 0-9/5", 10),
        ("lines 0-9/10", 10),
        ("bytes */5", 3),
    ] {
        let refused = piece(&bench, &session, range, vec![b'x'; length]).await;
        assert_eq!(refused.status, 400, "{range}");
    }
    piece(&bench, &session, "bytes 0-9/10", vec![b'x'; 10]).await.generation();
}

#[tokio::test]
async fn a_session_can_be_given_up() {
    let bench = Bench::new().await;
    let session = session(&start(&bench, "", "").await);
    assert_eq!(send(bench.http.delete(&session)).await.status, 499);
    assert_eq!(piece(&bench, &session, "bytes */*", vec![]).await.status, 410);
    let unknown = format!("{}x", session);
    assert_eq!(piece(&bench, &unknown, "bytes */*", vec![]).await.status, 404);
}

/// A client that dies in the middle, not a server that cuts.
#[tokio::test]
async fn what_came_of_a_piece_is_kept_when_the_client_goes() {
    use std::io::Write;
    let bench = Bench::new().await;
    let session = session(&start(&bench, "", "").await);
    let address = bench.server.url().split_once("//").unwrap().1;
    let path = session.strip_prefix(bench.server.url()).unwrap();
    let total = 8 * QUANTUM;
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-range: bytes 0-{}/{total}\r\n\
         content-length: {total}\r\n\r\n",
        total - 1
    );
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&vec![b'x'; 3 * QUANTUM + 5]).unwrap();
    drop(connection);
    let kept = format!("bytes=0-{}", 3 * QUANTUM - 1);
    let begun = std::time::Instant::now();
    loop {
        let asked = piece(&bench, &session, "bytes */*", vec![]).await;
        assert_eq!(asked.status, 308);
        if asked.header("range") == kept {
            break;
        }
        assert!(begun.elapsed().as_secs() < 10, "{:?}", asked.headers);
    }
    let rest = format!("bytes {}-{}/{total}", 3 * QUANTUM, total - 1);
    piece(&bench, &session, &rest, vec![b'x'; 5 * QUANTUM]).await.generation();
}
