//! A steady load, whose every request is accounted for.
//!
//! Half of the clients make a new connection for each request, the others keep theirs. None tries
//! anything again: what a client sees is what is counted.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How many clients there are of either kind.
pub(super) const CLIENTS_OF_A_KIND: usize = 8;

/// How often each of them asks, if the answers come in time.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// How long a request may take, from the connect to the last byte.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nobody listened.
    Refused,
    /// The connection was reset.
    Reset,
    /// It ended before the answer had.
    Cut,
    /// No whole answer in time.
    Timeout,
    /// An answer of this status.
    Status(u16),
    /// Something else.
    Other(String),
}

impl Kind {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::UnexpectedEof => Self::Cut,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Cut => f.write_str("cut"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// How many requests came to which end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Answered whole, with status 200.
    pub(super) answered: u64,
    /// Failed, by kind.
    pub(super) failed: BTreeMap<Kind, u64>,
}

impl Count {
    /// All that failed.
    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// All that were sent.
    pub(super) fn requests(&self) -> u64 {
        self.answered + self.failures()
    }

    /// What has come since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let before = |kind: &Kind| earlier.failed.get(kind).copied().unwrap_or(0);
        let failed = self.failed.iter().map(|(kind, count)| (kind.clone(), count - before(kind)));
        Self {
            answered: self.answered - earlier.answered,
            failed: failed.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// `2 reset, 1 cut`.
    pub(super) fn by_kind(&self) -> String {
        let kinds = self.failed.iter().map(|(kind, count)| format!("{count} {kind}"));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Default)]
struct Shared {
    count: Mutex<Count>,
    ended: AtomicBool,
}

/// The running load. It has a thread of its own, so that what this process does beside it does not
/// hold it up.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins to ask `address`.
    pub(super) fn start(address: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn({
            let shared = shared.clone();
            move || runtime.block_on(run(address, shared))
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What has been counted so far.
    pub(super) fn count(&self) -> Count {
        self.shared.count.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it, when all requests under way have come to their end; gives the whole count.
    pub(super) fn end(mut self) -> Count {
        self.join();
        self.count()
    }

    fn join(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to panic at, and what it had counted is kept.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

async fn run(address: SocketAddr, shared: Arc<Shared>) {
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..2 * CLIENTS_OF_A_KIND {
        let keeps = number % 2 == 0;
        // Spread over the interval, so that they do not ask all at once.
        let first = ASK_EVERY * number as u32 / (2 * CLIENTS_OF_A_KIND) as u32;
        let shared = shared.clone();
        clients.spawn(async move {
            tokio::time::sleep(first).await;
            client(address, keeps, &shared).await;
        });
    }
    while clients.join_next().await.is_some() {}
}

async fn client(address: SocketAddr, keeps: bool, shared: &Shared) {
    let mut every = interval(ASK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = None;
    while !shared.ended.load(Ordering::Relaxed) {
        every.tick().await;
        let asked = timeout(ANSWER_WITHIN, ask(address, keeps, &mut kept)).await;
        let mut count = shared.count.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = match asked {
            Ok(Ok(200)) => {
                count.answered += 1;
                continue;
            }
            Ok(Ok(status)) => Kind::Status(status),
            Ok(Err(error)) => Kind::of(&error),
            Err(_) => Kind::Timeout,
        };
        *count.failed.entry(kind).or_default() += 1;
        kept = None;
    }
}

/// Asks once; gives the answer's status. The connection is kept if both sides want to.
async fn ask(
    address: SocketAddr,
    keeps: bool,
    kept: &mut Option<BufReader<TcpStream>>,
) -> io::Result<u16> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        }
    };
    let connection = if keeps { "keep-alive" } else { "close" };
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let answer = read_answer(&mut stream).await?;
    if keeps && !answer.closes {
        *kept = Some(stream);
    }
    Ok(answer.status)
}

struct Answer {
    status: u16,
    closes: bool,
}

/// Reads a whole answer, whose head must tell its length, as the example's does.
async fn read_answer(stream: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let first = read_line(stream).await?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("an answer that is no HTTP"))?;
    let (mut length, mut closes) = (None, false);
    loop {
        let line = read_line(stream).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok(),
            "connection" => closes = value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let length: usize = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(Answer { status, closes })
}

/// A line without its end; one that has none is cut.
async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    /// Answers every connection's first request with `answer`, and closes.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let mut request = [0; 1024];
                if stream.read(&mut request).is_ok_and(|read| read > 0) {
                    // A client that has gone is counted on its own side.
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        });
        address
    }

    fn counted(address: SocketAddr) -> Count {
        let load = Load::start(address).unwrap();
        let began = Instant::now();
        while load.count().requests() < 40 {
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", load.count());
            std::thread::sleep(Duration::from_millis(5));
        }
        load.end()
    }

    #[test]
    fn every_end_is_counted_by_its_kind() {
        let whole =
            counted(server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\n\r\nok"));
        assert_eq!((whole.failures(), whole.answered), (0, whole.requests()));
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", Kind::Cut),
            ("HTTP/1.1 20", Kind::Cut),
            ("", Kind::Cut),
            ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Kind::Status(503)),
        ];
        for (answer, kind) in cases {
            let count = counted(server(answer));
            assert_eq!(count.answered, 0);
            assert_eq!(count.failed.keys().collect::<Vec<_>>(), [&kind], "{answer}");
        }
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(counted(nobody).failed.into_keys().collect::<Vec<_>>(), [Kind::Refused]);
    }

    #[test]
    fn counts_are_told_since_and_by_kind() {
        let count = |answered, reset, cut| Count {
            answered,
            failed: [(Kind::Reset, reset), (Kind::Cut, cut)].into(),
        };
        let since = count(10, 3, 1).since(&count(4, 1, 1));
        assert_eq!((since.requests(), since.by_kind().as_str()), (8, "2 reset"));
    }
}
