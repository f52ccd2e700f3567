//! Starting an app as the agent does, without an agent: with a handed socket, and an ear for what
//! it says of its readiness.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take that should take no time.
pub const WITHIN: Duration = Duration::from_secs(20);

/// Hands its standard input on as the first handed socket. The shell's pid is the app's.
const HAND: &str = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0""#;

/// A process that is killed when nobody holds it any more.
#[derive(Debug)]
pub struct App {
    child: Child,
    words: UnixDatagram,
    words_path: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl App {
    /// Starts `program` with `variables` and, where there is one, `socket`. `folder` takes the
    /// socket that it says its readiness to.
    ///
    /// # Errors
    /// When the process or its sockets cannot be made.
    pub fn start(
        program: &Path,
        socket: Option<&TcpListener>,
        variables: &[(&str, String)],
        folder: &Path,
    ) -> io::Result<Self> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let words_path = folder.join(format!("notify-{number}"));
        let words = UnixDatagram::bind(&words_path)?;
        words.set_read_timeout(Some(WITHIN))?;
        let mut command = match socket {
            Some(socket) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", HAND]).arg(program);
                shell.stdin(OwnedFd::from(socket.try_clone()?));
                shell
            }
            None => Command::new(program),
        };
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.env("NOTIFY_SOCKET", &words_path).stdout(Stdio::piped()).spawn()?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stdout.take().map(|output| {
            let lines = Arc::clone(&lines);
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            })
        });
        Ok(Self { child, words, words_path, lines, reader })
    }

    /// Waits until the app says `word`, such as `READY=1`.
    ///
    /// # Errors
    /// When it says something else, or nothing [`WITHIN`] the limit.
    pub fn says(&self, word: &str) -> io::Result<()> {
        let mut buffer = [0; 64];
        let length = self.words.recv(&mut buffer)?;
        match &buffer[..length] {
            said if said == word.as_bytes() => Ok(()),
            said => {
                let said = String::from_utf8_lossy(said);
                Err(io::Error::other(format!("the app said {said}, not {word}")))
            }
        }
    }

    /// Sends `SIGTERM`.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn terminate(&self) -> io::Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).map_err(Into::into)
    }

    /// Waits for the app's end, and gives the lines that it printed.
    ///
    /// # Errors
    /// When it does not end [`WITHIN`] the limit.
    pub fn wait(mut self) -> io::Result<(ExitStatus, Vec<String>)> {
        let limit = Instant::now() + WITHIN;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > limit => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the app does not end"));
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| io::Error::other("the reader of the lines panicked"))?;
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((status, lines))
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Fails where it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.words_path);
    }
}
