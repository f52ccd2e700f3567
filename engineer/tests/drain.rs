//! The end of an HTTP server, as its clients see it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engineer::Shutdown;
use engineer::http::Server;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const GRACE: Duration = Duration::from_secs(1);

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    served: JoinHandle<io::Result<()>>,
}

fn start() -> Running {
    let listener = engineer::bind_reusable("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    let shutdown = Shutdown::new();
    let router = router(shutdown.clone());
    let server = Server::new(listener).shutdown(shutdown.clone()).grace(GRACE);
    Running { address, shutdown, served: tokio::spawn(server.serve_tower(router)) }
}

fn router(shutdown: Shutdown) -> Router {
    let slow = |ms: u64| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        "slow"
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/slow", get(move || slow(600)))
        .route("/echo", post(|body: axum::body::Bytes| async move { body }))
        .route("/upgrade", get(move |request| upgrade(request, shutdown.clone())))
}

/// Says "bye" over the upgraded connection when the end begins, and waits for the client's.
async fn upgrade(mut request: Request, shutdown: Shutdown) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.expect("upgraded"));
        shutdown.begun().await;
        io.write_all(b"bye").await.expect("write");
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.expect("read");
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "test")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

impl Running {
    async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.expect("connect") }
    }

    async fn served(self) {
        let served = tokio::time::timeout(Duration::from_secs(10), self.served).await;
        served.expect("it ends").expect("no panic").expect("no error");
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.expect("write");
    }

    /// One response whose head and body (of a known last word) end where the bytes pause.
    async fn response(&mut self, last_word: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(last_word) {
            let mut buffer = [0; 1024];
            let count = self.stream.read(&mut buffer).await.expect("read");
            assert_ne!(count, 0, "cut after {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
        }
        text
    }

    async fn get(&mut self, path: &str, last_word: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        self.response(last_word).await
    }

    async fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.expect("closed, not reset");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

fn says_close(response: &str) -> bool {
    response.to_ascii_lowercase().contains("\r\nconnection: close\r\n")
}

#[tokio::test]
async fn an_idle_connection_is_answered_in_the_grace_and_told_to_close() {
    let server = start();
    let (mut used, mut fresh) = (server.connect().await, server.connect().await);
    let before = used.get("/", "hello").await;
    assert!(!says_close(&before), "{before}");
    assert!(before.contains("content-length: 5\r\n"), "the guard keeps the length: {before}");
    server.shutdown.begin();
    tokio::time::sleep(GRACE / 2).await;
    for client in [&mut used, &mut fresh] {
        let response = client.get("/", "hello").await;
        assert!(says_close(&response), "{response}");
        client.assert_closed().await;
    }
    server.served().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_grace() {
    let server = start();
    let (mut used, mut fresh) = (server.connect().await, server.connect().await);
    used.get("/", "hello").await;
    let begun = Instant::now();
    server.shutdown.begin();
    used.assert_closed().await;
    fresh.assert_closed().await;
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    server.served().await;
}

#[tokio::test]
async fn without_connections_it_returns_at_once() {
    let server = start();
    let mut client = server.connect().await;
    client.get("/", "hello").await;
    drop(client);
    let begun = Instant::now();
    server.shutdown.begin();
    server.served().await;
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_in_flight_is_answered_and_told_to_close() {
    let server = start();
    let mut client = server.connect().await;
    client.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
    // Accepted and read before the end begins.
    tokio::time::sleep(GRACE / 4).await;
    server.shutdown.begin();
    let response = client.response("slow").await;
    assert!(says_close(&response), "{response}");
    client.assert_closed().await;
    server.served().await;
}

#[tokio::test]
async fn half_a_request_is_waited_for_but_not_for_ever() {
    let server = start();
    let (mut late, mut never) = (server.connect().await, server.connect().await);
    for client in [&mut late, &mut never] {
        client.get("/", "hello").await;
        client.send("GET / HTTP/1.1\r\nho").await;
    }
    tokio::time::sleep(GRACE / 4).await;
    let begun = Instant::now();
    server.shutdown.begin();
    tokio::time::sleep(GRACE + GRACE / 2).await;
    late.send("st: test\r\n\r\n").await;
    let response = late.response("hello").await;
    assert!(says_close(&response), "{response}");
    never.assert_closed().await;
    assert!(begun.elapsed() >= 2 * GRACE, "{:?}", begun.elapsed());
    server.served().await;
}

#[tokio::test]
async fn connections_in_the_queue_are_served() {
    let server = start();
    // The runtime has one thread and this task does not yield: nothing is accepted meanwhile.
    let clients: Vec<_> =
        (0..20).map(|_| std::net::TcpStream::connect(server.address).expect("connect")).collect();
    server.shutdown.begin();
    for stream in clients {
        stream.set_nonblocking(true).expect("non-blocking");
        let mut client = Client { stream: TcpStream::from_std(stream).expect("a stream") };
        let response = client.get("/", "hello").await;
        assert!(says_close(&response), "{response}");
    }
    server.served().await;
}

#[tokio::test]
async fn a_body_is_read_to_its_end() {
    let server = start();
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 8\r\n\r\nfour").await;
    tokio::time::sleep(GRACE / 4).await;
    server.shutdown.begin();
    tokio::time::sleep(3 * GRACE).await;
    client.send("more").await;
    let response = client.response("fourmore").await;
    assert!(says_close(&response), "{response}");
    server.served().await;
}

#[tokio::test]
async fn an_upgraded_connection_is_waited_for_and_learns_of_the_end() {
    let server = start();
    let mut client = server.connect().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n")
        .await;
    client.response("\r\n\r\n").await;
    server.shutdown.begin();
    assert_eq!(client.response("bye").await, "bye");
    tokio::time::sleep(2 * GRACE).await;
    assert!(!server.served.is_finished(), "the client has not closed it");
    drop(client);
    server.served().await;
}

#[tokio::test]
async fn http2_streams_are_finished_and_the_connection_is_closed() {
    let server = start();
    let stream = TcpStream::connect(server.address).await.expect("connect");
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.expect("handshake");
    let connection = tokio::spawn(connection);
    let request = |path: &str| {
        let uri = format!("http://test{path}");
        hyper::Request::get(uri).body(axum::body::Body::empty()).expect("a request")
    };
    let first = sender.send_request(request("/")).await.expect("a response");
    assert_eq!(first.status(), StatusCode::OK);
    let slow = tokio::spawn(sender.send_request(request("/slow")));
    tokio::time::sleep(GRACE / 4).await;
    server.shutdown.begin();
    let slow = slow.await.expect("no panic").expect("a response");
    assert_eq!(slow.status(), StatusCode::OK);
    drop(slow);
    connection.await.expect("no panic").expect("GOAWAY and a clean end");
    server.served().await;
}
