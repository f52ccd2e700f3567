//! From source to archive: runs the compiler, takes what it made, packs it.

use std::path::PathBuf;

use deploy::release::{Artifact, Source};

use crate::context::AppContext;
use crate::failure::{CommandResult, Failure};

/// A built executable, before it is packed.
#[derive(Debug)]
pub struct Built {
    /// The executable.
    pub executable: PathBuf,
    /// Which machine it is for.
    pub arch: crate::config::Arch,
}

/// A packed app, in a file that goes when this is dropped.
#[derive(Debug)]
pub struct Archive {
    /// Where it lies.
    pub file: tempfile::NamedTempFile,
    /// Its digest and size.
    pub artifact: Artifact,
}

/// Builds the app; the compiler's output goes to standard error as it comes.
pub async fn build(_app: &AppContext) -> CommandResult<Built> {
    Err(Failure::usage("x"))
}
/// Packs what was built with what `include` names.
pub fn archive(_app: &AppContext, _built: &Built) -> CommandResult<Archive> {
    Err(Failure::usage("x"))
}
/// Where the source stands in git; `None` outside a work tree.
pub async fn source(_app: &AppContext) -> CommandResult<Option<Source>> {
    Err(Failure::usage("x"))
}
