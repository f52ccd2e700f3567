//! The apps that tests deploy, as source and as executables.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/apps/go");
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../engineer/go");
const TAG: &str = "const tag = \"untagged\"";
const REPLACED: &str = "../../../engineer/go";

/// Copies the Go app's source into `folder`, which is made, as the build `tag`. It is a module of
/// its own there and finds the library where it is.
///
/// # Errors
/// When a file cannot be read or written, or the source has no tag to replace.
pub fn copy_go_source(folder: &Path, tag: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut replaced = 0;
    for entry in fs::read_dir(SOURCE)? {
        let entry = entry?;
        let mut text = fs::read_to_string(entry.path())?;
        for (from, to) in [(TAG, format!("const tag = {tag:?}")), (REPLACED, LIBRARY.to_owned())] {
            replaced += text.matches(from).count();
            text = text.replace(from, &to);
        }
        fs::write(folder.join(entry.file_name()), text)?;
    }
    match replaced {
        2 => Ok(()),
        _ => Err(io::Error::other(format!("{SOURCE} has {replaced} places to replace, not 2"))),
    }
}

/// The `go` command: `GO`, or the one on `PATH`.
pub fn go() -> OsString {
    env::var_os("GO").unwrap_or_else(|| "go".into())
}

/// Builds the Go app with `tag` in `folder`, and gives the executable.
///
/// # Errors
/// When it does not build, or there is no Go: tests need it.
pub fn build_go(folder: &Path, tag: &str) -> io::Result<PathBuf> {
    let source = folder.join(format!("source-{tag}"));
    copy_go_source(&source, tag)?;
    let executable = folder.join(format!("go-app-{tag}"));
    let mut build = Command::new(go());
    build.args(["build", "-trimpath", "-o"]).arg(&executable).arg(".").current_dir(&source);
    let output = build.output().map_err(|error| {
        let go = go().to_string_lossy().into_owned();
        io::Error::new(error.kind(), format!("cannot run {go}: {error}; set GO to where Go is"))
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("the Go app does not build: {text}")));
    }
    Ok(executable)
}
