//! Colours, where they are wanted: on a terminal, unless `NO_COLOR` is set (no-color.org).

use std::fmt::Display;
use std::io::{self, IsTerminal};

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bold.
    Bold,
    /// Faint.
    Dim,
    /// For what failed.
    Red,
    /// For what succeeded.
    Green,
    /// For what waits or warns.
    Yellow,
    /// One of a few colours, to tell instances apart.
    Instance(usize),
}

impl Style {
    /// `text` in this style if standard output takes it.
    pub fn paint(self, text: impl Display) -> String {
        self.paint_if(text, io::stdout().is_terminal())
    }

    /// `text` in this style if standard error takes it.
    pub fn paint_err(self, text: impl Display) -> String {
        self.paint_if(text, io::stderr().is_terminal())
    }

    fn paint_if(self, text: impl Display, terminal: bool) -> String {
        let wanted = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let code = match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Instance(number) => [36, 35, 34, 32, 33, 96, 95, 94][number % 8],
        };
        if wanted { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
