//! One instance's spool: files of lines, named by a growing number, the oldest removed in time.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

use deploy::log_line::LogLine;

/// Which lines are wanted.
#[derive(Debug)]
pub(super) struct Filter {
    /// Only this release's. None: all, and the agent's own.
    pub(super) release: Option<u64>,
}

impl Filter {
    fn takes(&self, line: &LogLine) -> bool {
        self.release.is_none_or(|release| line.release == release)
    }
}

/// Reads a spool from its end on.
#[derive(Debug)]
pub(super) struct Spool {
    /// Whose it is.
    pub(super) instance: String,
    /// Where its files lie.
    pub(super) folder: PathBuf,
    /// The file that is read, and how much of it has been.
    at: Option<(OsString, u64)>,
    warned: bool,
}

impl Spool {
    /// The spool in `folder`; nothing of it has been read.
    pub(super) fn new(instance: String, folder: PathBuf) -> Self {
        Self { instance, folder, at: None, warned: false }
    }

    /// The last `count` lines that there are now; [`Self::more`] goes on after them.
    pub(super) fn last(&mut self, count: usize, filter: &Filter) -> io::Result<Vec<LogLine>> {
        let mut last = VecDeque::new();
        let files = self.files()?;
        for (index, file) in files.iter().enumerate().rev() {
            if last.len() >= count && index + 1 < files.len() {
                break;
            }
            let data = self.read(file, 0)?;
            let whole = &data[..end_of_last_line(&data)];
            if index + 1 == files.len() {
                self.at = Some((file.clone(), whole.len() as u64));
            }
            for line in whole.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
                if last.len() >= count {
                    break;
                }
                let line = self.parse(line).filter(|line| filter.takes(line));
                line.into_iter().for_each(|line| last.push_front(line));
            }
        }
        Ok(last.into())
    }

    /// The lines that were written since the last call.
    pub(super) fn more(&mut self, filter: &Filter) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        // Listed before anything is read: a file that has a successor by then grows no more.
        for file in self.files()? {
            let from = match &self.at {
                Some((at, _)) if file < *at => continue,
                Some((at, read)) if file == *at => *read,
                _ => 0,
            };
            let data = self.read(&file, from)?;
            let whole = &data[..end_of_last_line(&data)];
            for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                lines.extend(self.parse(line).filter(|line| filter.takes(line)));
            }
            self.at = Some((file, from + whole.len() as u64));
        }
        Ok(lines)
    }

    /// The spool's files, oldest first. None where the agent has not begun one.
    fn files(&self) -> io::Result<Vec<OsString>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<OsString>>>()?;
        names.retain(|name| name.as_encoded_bytes().ends_with(b".jsonl"));
        names.sort();
        Ok(names)
    }

    fn read(&self, file: &OsString, from: u64) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        let mut opened = match File::open(self.folder.join(file)) {
            Ok(opened) => opened,
            // The agent has removed it since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(data),
            Err(error) => return Err(error),
        };
        opened.seek(SeekFrom::Start(from))?;
        opened.read_to_end(&mut data)?;
        Ok(data)
    }

    /// A line that is none is left out, and told of once: an agent that was killed may have left
    /// one half written.
    fn parse(&mut self, line: &[u8]) -> Option<LogLine> {
        let parsed = serde_json::from_slice(line);
        if parsed.is_err() && !std::mem::replace(&mut self.warned, true) {
            let folder = self.folder.display();
            eprintln!("engr: a line in {folder} cannot be read and is left out");
        }
        parsed.ok()
    }
}

fn end_of_last_line(data: &[u8]) -> usize {
    data.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ALL: Filter = Filter { release: None };

    fn write(spool: &Spool, file: u32, text: &str) {
        let path = spool.folder.join(format!("{file:020}.jsonl"));
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn line(release: u64, text: &str) -> String {
        format!(r#"{{"t":"2026-11-22T10:00:00Z","v":{release},"s":"out","l":"{text}"}}"#) + "\n"
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_last_lines_reach_over_files_and_more_goes_on_from_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new("a".into(), folder.path().to_owned());
        assert!(spool.last(9, &ALL).unwrap().is_empty());
        write(&spool, 1, &(line(1, "1") + &line(1, "2")));
        write(&spool, 2, &(line(2, "3") + &line(2, "4")));
        assert_eq!(texts(&spool.last(3, &ALL).unwrap()), ["2", "3", "4"]);
        assert!(spool.more(&ALL).unwrap().is_empty());

        // A line that is not whole waits, also for the file after it.
        let five = line(2, "5");
        write(&spool, 2, &five[..10]);
        assert!(spool.more(&ALL).unwrap().is_empty());
        write(&spool, 2, &five[10..]);
        write(&spool, 3, &line(3, "6"));
        assert_eq!(texts(&spool.more(&ALL).unwrap()), ["5", "6"]);
        fs::remove_file(folder.path().join(format!("{:020}.jsonl", 3))).unwrap();
        write(&spool, 7, &line(3, "7"));
        assert_eq!(texts(&spool.more(&ALL).unwrap()), ["7"]);
    }

    #[test]
    fn none_of_the_past_and_all_of_the_future() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new("a".into(), folder.path().to_owned());
        write(&spool, 1, &line(1, "past"));
        assert!(spool.last(0, &ALL).unwrap().is_empty());
        write(&spool, 1, &line(1, "new"));
        assert_eq!(texts(&spool.more(&ALL).unwrap()), ["new"]);
    }

    #[test]
    fn one_release_only_and_no_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new("a".into(), folder.path().to_owned());
        write(&spool, 1, &(line(1, "old") + "{\"t\":\"20\n" + &line(2, "new") + &line(0, "agent")));
        let filter = Filter { release: Some(2) };
        assert_eq!(texts(&spool.last(9, &filter).unwrap()), ["new"]);
        write(&spool, 2, &(line(1, "old") + &line(2, "newer")));
        assert_eq!(texts(&spool.more(&filter).unwrap()), ["newer"]);
    }
}
