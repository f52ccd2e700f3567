//! Whom the clients trust.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// The certificate of the tests' apps, for [`TEST_NAME`] until 2126. Its authority's key was thrown
/// away after it was made.
pub const TEST_CERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tls/cert.pem");

/// Its key, which protects nothing.
pub const TEST_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tls/key.pem");

/// The name that the tests' apps have, wherever they are.
pub const TEST_NAME: &str = "app.test";

const TEST_AUTHORITY: &[u8] = include_bytes!("../tls/ca.pem");

/// An authority, and the name that a server has to prove to be its own.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) config: ClientConfig,
    pub(crate) name: ServerName<'static>,
}

impl Tls {
    /// Trusts the certificates in a PEM file, and expects this name.
    ///
    /// # Errors
    /// When the file cannot be read or holds none, or the name is no name of a server.
    pub fn trusting(authorities: &Path, name: &str) -> io::Result<Self> {
        Self::of(&std::fs::read(authorities)?, name)
    }

    /// Trusts the authority of [`TEST_CERT`] alone.
    ///
    /// # Panics
    /// Never: its certificate is a part of the program.
    pub fn of_tests() -> Self {
        Self::of(TEST_AUTHORITY, TEST_NAME).expect("the tests' own authority")
    }

    fn of(authorities: &[u8], name: &str) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        Ok(Self { config, name })
    }
}
