//! The end of a server with a TLS of its own, as its clients see it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engineer::Shutdown;
use engineer::http::Server;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const GRACE: Duration = Duration::from_secs(1);

/// The load generator's certificate, for `app.test`.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/load/tls");

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    served: JoinHandle<io::Result<()>>,
}

async fn answer(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("hello".to_owned()))
}

fn start() -> Running {
    let listener = engineer::bind_reusable("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    let shutdown = Shutdown::new();
    let tls = acceptor();
    let server = Server::new(listener).shutdown(shutdown.clone()).grace(GRACE);
    let served = server.serve_over(move |stream| tls.accept(stream), service_fn(answer));
    Running { address, shutdown, served: tokio::spawn(served) }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(format!("{FILES}/cert.pem")).expect("a file");
    let key = PrivateKeyDer::from_pem_file(format!("{FILES}/key.pem")).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

impl Running {
    async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        shake_hands(TcpStream::connect(self.address).await.expect("connect"), protocol).await
    }

    async fn served(self) {
        let served = tokio::time::timeout(Duration::from_secs(10), self.served).await;
        served.expect("it ends").expect("no panic").expect("no error");
    }
}

async fn shake_hands(stream: TcpStream, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(format!("{FILES}/ca.pem")).expect("a file");
    roots.add(authority).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("app.test").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS")
}

async fn get(client: &mut TlsStream<TcpStream>) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("write");
    let mut text = String::new();
    while !text.ends_with("hello") {
        let mut buffer = [0; 1024];
        let count = client.read(&mut buffer).await.expect("read");
        assert_ne!(count, 0, "cut after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
    text
}

/// Waits for the server's end of it, which TLS must have announced.
async fn assert_closed(client: &mut TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("closed with a goodbye");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn an_idle_connection_is_answered_in_the_grace_and_told_to_close() {
    let server = start();
    let mut used = server.connect(b"http/1.1").await;
    let mut fresh = server.connect(b"http/1.1").await;
    let before = get(&mut used).await;
    assert!(!before.contains("connection: close"), "{before}");
    server.shutdown.begin();
    tokio::time::sleep(GRACE / 2).await;
    for client in [&mut used, &mut fresh] {
        let response = get(client).await;
        assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
        assert_closed(client).await;
    }
    server.served().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_grace() {
    let server = start();
    let mut used = server.connect(b"http/1.1").await;
    let mut fresh = server.connect(b"http/1.1").await;
    get(&mut used).await;
    let begun = Instant::now();
    server.shutdown.begin();
    assert_closed(&mut used).await;
    // Its handshake was no part of a request. hyper says no goodbye where no byte of one came.
    let ended = fresh.read(&mut [0]).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    let took = begun.elapsed();
    assert!(took >= GRACE && took < 2 * GRACE, "{took:?}");
    server.served().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_does_not_hold_the_end_up() {
    let server = start();
    let silent = TcpStream::connect(server.address).await.expect("connect");
    let mut half = TcpStream::connect(server.address).await.expect("connect");
    // The head of a TLS record that never comes.
    half.write_all(&[0x16, 3, 1, 1]).await.expect("write");
    let begun = Instant::now();
    server.shutdown.begin();
    server.served().await;
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    drop((silent, half));
}

#[tokio::test]
async fn a_handshake_in_the_grace_is_finished() {
    let server = start();
    // Connected before the end, and silent until it has begun.
    let waiting = TcpStream::connect(server.address).await.expect("connect");
    server.shutdown.begin();
    tokio::time::sleep(GRACE / 2).await;
    let mut late = shake_hands(waiting, b"http/1.1").await;
    let response = get(&mut late).await;
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    assert_closed(&mut late).await;
    server.served().await;
}

#[tokio::test]
async fn http2_gets_goaway_and_its_streams_are_finished() {
    let server = start();
    let stream = server.connect(b"h2").await;
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut requests, connection) = handshake.await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = || Request::get("https://app.test/").body(String::new()).expect("a request");
    let response = requests.send_request(request()).await.expect("an answer");
    assert_eq!(response.status(), 200);
    drop(response);
    let begun = Instant::now();
    server.shutdown.begin();
    // It ends by itself, since the server has said GOAWAY: long before the grace is over.
    connection.await.expect("no panic").expect("ended in good order");
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
    server.served().await;
}
