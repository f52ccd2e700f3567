//! The server, beside the clients or at the far end of a link, and its certificate.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use gcs_server::{Options, Server, Tls};
use tempfile::TempDir;
use tests::relay::{Link, Shape};

/// Where clients find the bytes of the machine's own authorities on most systems.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Half of a round trip of 20 ms.
pub(crate) const DELAY: Duration = Duration::from_millis(10);

/// A server of Cloud Storage. Fields go in this order: the server before its network.
pub(crate) struct Service {
    pub(crate) server: Server,
    pub(crate) link: Option<Link>,
    /// What its clients are to trust.
    pub(crate) authorities: Option<PathBuf>,
    folder: TempDir,
}

impl Service {
    /// One on this side.
    pub(crate) fn near() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = Server::start(Options::new(folder.path().join("buckets")))?;
        Ok(Self { server, link: None, authorities: None, folder })
    }

    /// One at the far end of a link.
    pub(crate) fn far(shape: Shape) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        Self::at_end_of(Link::new(shape)?, folder, None, None)
    }

    /// The same, with TLS.
    pub(crate) fn far_with_tls(shape: Shape) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let link = Link::new(shape)?;
        let (tls, authorities) = certify(folder.path(), link.far)?;
        Self::at_end_of(link, folder, Some(tls), Some(authorities))
    }

    fn at_end_of(
        link: Link,
        folder: TempDir,
        tls: Option<Tls>,
        authorities: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let new = Options::new(folder.path().join("buckets"));
        let options = Options { address: link.far, tls, ..new };
        let server = link.at_far(move || Server::start(options))??;
        Ok(Self { server, link: Some(link), authorities, folder })
    }

    /// A folder that goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A certificate for the address, by an authority made for it; and a file with that authority and
/// all those that the machine trusts: a client of the real service has them all in memory.
fn certify(folder: &Path, address: Ipv4Addr) -> anyhow::Result<(Tls, PathBuf)> {
    let openssl = |args: &str| {
        let mut command = Command::new("openssl");
        let output = command.args(args.split(' ')).current_dir(folder).output();
        let output = output.context("`openssl` cannot be run")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`openssl {args}`: {}", said.trim());
        Ok(())
    };
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {curve} -keyout ca.key -out ca.pem -days 2 -subj /CN=bench"))?;
    openssl(&format!("req {curve} -keyout server.key -out server.csr -subj /CN={address}"))?;
    fs::write(folder.join("names"), format!("subjectAltName=IP:{address}\n"))?;
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -extfile names -out server.pem",
    )?;
    let authorities = folder.join("authorities.pem");
    let mut all = fs::File::create(&authorities)?;
    all.write_all(&fs::read(folder.join("ca.pem"))?)?;
    let machine = AUTHORITIES.iter().find_map(|path| fs::read(path).ok());
    all.write_all(&machine.context("this machine has no file of authorities")?)?;
    let tls = Tls { cert: folder.join("server.pem"), key: folder.join("server.key") };
    Ok((tls, authorities))
}
