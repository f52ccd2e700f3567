//! The service manager's unit that the agent runs in.

use std::path::PathBuf;

use anyhow::Context;

/// The service manager's unit that the agent runs in.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The unit's folder for what need not outlive the machine (`RuntimeDirectory=`).
    runtime: PathBuf,
}

impl Unit {
    /// The unit of this process.
    ///
    /// # Errors
    /// When the service manager did not name its folder.
    pub fn own() -> anyhow::Result<Self> {
        let runtime = std::env::var_os("RUNTIME_DIRECTORY")
            .context("RUNTIME_DIRECTORY is not set: the unit needs RuntimeDirectory=")?;
        Ok(Self { runtime: runtime.into() })
    }

    /// Whether it is the machine that ends, and not the unit alone: the unit's `ExecStop=` says so in
    /// a file before the agent gets `SIGTERM`.
    pub(super) fn machine_ends(&self) -> bool {
        self.runtime.join("machine-ends").exists()
    }
}
