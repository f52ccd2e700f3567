//! `engr completions`: for a shell, with the apps that are in reach when it is run.

use clap_complete::Shell;

use crate::cli::command_for_completions;
use crate::config::{EngrFile, current_folder};
use crate::failure::{CommandResult, Exit};
use crate::output::print;

/// Prints the completions for `shell`.
pub fn run(shell: Shell) -> CommandResult {
    let file = EngrFile::find_from(&current_folder()?)?;
    let apps: Vec<String> = file.iter().flat_map(EngrFile::names).map(str::to_owned).collect();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command_for_completions(&apps), "engr", &mut script);
    print(String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
