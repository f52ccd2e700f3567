//! `--build-only`: makes the archive and keeps it.

use std::io;
use std::path::{Path, PathBuf};

use crate::build::Archive;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, OrFail};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::output::events::{Event, Outcome, ResultEvent};

/// Builds, archives, and prints where the archive lies and its SHA-256.
pub(super) async fn run(app: &AppContext, output: &Output) -> CommandResult {
    let interrupt = Interrupt::new()?;
    let archive = interrupt.unless_raised(super::built(app, output)).await?;
    let digest = archive.artifact.digest;
    let path = app.root().join("target/engr").join(format!("{digest}.tar.zst"));
    keep(&archive, &path)
        .or_fail(Exit::Internal, format_args!("cannot keep {}", path.display()))?;
    output.line(format_args!("{digest}  {}", path.display()));
    output.event(&Event::Result(&ResultEvent {
        outcome: Outcome::Built,
        artifact: Some(digest),
        path: Some(path.display().to_string()),
        ..ResultEvent::default()
    }));
    Ok(Exit::Done)
}

/// Puts the archive at `path`, whole or not at all.
fn keep(archive: &Archive, path: &Path) -> io::Result<()> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    std::fs::create_dir_all(&folder)?;
    // Archives must not make the work tree dirty.
    std::fs::write(folder.join(".gitignore"), "*\n")?;
    // The archive may lie on another file system, from where it cannot be moved.
    let mut copy = tempfile::NamedTempFile::new_in(&folder)?;
    io::copy(&mut std::fs::File::open(archive.file.path())?, &mut copy)?;
    copy.as_file().sync_all()?;
    copy.persist(path).map_err(|error| error.error)?;
    Ok(())
}
