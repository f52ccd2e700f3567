//! What a person at a terminal, a pipe, or a program reads.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::failure::Failure;
use events::{Event, Outcome, ResultEvent};

pub mod ask;
pub mod events;
mod hear;
mod live;
mod style;
mod table;
pub mod when;

pub use hear::hear;
pub use live::Live;
pub use style::Style;
pub use table::Table;

/// Where a command's progress goes, and in what form.
#[derive(Debug)]
pub struct Output {
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A person at a terminal: colours and lines that are drawn over.
    Terminal,
    /// Plain lines.
    Plain,
    /// One JSON object a line, and nothing else.
    Json,
}

impl Output {
    /// To standard output, in the form that suits it.
    pub fn new(json: bool) -> Self {
        let form = match (json, io::stdout().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Terminal,
            (false, false) => Form::Plain,
        };
        Self { form }
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Whether a person watches, so that lines may be drawn over.
    pub fn is_terminal(&self) -> bool {
        self.form == Form::Terminal
    }

    /// A line for people; nothing in JSON.
    pub fn line(&self, text: impl Display) {
        if self.form != Form::Json {
            print(format_args!("{text}\n"));
        }
    }

    /// A JSON line; nothing for people.
    pub fn event(&self, event: &impl Serialize) {
        if self.form == Form::Json {
            let text = serde_json::to_string(event).expect("events serialize");
            print(format_args!("{text}\n"));
        }
    }

    /// Says that something is amiss and that the command goes on.
    pub fn warn(&self, message: impl Display) {
        self.transient("");
        self.line(format_args!("{} {message}", Style::Yellow.paint(format!("{:<9}", "warning"))));
        self.event(&Event::Warning { message: message.to_string() });
    }

    /// A line that the next one is drawn over; nothing off a terminal.
    pub fn transient(&self, text: impl Display) {
        if self.form == Form::Terminal {
            print(format_args!("\r\x1b[2K{text}"));
        }
    }

    /// Begins a phase: on a terminal its name shows while it lasts.
    pub fn phase<'a>(&'a self, name: &'static str) -> Phase<'a> {
        self.transient(format_args!("{name:<9} …"));
        self.noisy_phase(name)
    }

    /// Begins a phase in which somebody else, a compiler say, writes to the terminal.
    pub fn noisy_phase<'a>(&'a self, name: &'static str) -> Phase<'a> {
        Phase { output: self, name, began: Instant::now() }
    }
}

/// A phase of a command that takes a while: one line, with its time, when it ends.
#[derive(Debug)]
pub struct Phase<'a> {
    output: &'a Output,
    name: &'static str,
    began: Instant,
}

impl Phase<'_> {
    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Shows how far it is: a bar, and the rate. Only on a terminal.
    pub fn progress(&self, done: u64, all: u64) {
        const WIDTH: u64 = 24;
        let filled = (done.min(all) * WIDTH).checked_div(all).unwrap_or(WIDTH) as usize;
        let bar = "█".repeat(filled) + &"░".repeat(WIDTH as usize - filled);
        let rate = done as f64 / self.elapsed().as_secs_f64().max(0.001);
        self.output.transient(format_args!(
            "{:<9} {bar} {} of {}, {}/s",
            self.name,
            bytes(done),
            bytes(all),
            bytes(rate as u64)
        ));
    }

    /// Ends it, saying what came of it.
    pub fn done(self, what: impl Display) {
        let took = self.elapsed();
        self.output.transient("");
        self.output.line(format_args!(
            "{} {what}  {}",
            Style::Bold.paint(format!("{:<9}", self.name)),
            Style::Dim.paint(when::length(took))
        ));
        self.output.event(&Event::Phase {
            phase: self.name,
            detail: what.to_string(),
            seconds: round(took.as_secs_f64()),
        });
    }
}

/// Writes to standard output at once. Whoever closed it wants no more: the command goes on, since
/// what it does to the fleet does not depend on being watched.
pub fn print(text: impl Display) {
    let mut stdout = io::stdout().lock();
    let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// `12.3 MB`; powers of ten.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// Seconds to the millisecond, as JSON has them.
pub fn round(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Tells why the command failed: `engr: what: cause`, then each hint. As JSON when that was asked
/// for, as the last line.
pub fn print_failure(failure: &Failure, json: bool) {
    let causes: Vec<String> = failure.error.chain().map(ToString::to_string).collect();
    let message = causes.join(": ");
    if json {
        let result = ResultEvent {
            outcome: Outcome::of_failure(failure.exit),
            exit_code: failure.exit as u8,
            error: Some(message),
            hints: failure.hints.clone(),
            ..ResultEvent::default()
        };
        Output { form: Form::Json }.event(&Event::Result(&result));
        return;
    }
    print_problem(&message, &failure.hints);
}

/// A failure for people, on standard error: what happened, and what to do about it.
pub fn print_problem(message: &str, hints: &[String]) {
    let mut stderr = io::stderr().lock();
    // Where standard error is gone there is nobody left to tell.
    let _ = writeln!(stderr, "{} {message}", Style::Red.paint_err("engr:"));
    for hint in hints {
        let _ = writeln!(stderr, "  {} {hint}", Style::Bold.paint_err("→"));
    }
}
