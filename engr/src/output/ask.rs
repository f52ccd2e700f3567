//! Questions to a person at a terminal. Nothing is asked where nobody can answer.

use std::io::{self, IsTerminal, Write};

use super::Style;
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// Whether somebody is there to answer.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line, with an answer that an empty one stands for.
pub fn line(question: &str, default: Option<&str>) -> CommandResult<String> {
    loop {
        let shown = default.map(|default| Style::Dim.paint_err(format!(" [{default}]")));
        let answer = read(&format!("{question}{}: ", shown.unwrap_or_default()))?;
        match (answer.as_str(), default) {
            ("", None) => {}
            ("", Some(default)) => return Ok(default.to_owned()),
            (answer, _) => return Ok(answer.to_owned()),
        }
    }
}

/// Asks for a yes. Anything else is a no.
pub fn confirm(question: &str) -> CommandResult<bool> {
    let answer = read(&format!("{question} [y/N] "))?.to_ascii_lowercase();
    Ok(answer == "y" || answer == "yes")
}

fn read(prompt: &str) -> CommandResult<String> {
    let mut stderr = io::stderr();
    let asked = stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush());
    asked.or_fail(Exit::Internal, "cannot ask")?;
    let mut answer = String::new();
    let read =
        io::stdin().read_line(&mut answer).or_fail(Exit::Internal, "cannot read the answer")?;
    match read {
        0 => Err(Failure::usage("no answer was given")),
        _ => Ok(answer.trim().to_owned()),
    }
}
