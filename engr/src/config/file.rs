//! The file.
use super::AppConfig;
use crate::failure::{CommandResult, Failure};
use std::path::{Path, PathBuf};

/// An `engr.json`, in its own order.
#[derive(Clone, Debug)]
pub struct EngrFile {
    /// x
    path: PathBuf,
    /// x
    json: serde_json::Value,
}

impl EngrFile {
    /// Finds it in the current folder or the nearest parent that has one.
    pub fn find() -> CommandResult<Self> {
        Err(Failure::usage("x"))
    }
    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
    /// The settings of one app, checked.
    pub fn app(&self, name: &str) -> CommandResult<AppConfig> {
        let _ = (name, &self.json);
        Err(Failure::usage("x"))
    }
}
