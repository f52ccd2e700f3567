//! `run`: a command here, with the app's deployed environment.
//!
//! It takes the place of this process: its exit code, its signals and its terminal are its own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};

use super::here::Variables;

/// Becomes the command.
pub async fn run(app: &AppContext, words: Vec<OsString>) -> CommandResult {
    let Some((program, args)) = words.split_first() else {
        return Err(Failure::usage("no command was given"));
    };
    let mut variables = Variables::of(app);
    variables.deployed(app).await?;
    if let Some(port) = app.config.ports().first() {
        variables.port(*port);
    }
    let mut command = std::process::Command::new(program);
    variables.apply(&mut command);
    let error = command.args(args).exec();
    let shown = program.to_string_lossy();
    let error = anyhow::Error::new(error).context(format!("cannot run {shown}"));
    Err(Failure::new(Exit::Usage, error))
}
