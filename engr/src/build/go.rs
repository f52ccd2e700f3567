//! Go programs.

use std::path::{Path, PathBuf};

use super::compiler::Compiler;
use super::{elf, failed};
use crate::config::Arch;
use crate::failure::CommandResult;

/// No paths, no state of version control, no debug information: what is left depends on the source
/// and the toolchain alone. (And compressed DWARF would be different all over after every change.)
const DEFAULT_FLAGS: [&str; 3] = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w"];

/// Builds `package`, as seen from `folder`, into the file `to`.
pub async fn build(
    compiler: &Compiler,
    folder: &Path,
    package: &str,
    flags: Option<&[String]>,
    arch: Arch,
    to: PathBuf,
) -> CommandResult<PathBuf> {
    let mut command = compiler.command("go", folder)?;
    command.arg("build");
    match flags {
        Some(flags) => command.args(flags),
        None => command.args(DEFAULT_FLAGS),
    };
    command.arg("-o").arg(&to).arg("--").arg(package);
    // Static, so that it runs on any image; and never for the machine that happens to build it.
    command.env("CGO_ENABLED", "0").env("GOOS", "linux").env("GOARCH", arch.name());
    let status = compiler.run(command).await?;
    if !status.success() {
        return Err(failed(format_args!("go build failed ({status})"))
            .hint("the compiler's words are above; nothing was published"));
    }
    // A package that is no program builds, and leaves an archive of objects or nothing.
    if !elf::is_elf(&to)? {
        return Err(failed("what `package` names is no Go program: it makes no executable")
            .hint("name the folder or import path of a `package main`"));
    }
    Ok(to)
}

/// Runs `go generate` for the package, for this machine: what it runs runs here.
pub async fn generate(compiler: &Compiler, folder: &Path, package: &str) -> CommandResult<()> {
    let mut command = compiler.command("go", folder)?;
    command.args(["generate", "--", package]);
    let status = compiler.run(command).await?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(format_args!("go generate failed ({status})"))),
    }
}
