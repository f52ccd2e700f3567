//! The app's output, line by line, into the instance's spool.
//!
//! The spool is a folder of files of JSON lines ([`LogLine`]), the newest with the highest number.
//! A file that has its size is followed by the next; the oldest go.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use deploy::Timestamp;
use deploy::log_line::{LogLine, Stream};
use deploy::report::LAST_LINES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt};

/// From this size on a file is followed by the next.
const FILE_SIZE: u64 = 8 << 20;

/// How many files are kept.
const FILES_MAX: usize = 8;

/// A longer line is cut into several: Cloud Logging's limit of an entry, less its envelope.
const LINE_MAX: usize = 250 * 1024;

const CHUNK: usize = 64 * 1024;

/// The instance's log on disk. Clones write to the same one.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Mutex<Files>>);

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    number: u64,
    file: File,
    size: u64,
    /// Lines that could not be written since the last that could.
    lost: u64,
}

impl Spool {
    /// Opens the spool in this folder, behind what is there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let newest = numbers(&folder)?.last().copied().unwrap_or(0);
        // A new file: the last line of the one before may have been cut short.
        let number = newest + 1;
        let file = create(&folder, number)?;
        let spool = Files { folder, number, file, size: 0, lost: 0 };
        spool.prune()?;
        Ok(Self(Arc::new(Mutex::new(spool))))
    }

    /// Writes these lines, in one write.
    pub fn write(&self, lines: &[LogLine]) {
        let mut text = Vec::with_capacity(lines.iter().map(|line| line.text.len() + 80).sum());
        for line in lines {
            serde_json::to_writer(&mut text, line).expect("a line serializes into memory");
            text.push(b'\n');
        }
        let mut files = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        files.write(&text, lines.len() as u64);
    }
}

impl Files {
    /// A full disk must not stop the app: the lines are lost, and their number is told as soon as
    /// there is room.
    fn write(&mut self, text: &[u8], lines: u64) {
        match self.try_write(text) {
            Ok(()) if self.lost > 0 => {
                let text = format!("{} lines were lost: the log could not be written", self.lost);
                let line = LogLine { time: now(), release: 0, stream: Stream::Agent, text };
                let mut text = serde_json::to_vec(&line).expect("a line serializes into memory");
                text.push(b'\n');
                if self.try_write(&text).is_ok() {
                    self.lost = 0;
                }
            }
            Ok(()) => {}
            Err(_) => self.lost += lines,
        }
    }

    fn try_write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.size >= FILE_SIZE {
            self.file = create(&self.folder, self.number + 1)?;
            self.number += 1;
            self.size = 0;
            self.prune()?;
        }
        match self.file.write_all(text) {
            Ok(()) => self.size += text.len() as u64,
            Err(error) => {
                // No half line stays before the next one.
                self.file.set_len(self.size)?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn prune(&self) -> io::Result<()> {
        let numbers = numbers(&self.folder)?;
        let excess = numbers.len().saturating_sub(FILES_MAX);
        numbers[..excess].iter().try_for_each(|n| std::fs::remove_file(path(&self.folder, *n)))
    }
}

fn path(folder: &std::path::Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.jsonl"))
}

fn create(folder: &std::path::Path, number: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(path(folder, number))
}

fn numbers(folder: &std::path::Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The clock, for the time of a line: the one place where the log asks it.
fn now() -> Timestamp {
    Timestamp::now()
}

/// An app's last lines, kept for the report of a failure. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    /// The lines, oldest first.
    pub fn get(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    fn push(&self, lines: &[LogLine]) {
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for line in &lines[lines.len().saturating_sub(LAST_LINES_MAX)..] {
            if last.len() == LAST_LINES_MAX {
                last.pop_front();
            }
            last.push_back(shortened(&line.text));
        }
    }
}

/// A report is small: of a line it holds the beginning.
fn shortened(text: &str) -> String {
    const MAX: usize = 1000;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Takes all of a stream's lines into the spool, until it ends.
pub async fn capture(
    mut from: impl AsyncRead + Unpin,
    release: u64,
    stream: Stream,
    spool: Spool,
    last: LastLines,
) {
    let mut lines = Lines::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match from.read(&mut chunk).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, ?stream, "the app's output cannot be read any more");
                0
            }
        };
        let texts = if read == 0 { lines.finish() } else { lines.take(&chunk[..read]) };
        if !texts.is_empty() {
            let time = now();
            let lines: Vec<_> =
                texts.into_iter().map(|text| LogLine { time, release, stream, text }).collect();
            last.push(&lines);
            spool.write(&lines);
        }
        if read == 0 {
            return;
        }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    /// What came after the last line's end.
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut texts = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.ends_with(b"\n") {
                self.rest.pop();
                texts.push(self.text());
            }
            while self.rest.len() >= LINE_MAX {
                let tail = self.rest.split_off(LINE_MAX);
                texts.push(self.text());
                self.rest = tail;
            }
        }
        texts
    }

    /// The last line, if it had no end.
    fn finish(&mut self) -> Vec<String> {
        if self.rest.is_empty() { Vec::new() } else { vec![self.text()] }
    }

    fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest.clear();
        text
    }
}

/// Takes the agent's own lines into the spool.
#[derive(Clone, Debug)]
pub struct OwnLines(pub Spool);

impl Write for OwnLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).trim().to_owned();
        self.0.write(&[LogLine { time: now(), release: 0, stream: Stream::Agent, text }]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut texts: Vec<String> = pieces.iter().flat_map(|piece| lines.take(piece)).collect();
        texts.extend(lines.finish());
        texts
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        let whole = b"one\n\ntwo\xff\nlast without an end";
        let expected = ["one", "", "two\u{fffd}", "last without an end"];
        for at in 0..whole.len() {
            let (a, b) = whole.split_at(at);
            assert_eq!(cut(&[a, b]), expected, "cut at {at}");
        }
    }

    #[test]
    fn a_long_line_is_cut_and_nothing_of_it_is_lost() {
        let long = vec![b'x'; LINE_MAX * 2 + 7];
        let texts = cut(&[&long, b"\nnext\n"]);
        let lengths: Vec<_> = texts.iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_MAX, LINE_MAX, 7, 4]);
    }

    #[test]
    fn the_spool_goes_on_in_a_new_file_and_keeps_only_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..FILES_MAX + 3 {
            let spool = Spool::open(folder.path().to_owned()).unwrap();
            let line = LogLine { time: now(), release: 1, stream: Stream::Out, text: "x".into() };
            spool.write(&[line]);
        }
        let numbers = numbers(folder.path()).unwrap();
        assert_eq!(numbers.len(), FILES_MAX);
        assert_eq!(numbers.last(), Some(&(FILES_MAX as u64 + 3)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_a_stream_says_last_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path().to_owned()).unwrap();
        let last = LastLines::default();
        let text: String = (0..50).map(|n| format!("line {n}\n")).collect();
        capture(text.as_bytes(), 4, Stream::Err, spool, last.clone()).await;
        let lines = last.get();
        assert_eq!(lines.len(), LAST_LINES_MAX);
        assert_eq!((lines[0].as_str(), lines[19].as_str()), ("line 30", "line 49"));
        let file = std::fs::read_to_string(path(folder.path(), 1)).unwrap();
        assert_eq!(file.lines().count(), 50);
        let first: LogLine = serde_json::from_str(file.lines().next().unwrap()).unwrap();
        assert_eq!((first.release, first.stream), (4, Stream::Err));
    }
}
