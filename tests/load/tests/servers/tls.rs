//! TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use load::{Failure, Plan, TEST_CERT, TEST_KEY, Tls};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::bed::{assert_all_failed, load, server};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"release\":7}";

/// A server of TLS, which speaks these protocols.
fn tls_server<F>(
    protocols: &[&[u8]],
    serve: impl Fn(TlsStream<TcpStream>) -> F + Copy + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let chain = CertificateDer::pem_file_iter(TEST_CERT).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(TEST_KEY).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .expect("a pair");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            // Clients that refuse the server are a test's subject.
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
}

/// Reads one request; false where the client has ended the connection.
async fn request(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    true
}

async fn say(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("write");
    stream.flush().await.expect("flush");
}

fn plan(address: SocketAddr) -> Plan {
    Plan::new(address).over(Tls::of_tests())
}

#[test]
fn new_and_kept_connections() {
    let address = tls_server(&[b"h2", b"http/1.1"], async |mut stream| {
        while request(&mut stream).await {
            say(&mut stream, ANSWER).await;
        }
    });
    let tally = load(plan(address), |tally| tally.answered >= 10);
    assert_eq!((tally.failed(), tally.opened), (0, tally.requests()), "{tally}");
    let tally = load(plan(address).keep_alive(), |tally| tally.answered >= 10);
    assert_eq!((tally.failed(), tally.opened), (0, 1), "{tally}");
    assert_eq!(tally.answered_by(7), tally.answered, "{tally}");
}

#[test]
fn a_goodbye_between_requests_is_no_failure() {
    let address = tls_server(&[], async |mut stream| {
        request(&mut stream).await;
        say(&mut stream, ANSWER).await;
        stream.shutdown().await.expect("shutdown");
    });
    let plan = Plan { pause: std::time::Duration::from_millis(50), ..plan(address) };
    let plan = Plan { clients: 1, ..plan.keep_alive() };
    let tally = crate::bed::load_by(plan, |tally| tally.answered >= 4);
    assert_eq!(tally.failed(), 0, "{tally}");
    assert!(tally.closed_idle >= tally.answered - 1, "{tally}");
}

#[test]
fn an_end_before_an_answer_with_and_without_a_goodbye() {
    let address = tls_server(&[], async |mut stream| {
        request(&mut stream).await;
        stream.shutdown().await.expect("shutdown");
    });
    assert_all_failed(plan(address), Failure::EndBefore);
    let address = tls_server(&[], async |mut stream| {
        request(&mut stream).await;
    });
    assert_all_failed(plan(address), Failure::EndBefore);
}

#[test]
fn an_end_within_an_answer() {
    let address = tls_server(&[], async |mut stream| {
        request(&mut stream).await;
        say(&mut stream, &ANSWER[..ANSWER.len() - 1]).await;
    });
    assert_all_failed(plan(address), Failure::EndWithin);
}

#[test]
fn an_alert() {
    // It has no protocol in common with the client, and says so.
    let address = tls_server(&[b"other"], async |_| {});
    assert_all_failed(plan(address), Failure::TlsAlert);
}

#[test]
fn a_server_that_is_somebody_else() {
    let address = tls_server(&[], async |_| {});
    let authority = Path::new(TEST_CERT).with_file_name("ca.pem");
    let other = Tls::trusting(&authority, "other.test").expect("an authority");
    assert_all_failed(Plan::new(address).over(other), Failure::Malformed);
}

#[test]
fn a_server_without_tls() {
    let address = server(async |mut stream| {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    assert_all_failed(plan(address), Failure::Malformed);
}
