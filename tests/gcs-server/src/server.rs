//! A server on threads of its own.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use deploy::Timestamp;
use tokio::runtime::{self, Handle};
use tokio::sync::watch;

use crate::credentials::Tokens;
use crate::faults::Faults;
use crate::listening::{self, Port};
use crate::service::Service;
use crate::stats::Stats;
use crate::tls;
use crate::world::World;

/// How a server is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its buckets lie. Made if it is missing.
    pub dir: PathBuf,
    /// Where it listens: the loopback, unless its clients are in another network.
    pub address: Ipv4Addr,
    /// The port there; 0 for one that is free.
    pub port: u16,
    /// Speaks TLS with this certificate.
    pub tls: Option<Tls>,
    /// Takes calls with one of these tokens alone; all calls when there is none.
    pub tokens: Vec<String>,
    /// Is told of every call.
    pub log: Option<Log>,
}

impl Options {
    /// Over `dir`, on a free port of the loopback, without TLS, open to everybody.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let address = Ipv4Addr::LOCALHOST;
        Self { dir: dir.into(), address, port: 0, tls: None, tokens: Vec::new(), log: None }
    }
}

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate, and those that vouch for it.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Tls {
    /// A certificate for `localhost` and 127.0.0.1 that is good for tests alone: its key is for
    /// all to read. [`Self::test_authority`] vouches for it.
    pub fn of_tests() -> Self {
        Self { cert: test_file("cert.pem"), key: test_file("key.pem") }
    }

    /// The certificate of the authority that [`Self::of_tests`] is vouched for by.
    pub fn test_authority() -> PathBuf {
        test_file("ca.pem")
    }
}

fn test_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tls").join(name)
}

/// Takes a line for each call: method, path and query, status (0 for none), and the fault.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(&str) + Send + Sync>);

impl Log {
    /// Calls `write` with every line.
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    pub(crate) fn line(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    world: Arc<World>,
    handle: Handle,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server, which listens when this returns.
    ///
    /// # Errors
    /// When the folder or the certificate cannot be read, or the port cannot be had.
    pub fn start(options: Options) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name("gcs-server".to_owned());
        let thread = thread.spawn(move || live(options, stopped, &tell))?;
        match told.recv() {
            Ok((world, handle)) => Ok(Self { world, handle, stop, thread: Some(thread) }),
            // It ended before it listened.
            Err(_) => match thread.join() {
                Ok(ended) => Err(ended.err().unwrap_or_else(|| io::Error::other("it ended"))),
                Err(_) => Err(io::Error::other("the server panicked as it started")),
            },
        }
    }

    /// Where it is: `http://127.0.0.1:PORT`, or with another address.
    pub fn url(&self) -> &str {
        &self.world.base
    }

    /// What befalls its calls.
    pub fn faults(&self) -> Faults {
        self.world.faults.clone()
    }

    /// What it was asked.
    pub fn stats(&self) -> Stats {
        self.world.stats.clone()
    }

    /// Whom it lets in.
    pub fn tokens(&self) -> Tokens {
        self.world.service.tokens.clone()
    }

    /// The folder of a bucket's bytes, for a [`deploy::store::Directory`] to read. Nobody else may
    /// write there.
    pub fn bucket_dir(&self, bucket: &str) -> PathBuf {
        self.world.service.buckets.data_folder(bucket)
    }

    /// Carries out a bucket's lifecycle rules as at `now`. Gives how many versions they made older
    /// or took away.
    ///
    /// # Errors
    /// When there is no such bucket, or a version is held.
    pub fn apply_lifecycle(&self, bucket: &str, now: Timestamp) -> io::Result<usize> {
        let (world, bucket) = (Arc::clone(&self.world), bucket.to_owned());
        let (tell, told) = mpsc::channel();
        self.handle.spawn(async move {
            let bucket = world.service.buckets.get(&bucket);
            let applied = match bucket {
                Ok(bucket) => bucket.apply_lifecycle(now).await,
                Err(problem) => Err(problem),
            };
            // Nobody waits any more when the caller's thread has panicked.
            let _ = tell.send(applied);
        });
        let applied = told.recv().map_err(io::Error::other)?;
        applied.map_err(|problem| io::Error::other(problem.text().to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // What it failed with is told by the tests that needed it.
            let _ = thread.join();
        }
    }
}

/// The server's life, on its own thread.
fn live(
    options: Options,
    stopped: watch::Receiver<bool>,
    tell: &mpsc::Sender<(Arc<World>, Handle)>,
) -> io::Result<()> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gcs-server")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let acceptor = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let port = Port::take(options.address, options.port)?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", port.address()?).into();
        let world = Arc::new(open(&options.dir, options.tokens, base, options.log).await?);
        let listener = port.listen()?;
        // The one who started it waits for this.
        let _ = tell.send((Arc::clone(&world), Handle::current()));
        listening::run(world, port, listener, acceptor, stopped).await
    });
    // Connections end here, in the middle of whatever they do.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}

async fn open(
    dir: &Path,
    fixed: Vec<String>,
    base: Arc<str>,
    log: Option<Log>,
) -> io::Result<World> {
    let tokens = Tokens::default();
    fixed.into_iter().for_each(|token| tokens.add(token));
    let service = Service::open(dir, tokens).await?;
    let (faults, stats) = <(Faults, Stats)>::default();
    Ok(World { service, faults, stats, base, log })
}
