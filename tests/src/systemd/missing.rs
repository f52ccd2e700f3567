//! What this machine lacks to boot a node.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use nix::unistd::geteuid;

/// Set where the tests may not be skipped.
const MUST: &str = "ENGR_TEST_SYSTEMD";

/// Why no node can be booted here.
#[derive(Debug)]
pub struct Missing(String);

impl Missing {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// What could be made; or None, where the machine lacks something for it, which is told.
///
/// # Panics
/// On any other failure, and where the tests must not be skipped.
#[track_caller]
pub fn or_skip<T>(made: anyhow::Result<T>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(error) if error.is::<Missing>() && std::env::var_os(MUST).is_none() => {
            // Past the test runner, which shows only what failed tests print.
            let _ = writeln!(std::io::stderr(), "skipped: {error:#}");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

/// Fails where a node could not be booted.
pub(super) fn check() -> Result<(), Missing> {
    if !geteuid().is_root() {
        return Err(Missing::new("only root may boot a systemd of its own"));
    }
    for program in ["unshare", "nsenter", "timeout", "ip"] {
        if !has_program(program) {
            return Err(Missing::new(format!("{program} is not installed")));
        }
    }
    Ok(())
}

pub(super) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| folder.join(name).is_file())
}
