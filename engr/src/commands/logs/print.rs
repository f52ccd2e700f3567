//! Prints lines, for a person or as JSON.

use std::io::{self, Write};

use deploy::Timestamp;
use deploy::log_line::{LogLine, Stream};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Line;
use crate::output::Style;

/// How a line is told to programs.
#[derive(Debug, Serialize)]
struct Event<'a> {
    time: Timestamp,
    instance: &'a str,
    release: Option<u64>,
    stream: Stream,
    text: &'a str,
}

/// Prints to standard output.
pub(super) struct Printer {
    json: bool,
    zone: TimeZone,
    /// The widest instance's name so far.
    width: usize,
}

impl Printer {
    /// For a person, or as JSON.
    pub(super) fn new(json: bool) -> Self {
        Self { json, zone: TimeZone::system(), width: 0 }
    }

    /// Prints these, at once.
    pub(super) fn print(&mut self, lines: &[Line]) -> io::Result<()> {
        let widest = lines.iter().map(|line| line.instance.len()).max();
        self.width = self.width.max(widest.unwrap_or(0));
        let mut out = io::BufWriter::new(io::stdout().lock());
        for Line { instance, number, line } in lines {
            if self.json {
                let text = serde_json::to_string(&event(instance, line))?;
                writeln!(out, "{text}")?;
            } else {
                let head = format!("{instance:<width$} {:<6}", source(line), width = self.width);
                let head = Style::Instance(*number).paint(head);
                let time = line.time.to_zoned(self.zone.clone()).strftime("%F %T%.3f");
                writeln!(out, "{} {head} {}", Style::Dim.paint(time), line.text)?;
            }
        }
        out.flush()
    }
}

/// What wrote it: `v3`, `v3 err`, `agent`.
fn source(line: &LogLine) -> String {
    match line.stream {
        Stream::Out => format!("v{}", line.release),
        Stream::Err => format!("v{} err", line.release),
        Stream::Agent => "agent".to_owned(),
    }
}

fn event<'a>(instance: &'a str, line: &'a LogLine) -> Event<'a> {
    let release = (line.release > 0).then_some(line.release);
    Event { time: line.time, instance, release, stream: line.stream, text: &line.text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_the_documented_one() {
        let time = "2026-11-22T10:02:11.123Z".parse().unwrap();
        let line = LogLine {
            time,
            release: 0,
            stream: Stream::Agent,
            text: "a \"b\"".into(),
            source: None,
        };
        assert_eq!(
            serde_json::to_string(&event("hello-1", &line)).unwrap(),
            r#"{"time":"2026-11-22T10:02:11.123Z","instance":"hello-1","release":null,"stream":"agent","text":"a \"b\""}"#
        );
    }
}
