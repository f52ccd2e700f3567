//! From source to archive: runs the compiler, takes what it made, packs it.
//!
//! ```text
//! plan ──▶ go | rust | command ──▶ elf ──▶ pack (include) ──▶ Archive
//! what      runs it, by compiler    checked
//! package
//! means
//! ```
//!
//! The same source gives the same archive, byte for byte, in whichever folder and whenever it is
//! built with one toolchain: no path, no time and no state of version control gets into it.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use crate::config::{Arch, Generate};
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure, OrFail};

mod cargo_flags;
mod command;
mod compiler;
pub mod elf;
mod go;
mod pack;
mod plan;
mod rust;
mod source;

use compiler::Compiler;
use plan::Plan;

pub use pack::{Archive, archive};
pub use plan::candidates;
pub use source::{check_clean, source};

/// A built executable, before it is packed.
#[derive(Clone, Debug)]
pub struct Built {
    /// The executable.
    pub executable: PathBuf,
    /// Which machine it is for.
    pub arch: Arch,
    /// Where it lies, if that goes with it.
    _scratch: Arc<TempDir>,
}

/// Builds the app; the compiler's output goes to standard error as it comes.
///
/// A compiler that was started has ended when this has, also when it is interrupted or dropped.
pub async fn build(app: &AppContext) -> CommandResult<Built> {
    let plan = Plan::of(app)?;
    let arch = app.config.arch();
    let scratch = tempfile::Builder::new()
        .prefix("engr-build-")
        .tempdir()
        .or_fail(Exit::Internal, "cannot make a folder to build in")?;
    let compiler = Compiler::new(scratch.path())?;
    generate(app, &plan, &compiler).await?;
    let flags = app.config.build_flags.as_deref();
    let executable = match &plan {
        Plan::Go { folder, package } => {
            let to = scratch.path().join("go").join(&app.name);
            go::build(&compiler, folder, package, flags, arch, to).await?
        }
        Plan::Cargo { folder, package } => {
            rust::build(&compiler, folder, package.as_deref(), flags, arch).await?
        }
        Plan::Command { build } => command::build(&compiler, app, build).await?,
    };
    let is_by_command = matches!(plan, Plan::Command { .. });
    elf::check(&executable, arch, is_by_command)?;
    Ok(Built { executable, arch, _scratch: Arc::new(scratch) })
}

/// Runs what `generate` names.
async fn generate(app: &AppContext, plan: &Plan, compiler: &Compiler) -> CommandResult<()> {
    match (&app.config.generate, plan) {
        (None | Some(Generate::Go(false)), _) => Ok(()),
        (Some(Generate::Go(true)), Plan::Go { folder, package }) => {
            go::generate(compiler, folder, package).await
        }
        (Some(Generate::Go(true)), Plan::Cargo { .. } | Plan::Command { .. }) => Err(
            Failure::usage("`generate` is true, which runs `go generate`, and the app is not Go")
                .hint("set `generate` to the commands to run"),
        ),
        (Some(Generate::Commands(commands)), _) => {
            for text in commands {
                command::run(compiler, app, "generate", text).await?;
            }
            Ok(())
        }
    }
}

/// The end of a build that failed, with what failed and nothing of what the compiler said already.
fn failed(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::BuildFailed, anyhow::anyhow!("{message}"))
}
