//! Where the app listens: on its port, and on another one for TLS where `TEST_TLS_PORT` names it,
//! with the certificate and key in the files `TEST_TLS_CERT` and `TEST_TLS_KEY`.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use engineer::contract;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A listener, and what its connections begin with.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Opens the port, and that for TLS, each by `open`.
pub(crate) fn open(open: impl Fn(SocketAddr) -> io::Result<TcpListener>) -> io::Result<Vec<Port>> {
    let port = env::var(contract::PORT).unwrap_or_else(|_| "8080".to_owned());
    let mut ports = vec![Port { listener: open(address(&port)?)?, tls: None }];
    if let Ok(port) = env::var("TEST_TLS_PORT") {
        let tls = Some(acceptor()?);
        ports.push(Port { listener: open(address(&port)?)?, tls });
    }
    Ok(ports)
}

/// `TEST_HOST`, or loopback, and the port.
fn address(port: &str) -> io::Result<SocketAddr> {
    let host = env::var("TEST_HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let text = format!("{host}:{port}");
    text.parse().map_err(|error| io::Error::other(format!("{text}: {error}")))
}

fn acceptor() -> io::Result<TlsAcceptor> {
    let file = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from);
        path.ok_or_else(|| io::Error::other(format!("{name} is not set")))
    };
    let bad = |what: &str, error: rustls::pki_types::pem::Error| {
        io::Error::other(format!("the {what} for TLS cannot be read: {error}"))
    };
    let chain = CertificateDer::pem_file_iter(file("TEST_TLS_CERT")?)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad("certificate", error))?;
    let key = PrivateKeyDer::from_pem_file(file("TEST_TLS_KEY")?);
    let key = key.map_err(|error| bad("key", error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
