//! The programs of a release of Engineer itself: this one's, and those of the one before, which an
//! update leaves beside it in one bucket for a while.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::engr::binary;

/// Names the commit that counts as the release before this one.
const PREVIOUS: &str = include_str!("../previous");

/// `must` where the tests of both may not be skipped.
const MUST: &str = "ENGR_TEST_PREVIOUS";

/// An `engr`, and the `agentd` beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs(PathBuf);

impl Programs {
    /// Those of this workspace.
    ///
    /// # Panics
    /// When they have not been built.
    pub fn current() -> Self {
        let engr = binary("engr");
        Self(engr.parent().expect("a file is in a folder").to_owned())
    }

    /// Those of the release before, which `tests/run` brings. None, where it could not, which is
    /// told.
    ///
    /// # Panics
    /// Where they are missing and the tests must not be skipped.
    #[track_caller]
    pub fn previous() -> Option<Self> {
        let folder = target().join("previous").join(commit());
        let programs = Self(folder.clone());
        let Some(missing) =
            [programs.engr(), programs.agentd()].into_iter().find(|it| !it.is_file())
        else {
            return Some(programs);
        };
        let why = fs::read_to_string(folder.join("missing"));
        let why = why.unwrap_or_else(|_| "tests/run brings it".to_owned());
        let said = format!("{} is missing: {}", missing.display(), why.trim());
        assert!(std::env::var_os(MUST).is_none(), "{said}");
        // Past the test runner, which shows only what failed tests print.
        let _ = writeln!(std::io::stderr(), "skipped: {said}");
        None
    }

    /// The command line.
    pub fn engr(&self) -> PathBuf {
        self.0.join("engr")
    }

    /// The agent.
    pub fn agentd(&self) -> PathBuf {
        self.0.join("agentd")
    }

    /// Whether the process runs this agent, wherever the file lies that it was started from.
    ///
    /// # Panics
    /// When it has ended, or a file cannot be read.
    pub fn are_of(&self, agent: u32) -> bool {
        let read = |path: &Path| {
            fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        read(Path::new(&format!("/proc/{agent}/exe"))) == read(&self.agentd())
    }
}

fn commit() -> &'static str {
    let names = |line: &&str| !line.is_empty() && !line.starts_with('#');
    PREVIOUS.lines().find(names).expect("tests/previous names a commit")
}

/// `target`, where the test runs.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    test.ancestors().nth(3).expect("target/debug/deps is above the test").to_owned()
}
