//! Apps that are built by a command of their own.

use std::path::PathBuf;

use super::compiler::Compiler;
use super::failed;
use crate::config::BuildCommand;
use crate::context::AppContext;
use crate::failure::CommandResult;

/// Runs the app's command, and gives what it says that it makes.
pub async fn build(
    compiler: &Compiler,
    app: &AppContext,
    build: &BuildCommand,
) -> CommandResult<PathBuf> {
    run(compiler, app, "build.command", &build.command).await?;
    let output = app.root().join(&build.output);
    if !output.is_file() {
        return Err(failed(format_args!("`build.command` made no file {}", output.display()))
            .hint("`build.output` is the executable's path from the folder of engr.json"));
    }
    Ok(output)
}

/// Runs `text` by the shell in the app's folder. It is told for whom and what it builds.
pub async fn run(
    compiler: &Compiler,
    app: &AppContext,
    key: &str,
    text: &str,
) -> CommandResult<()> {
    let mut command = compiler.command("sh", &app.root())?;
    command.args(["-c", text]);
    command.env("ENGR_APP", &app.name).env("ENGR_ARCH", app.config.arch().name());
    let status = compiler.run(command).await?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(format_args!("the command of `{key}` failed ({status}): {text}"))
            .hint("what it said is above; nothing was published")),
    }
}
