//! Google as the thread that asks for it sees it, and what that thread starts: the real names lead
//! to servers of this machine, over TLS with an authority that only they know, and to nothing else.
//!
//! ```text
//!   a network of its own, with nothing but lo
//!     127.0.0.1:443   storage, oauth2, sts, iamcredentials.googleapis.com
//!     127.0.0.1:80    metadata.google.internal
//! ```
//!
//! It takes root. All of it goes with the thread.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use gcs_server::{Options, Server, Tls};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::engr::{Place, Transcript, binary, needs};
use crate::mounts::{Mounted, Mounts};

/// Whose name leads to the server with TLS.
const NAMES: [&str; 5] = [
    "storage.googleapis.com",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "iam.googleapis.com",
];

/// What clients find the metadata server by.
pub const METADATA: &str = "metadata.google.internal";

/// Google, and a place to run `engr` in that has no credentials.
#[derive(Debug)]
pub struct Google {
    /// Storage and tokens. It asks for tokens, and takes those of the metadata server too.
    pub service: Server,
    /// The metadata server.
    pub metadata: Server,
    /// Where `engr` is run.
    pub place: Place,
    authority: PathBuf,
    _mounts: Vec<Mounted>,
}

impl Google {
    /// Google with these buckets (as the JSON API takes them). From now on this thread reaches
    /// nothing else. None, and why, where there may be no such thing.
    ///
    /// # Panics
    /// When it cannot be set up though it may be.
    pub fn for_this_thread(buckets: &[Value]) -> Option<Self> {
        let mounts = Mounts::of_this_thread()?;
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: no network of one's own is allowed here: {error}");
            return None;
        }
        needs("ip", "-V");
        needs("openssl", "version");
        let place = Place::new();
        let folder = place.root();
        run("ip", &["link", "set", "lo", "up"], &folder);
        let names = |names: &[&str]| format!("127.0.0.1 {}\n", names.join(" "));
        let hosts = folder.join("hosts");
        let text = names(&["localhost"]) + &names(&NAMES) + &names(&[METADATA]);
        fs::write(&hosts, text).expect("the hosts");
        let mut mounted = vec![mounts.file(Path::new("/etc/hosts"), &hosts)];
        // Wherever the tests themselves run, this is no machine of Google's.
        mounted.push(mounts.small_disk(Path::new("/sys/class"), 1 << 20));
        let dir = folder.join("buckets");
        if !buckets.is_empty() {
            let maker = Server::start(Options::new(&dir)).expect("a server");
            buckets.iter().for_each(|bucket| make(&maker, bucket));
        }
        let tls = certificate(&folder);
        let options = Options { port: 443, tls: Some(tls), ..Options::new(dir) };
        let service = Server::start(options).expect("the service");
        let options = Options { port: 80, ..Options::new(folder.join("nothing")) };
        let metadata = Server::start(options).expect("the metadata server");
        service.tokens().trust(metadata.tokens());
        let authority = folder.join("ca.pem");
        let google = Self { service, metadata, place, authority, _mounts: mounted };
        fs::create_dir(google.programs()).expect("the programs' folder");
        Some(google)
    }

    /// From now on this is a machine of Google's, by what its firmware says.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn is_the_machines(&self) {
        let folder = Path::new("/sys/class/dmi/id");
        fs::create_dir_all(folder).expect("the folder");
        fs::write(folder.join("product_name"), "Google Compute Engine\n").expect("the name");
    }

    /// From now on nobody knows where Google is.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn forget_the_names(&self) {
        // Into the file itself, which lies over the machine's.
        fs::write(self.place.root().join("hosts"), "127.0.0.1 localhost\n").expect("the hosts");
    }

    /// The only folder in which programs are found.
    pub fn programs(&self) -> PathBuf {
        self.place.root().join("bin")
    }

    /// Runs `engr` with the words of `line`, and with these variables.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn engr(&self, line: &str, variables: &[(&str, &str)]) -> Transcript {
        let args: Vec<&str> = line.split_whitespace().collect();
        let mut command = self.command("engr");
        command.args(&args).envs(variables.iter().copied());
        self.place.transcript(&args, &command.output().expect("engr runs"))
    }

    /// A program of ours that has no credentials, and finds no other program.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.place.command(binary(program));
        command.env_remove("STORAGE_EMULATOR_HOST").env("PATH", self.programs());
        command.env("SSL_CERT_FILE", &self.authority);
        command
    }

    /// A new private key of a service account's.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn private_key(&self) -> String {
        let args = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
        run("openssl", &args, &self.place.root())
    }

    /// How often this kind of call came.
    pub fn calls(&self, kind: &str) -> u64 {
        self.service.stats().counts().of(kind) + self.metadata.stats().counts().of(kind)
    }
}

/// Makes a bucket as the JSON API does it.
fn make(server: &Server, bucket: &Value) {
    let address = server.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let body = bucket.to_string();
    write!(
        stream,
        "POST /storage/v1/b?project=shop HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it is asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{body}\n{answer}");
}

/// An authority in `ca.pem`, and a certificate by it for all the names.
fn certificate(folder: &Path) -> Tls {
    const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const X509: [&str; 4] = ["req", "-x509", "-days", "2"];
    let own = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Authority of tests"];
    run("openssl", &[&X509[..], &KEY, &own].concat(), folder);
    let names: Vec<_> = NAMES.iter().map(|name| format!("DNS:{name}")).collect();
    let names = format!("subjectAltName={},IP:127.0.0.1", names.join(","));
    let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=Google of tests"];
    let is = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", &names];
    let own = ["-keyout", "server.key", "-out", "server.pem"];
    run("openssl", &[&X509[..], &KEY, &by, &is, &own].concat(), folder);
    Tls { cert: folder.join("server.pem"), key: folder.join("server.key") }
}

/// What a program prints.
fn run(program: &str, args: &[&str], folder: &Path) -> String {
    let done = Command::new(program).args(args).current_dir(folder).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {args:?}: {told}");
    String::from_utf8(done.stdout).expect("text")
}
