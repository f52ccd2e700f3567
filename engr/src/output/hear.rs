//! What happens on the way (`tracing`'s events), on standard error: warnings, and all of it with `-v`.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::Style;

/// From now on what this program's own crates say is shown: libraries have other readers in mind.
pub fn hear(verbose: bool) {
    let level = if verbose { LevelFilter::DEBUG } else { LevelFilter::WARN };
    let ours = Targets::new().with_target("engr", level).with_target("deploy", level);
    let lines = Lines { verbose, warned: Mutex::default() };
    tracing_subscriber::registry().with(lines.with_filter(ours)).init();
}

/// One line for each event.
struct Lines {
    verbose: bool,
    /// What was warned of: once is enough for a person.
    warned: Mutex<HashSet<String>>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let text = text(event);
        if !self.verbose {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if !warned.insert(text.clone()) {
                return;
            }
        }
        let (word, style) = match *event.metadata().level() {
            Level::ERROR => ("error", Style::Red),
            Level::WARN => ("warning", Style::Yellow),
            Level::INFO => ("info", Style::Dim),
            _ => ("debug", Style::Dim),
        };
        // What is drawn over on the terminal gives way.
        let clear = if io::stdout().is_terminal() { "\r\x1b[2K" } else { "" };
        let word = style.paint_err(format!("{word:<9}"));
        // Where standard error is gone there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{clear}{word} {text}");
    }
}

/// `what happened: name=value, name=value`.
fn text(event: &Event<'_>) -> String {
    let mut text = Text::default();
    event.record(&mut text);
    let Text { mut message, fields } = text;
    if !fields.is_empty() {
        message.push_str(": ");
        message.push_str(&fields.join(", "));
    }
    message
}

#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<String>,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push(format!("{name}={value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push(format!("{field}={value}"));
    }

    /// With what lies beneath it.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = format!("{field}={value}");
        let mut cause = value.source();
        while let Some(error) = cause {
            // Nothing fails that writes to a string.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.fields.push(text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Keeps the lines.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(text(event));
        }
    }

    #[test]
    fn an_event_is_a_short_line_with_its_causes() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        tracing::subscriber::with_default(subscriber, || {
            let cause = io::Error::other("it is out");
            let error = anyhow::Error::new(cause).context("cannot ask");
            let error: &(dyn std::error::Error + 'static) = error.as_ref();
            tracing::debug!(error, tries = 2, "it is tried again");
            tracing::warn!(folder = %"/x", name = "y", "it is there");
            tracing::info!("done");
        });
        let expected = [
            "it is tried again: error=cannot ask: it is out, tries=2",
            "it is there: folder=/x, name=y",
            "done",
        ];
        assert_eq!(*kept.0.lock().unwrap(), expected);
    }
}
