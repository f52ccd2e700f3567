//! The folder that the demo happens in.
//!
//! ```text
//! /tmp/engr-demo-Xyz/
//!   hello/   the app's source, and its engr.json
//!   home/    ENGR_HOME: the bucket, the instances
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::config::EngrFile;
use crate::failure::{CommandResult, Exit, OrFail};
use crate::output::{Style, print};

use super::steps::{APP, Steps};

/// The folder. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(TempDir);

impl Scratch {
    /// A new one, with an empty folder for the app.
    pub(super) fn new() -> CommandResult<Self> {
        let cannot = "cannot make a folder for the demo";
        let made = tempfile::Builder::new().prefix("engr-demo-").tempdir();
        let scratch = Self(made.or_fail(Exit::Internal, cannot)?);
        for folder in [scratch.app(), scratch.home()] {
            fs::create_dir(folder).or_fail(Exit::Internal, cannot)?;
        }
        // An engr.json above the temporary folder is somebody else's, and must not get the app.
        if EngrFile::find_from(scratch.path())?.is_some() {
            let own = scratch.app().join("engr.json");
            fs::write(own, "{\n  \"apps\": {}\n}\n").or_fail(Exit::Internal, cannot)?;
        }
        Ok(scratch)
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where the app's source is.
    pub(super) fn app(&self) -> PathBuf {
        self.path().join(APP)
    }

    /// The demo's `ENGR_HOME`.
    pub(super) fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Removes it.
    pub(super) fn remove(self) -> CommandResult<()> {
        let cannot = format!("cannot remove {}", self.path().display());
        self.0.close().or_fail(Exit::Internal, cannot)
    }

    /// Leaves it, and says how to go on by hand.
    pub(super) fn keep(self, steps: &Steps) {
        let (app, home, engr) = (self.app(), self.home(), steps.engr_for_people());
        let path = self.path().to_owned();
        // From here on nobody removes it but the user.
        let _kept = self.0.keep();
        let bold = |text: String| Style::Bold.paint(text);
        print(format_args!("\nThe fleet stays. Go on by hand:\n"));
        for line in [
            format!("cd {}", app.display()),
            format!("export ENGR_HOME={}", home.display()),
            format!("{engr} {APP} status"),
            format!("{engr} {APP} logs -f"),
            format!("{engr} {APP} deploy -m \"my own\""),
        ] {
            print(format_args!("  {}\n", bold(line)));
        }
        let end =
            format!("{engr} {APP} destroy-app --yes {APP} --bucket && rm -r {}", path.display());
        print(format_args!("and in the end:\n  {}\n", bold(end)));
    }
}
