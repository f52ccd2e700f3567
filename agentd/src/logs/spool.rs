//! The spool: a folder of files of JSON lines ([`LogLine`]), the newest with the highest number.
//!
//! A file that has its size is followed by the next; the oldest go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use deploy::log_line::{LogLine, Stream};

use super::now;

/// From this size on a file is followed by the next.
const FILE_SIZE: u64 = 8 << 20;

/// How many files are kept.
const FILES_MAX: usize = 8;

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
        let number = newest.max(1);
        cut_torn(&path(&folder, number))?;
        let file = create(&folder, number)?;
        let size = file.metadata()?.len();
        let spool = Files { folder, number, file, size, lost: 0 };
        spool.prune()?;
        Ok(Self(Arc::new(Mutex::new(spool))))
    }

    /// How far the stream of this run was written down: the end of its last line. 0: nothing was.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub fn written_to(&self, run: u64, stream: Stream) -> io::Result<u64> {
        let folder = self.0.lock().unwrap_or_else(PoisonError::into_inner).folder.clone();
        for number in numbers(&folder)?.into_iter().rev() {
            if let Some(end) = last_end(&std::fs::read(path(&folder, number))?, run, stream) {
                return Ok(end);
            }
        }
        Ok(0)
    }

    /// The last lines of a run, oldest first, at most `max`.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub fn last_lines(&self, run: u64, max: usize) -> io::Result<Vec<LogLine>> {
        let folder = self.0.lock().unwrap_or_else(PoisonError::into_inner).folder.clone();
        let mut last = Vec::new();
        for number in numbers(&folder)?.into_iter().rev() {
            let content = std::fs::read(path(&folder, number))?;
            last.extend(backwards(&content, run).take(max - last.len()));
            if last.len() == max {
                break;
            }
        }
        last.reverse();
        Ok(last)
    }

    /// Writes these lines, in one write.
    pub fn write(&self, lines: &[LogLine]) {
        let mut text = Vec::with_capacity(lines.iter().map(|line| line.text.len() + 80).sum());
        for line in lines {
            serde_json::to_writer(&mut text, line).expect("a line serializes into memory");
            text.push(b'\n');
        }
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
                let line =
                    LogLine { time: now(), release: 0, stream: Stream::Agent, text, source: None };
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

/// A line that was cut short when its agent was killed: it is written again.
fn cut_torn(path: &std::path::Path) -> io::Result<()> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < content.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    Ok(())
}

/// The end of the last line of the stream in a file's content.
fn last_end(content: &[u8], run: u64, stream: Stream) -> Option<u64> {
    backwards(content, run).find(|line| line.stream == stream)?.source.map(|source| source.1)
}

/// The lines of a run in a file's content, newest first.
fn backwards(content: &[u8], run: u64) -> impl Iterator<Item = LogLine> + '_ {
    // In a line's text the quotes are escaped.
    let mark = format!(",\"r\":[{run},");
    let mut rest = content;
    std::iter::from_fn(move || {
        loop {
            let at = memchr::memmem::rfind(rest, mark.as_bytes())?;
            let start = rest[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let length = rest[at..].iter().position(|byte| *byte == b'\n')?;
            let line = serde_json::from_slice::<LogLine>(&rest[start..at + length]);
            rest = &rest[..start];
            if let Ok(line) = line
                && line.source.is_some_and(|source| source.0 == run)
            {
                return Some(line);
            }
        }
    })
}

/// Takes the agent's own lines into the spool.
#[derive(Clone, Debug)]
pub struct OwnLines(pub Spool);

impl Write for OwnLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).trim().to_owned();
        self.0.write(&[LogLine {
            time: now(),
            release: 0,
            stream: Stream::Agent,
            text,
            source: None,
        }]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deploy::log_line::Source;

    fn line(text: &str, stream: Stream, source: Option<Source>) -> LogLine {
        LogLine { time: now(), release: 1, stream, text: text.into(), source }
    }

    #[test]
    fn a_full_file_is_followed_by_the_next_and_only_the_newest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let full = [line(&"x".repeat(FILE_SIZE as usize), Stream::Out, None)];
        for _ in 0..FILES_MAX + 3 {
            let spool = Spool::open(folder.path().to_owned()).unwrap();
            spool.write(&full);
        }
        let numbers = numbers(folder.path()).unwrap();
        assert_eq!(numbers.len(), FILES_MAX);
        assert_eq!(numbers.last(), Some(&(FILES_MAX as u64 + 3)));
    }

    #[test]
    fn it_goes_on_behind_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for life in 0..100 {
            let spool = Spool::open(folder.path().to_owned()).unwrap();
            spool.write(&[line("x", Stream::Out, Some(Source(1, life)))]);
        }
        assert_eq!(numbers(folder.path()).unwrap(), [1]);
        let text = std::fs::read_to_string(path(folder.path(), 1)).unwrap();
        assert_eq!(text.lines().count(), 100);
    }

    #[test]
    fn it_knows_how_far_each_stream_was_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path().to_owned()).unwrap();
        spool.write(&[
            line("a", Stream::Out, Some(Source(7, 2))),
            line(",\"r\":[7,99]", Stream::Out, Some(Source(7, 15))),
            line("b", Stream::Err, Some(Source(7, 4))),
            line("c", Stream::Out, Some(Source(77, 1000))),
            line("d", Stream::Agent, None),
        ]);
        let spool = Spool::open(folder.path().to_owned()).unwrap();
        assert_eq!(spool.written_to(7, Stream::Out).unwrap(), 15);
        assert_eq!(spool.written_to(7, Stream::Err).unwrap(), 4);
        assert_eq!(spool.written_to(77, Stream::Err).unwrap(), 0);
        assert_eq!(spool.written_to(8, Stream::Out).unwrap(), 0);
        let texts = |max| -> Vec<String> {
            spool.last_lines(7, max).unwrap().into_iter().map(|line| line.text).collect()
        };
        assert_eq!(texts(2), [",\"r\":[7,99]", "b"]);
        assert_eq!(texts(20).len(), 3);
    }

    #[test]
    fn a_line_that_was_cut_short_is_as_if_it_had_not_been_begun() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path().to_owned()).unwrap();
        spool.write(&[line("whole", Stream::Out, Some(Source(1, 6)))]);
        spool.write(&[line("torn", Stream::Out, Some(Source(1, 11)))]);
        let file = path(folder.path(), 1);
        let whole = std::fs::read(&file).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for length in first..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            let spool = Spool::open(folder.path().to_owned()).unwrap();
            assert_eq!(spool.written_to(1, Stream::Out).unwrap(), 6);
            assert_eq!(std::fs::read(&file).unwrap(), whole[..first]);
        }
    }
}
