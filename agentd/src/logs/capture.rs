//! Takes what one run of the app's process says, on one stream, to the spool.
//!
//! The app writes into a FIFO that is also held open for reading, so that a write never fails
//! whoever lives. From there the kernel moves the bytes into the run's raw file (`splice(2)`): they
//! are in the one or in the other, and never only in a process that may be killed. What was cut into
//! lines and lies in the spool is cut out of the raw file again.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use deploy::log_line::{LogLine, Source, Stream};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SpliceFFlags, fallocate, fcntl, splice};
use nix::sys::stat::Mode;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::lines::{Line, Lines};
use super::{LastLines, Spool, now};

/// What a FIFO holds while nobody takes it; an app that writes more waits. The kernel's own limit
/// for who has no privilege (`fs.pipe-max-size`).
const FIFO_SIZE: i32 = 1 << 20;

/// How much is taken in one go.
const CHUNK: usize = 256 * 1024;

/// Of the raw file so much stays on the disk, at least, after it has been cut into lines.
const RAW_KEPT: u64 = 1 << 20;

/// The files of one stream of one run.
#[derive(Clone, Debug)]
pub struct Files {
    fifo: PathBuf,
    raw: PathBuf,
}

impl Files {
    /// Those of `stream` in the run's folder.
    pub fn of(folder: &Path, stream: Stream) -> Self {
        let name = match stream {
            Stream::Out => "out",
            Stream::Err => "err",
            Stream::Agent => "agent",
        };
        Self { fifo: folder.join(name), raw: folder.join(format!("{name}.raw")) }
    }

    /// The app's end: open for reading and writing, so that writing does not fail when nobody reads.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open_for_app(&self) -> io::Result<OwnedFd> {
        self.open(OFlag::O_RDWR)
    }

    /// The agent's end.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open_for_agent(&self) -> io::Result<OwnedFd> {
        self.open(OFlag::O_RDWR | OFlag::O_NONBLOCK)
    }

    fn open(&self, flags: OFlag) -> io::Result<OwnedFd> {
        match nix::unistd::mkfifo(&self.fifo, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let fifo = nix::fcntl::open(&self.fifo, flags | OFlag::O_CLOEXEC, Mode::empty())?;
        // Less is enough where the user has no more to give (`fs.pipe-user-pages-soft`).
        match fcntl(&fifo, FcntlArg::F_SETPIPE_SZ(FIFO_SIZE)) {
            Ok(_) | Err(Errno::EPERM | Errno::EBUSY) => Ok(fifo),
            Err(error) => Err(error.into()),
        }
    }
}

/// One stream of one run.
#[derive(Debug)]
pub struct Capture {
    fifo: AsyncFd<OwnedFd>,
    raw: File,
    /// How many bytes the raw file has taken, or should have.
    taken: u64,
    /// Up to where the raw file has given its room back.
    shrunk_to: u64,
    lines: Lines,
    run: u64,
    release: u64,
    stream: Stream,
    spool: Spool,
    last: LastLines,
}

impl Capture {
    /// Goes on where the spool ends. `fifo` is the agent's end.
    ///
    /// # Errors
    /// When the raw file or the spool cannot be used.
    pub fn new(
        files: &Files,
        fifo: OwnedFd,
        run: u64,
        release: u64,
        stream: Stream,
        spool: Spool,
        last: LastLines,
    ) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let raw = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let raw = raw.open(&files.raw)?;
        let taken = raw.metadata()?.len();
        // A run that begins has written nothing, which needs no search.
        let written = if taken == 0 { 0 } else { spool.written_to(run, stream)? };
        // SAFETY: the descriptor is owned by what it is registered with, and closed after it.
        let fifo = unsafe { AsyncFd::register_with_interest(fifo, Interest::READABLE)? };
        let taken = taken.max(written);
        let lines = Lines::behind(written);
        let mut capture =
            Self { fifo, raw, taken, shrunk_to: written, lines, run, release, stream, spool, last };
        capture.cut_raw(written)?;
        Ok(capture)
    }

    /// Takes all that comes, until the run has ended and all that it had said is taken.
    pub async fn run(mut self, mut ended: watch::Receiver<bool>) {
        loop {
            let is_over = *ended.borrow_and_update();
            match self.take_all() {
                Ok(()) if is_over => break,
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, stream = ?self.stream, "the app's output is not taken any more");
                    break;
                }
            }
            tokio::select! {
                ready = self.fifo.readable() => match ready {
                    Ok(mut guard) => guard.clear_ready(),
                    Err(error) => {
                        tracing::error!(%error, "the app's output cannot be waited for");
                        break;
                    }
                },
                changed = ended.changed() => if changed.is_err() { return },
            }
        }
        let rest = self.lines.finish();
        self.write(rest.into_iter().collect());
    }

    /// Takes what is there now.
    fn take_all(&mut self) -> io::Result<()> {
        loop {
            let before = self.taken;
            match self.splice() {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.taken += count as u64;
                    self.cut_raw(before)?;
                    self.shrink();
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                // Full, or a file system without it: the lines are the spool's to keep or to count.
                Err(_) if self.read_past()? => {}
                Err(_) => return Ok(()),
            }
        }
    }

    fn splice(&self) -> nix::Result<usize> {
        let mut at = i64::try_from(self.taken).map_err(|_| Errno::EFBIG)?;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        splice(self.fifo.get_ref(), None, &self.raw, Some(&mut at), CHUNK, flags)
    }

    /// Takes bytes past the raw file. Gives whether there were any.
    fn read_past(&mut self) -> io::Result<bool> {
        let mut bytes = vec![0; CHUNK];
        match nix::unistd::read(self.fifo.get_ref().as_fd(), &mut bytes) {
            Ok(0) | Err(Errno::EAGAIN) => Ok(false),
            Ok(count) => {
                self.taken += count as u64;
                let lines = self.lines.take(&bytes[..count]);
                self.write(lines);
                Ok(true)
            }
            Err(Errno::EINTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Cuts what the raw file has from `from` on.
    fn cut_raw(&mut self, from: u64) -> io::Result<()> {
        let mut at = from;
        let mut bytes = vec![0; CHUNK.min(usize::try_from(self.taken - from).unwrap_or(CHUNK))];
        while at < self.taken {
            let count = match self.raw.read_at(&mut bytes, at) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            at += count as u64;
            let lines = self.lines.take(&bytes[..count]);
            self.write(lines);
        }
        Ok(())
    }

    fn write(&self, lines: Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        let (time, run, release, stream) = (now(), self.run, self.release, self.stream);
        let lines: Vec<_> = lines
            .into_iter()
            .map(|(text, end)| {
                let source = Some(Source(run, end));
                LogLine { time, release, stream, text, source }
            })
            .collect();
        self.last.push(&lines);
        self.spool.write(&lines);
    }

    /// Gives the room of what was cut back. Where the file system cannot, the file grows until the
    /// run ends.
    fn shrink(&mut self) {
        let end = self.lines.end();
        if end < self.shrunk_to + RAW_KEPT {
            return;
        }
        self.shrunk_to = end;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let length = i64::try_from(end).unwrap_or(i64::MAX);
        if let Err(error) = fallocate(&self.raw, flags, 0, length) {
            tracing::debug!(%error, "the raw output keeps its room");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Place {
        folder: tempfile::TempDir,
        files: Files,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = Files::of(folder.path(), Stream::Out);
            Self { folder, files }
        }

        fn spool(&self) -> Spool {
            Spool::open(self.folder.path().join("logs")).unwrap()
        }

        fn capture(&self, spool: &Spool) -> Capture {
            let fifo = self.files.open_for_agent().unwrap();
            let last = LastLines::default();
            Capture::new(&self.files, fifo, 5, 9, Stream::Out, spool.clone(), last).unwrap()
        }

        fn texts(&self) -> Vec<String> {
            let mut files: Vec<_> = std::fs::read_dir(self.folder.path().join("logs"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            files.sort();
            let all: String =
                files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
            let lines = all.lines().map(|line| serde_json::from_str::<LogLine>(line).unwrap());
            lines.map(|line| line.text).collect()
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_was_said_before_the_end_is_taken_and_the_last_line_too() {
        let place = Place::new();
        let spool = place.spool();
        let mut app = File::from(place.files.open_for_app().unwrap());
        let capture = place.capture(&spool);
        let (end, ended) = watch::channel(false);
        let last = capture.last.clone();
        let task = tokio::spawn(capture.run(ended));
        let text: String = (0..50).map(|n| format!("line {n}\n")).collect();
        app.write_all(text.as_bytes()).unwrap();
        app.write_all(b"no end").unwrap();
        drop(app);
        end.send_replace(true);
        task.await.unwrap();
        let texts = place.texts();
        assert_eq!(texts.len(), 51);
        assert_eq!((texts[0].as_str(), texts[50].as_str()), ("line 0", "no end"));
        assert_eq!(last.get().last().unwrap(), "no end");
        assert_eq!(spool.written_to(5, Stream::Out).unwrap(), text.len() as u64 + 6);
    }

    /// An agent that is gone after any number of its steps, and one that goes on.
    #[tokio::test(flavor = "current_thread")]
    async fn nothing_is_lost_or_doubled_when_agents_come_and_go() {
        let place = Place::new();
        let mut app = File::from(place.files.open_for_app().unwrap());
        let mut said = Vec::new();
        for life in 0..40 {
            let spool = place.spool();
            let mut capture = place.capture(&spool);
            for step in 0..life % 4 {
                let line = format!("life {life} step {step} {}\n", "x".repeat(life * 37));
                let (a, b) = line.split_at(line.len() / 2);
                app.write_all(a.as_bytes()).unwrap();
                // Killed behind the splice: the bytes are in the raw file alone.
                match life % 3 {
                    0 => capture.take_all().unwrap(),
                    1 => drop(capture.splice()),
                    _ => {}
                }
                app.write_all(b.as_bytes()).unwrap();
                said.push(line.trim_end().to_owned());
                if life % 3 == 1 {
                    // Its own count would be behind now.
                    break;
                }
            }
        }
        let spool = place.spool();
        place.capture(&spool).take_all().unwrap();
        assert_eq!(place.texts(), said);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_raw_file_does_not_keep_what_the_spool_has() {
        use std::os::unix::fs::MetadataExt;
        let place = Place::new();
        let spool = place.spool();
        let mut app = File::from(place.files.open_for_app().unwrap());
        let mut capture = place.capture(&spool);
        let line = [vec![b'x'; 9_999], b"\n".to_vec()].concat();
        for _ in 0..1_000 {
            app.write_all(&line).unwrap();
            capture.take_all().unwrap();
        }
        let raw = std::fs::metadata(&place.files.raw).unwrap();
        assert_eq!(raw.len(), 10_000_000);
        assert!(raw.blocks() * 512 <= 4 * RAW_KEPT, "{} B", raw.blocks() * 512);
    }
}
