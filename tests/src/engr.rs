//! The real `engr` in a folder of its own, as somebody at a shell would run it.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder to run `engr` in, with a home of its own beside it. All of it goes with this value.
#[derive(Debug)]
pub struct Place {
    root: TempDir,
    /// Where Cloud Storage is for commands that are run here.
    endpoint: String,
    /// The `engr` that is run here. None: this workspace's.
    engr: Option<PathBuf>,
}

/// Nobody's real buckets, whatever the machine's owner is logged in to: nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty one.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        for folder in ["work", "home", "tmp"] {
            fs::create_dir(root.path().join(folder)).expect("a folder");
        }
        Self { root, endpoint: NOWHERE.to_owned(), engr: None }
    }

    /// From now on commands that are run here find Cloud Storage at `endpoint`.
    pub fn set_endpoint(&mut self, endpoint: impl Into<String>) {
        self.endpoint = endpoint.into();
    }

    /// From now on this `engr` is run here, which finds the `agentd` beside it.
    pub fn set_engr(&mut self, program: impl Into<PathBuf>) {
        self.engr = Some(program.into());
    }

    /// The `engr` that is run here, ready to be started.
    ///
    /// # Panics
    /// When it has not been built.
    pub fn engr_command(&self) -> Command {
        self.command(self.engr.clone().unwrap_or_else(|| binary("engr")))
    }

    /// The folder that commands are run in.
    pub fn path(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// The folder that holds all of it.
    pub fn root(&self) -> PathBuf {
        self.root.path().to_owned()
    }

    /// The `ENGR_HOME` of commands that are run here.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home/engr")
    }

    /// Where programs put their temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    /// Writes a file, and the folders that it lies in.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folders");
        fs::write(path, text).expect("the file");
    }

    /// Reads a file.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).expect("the file")
    }

    /// A command that is ready to run here. Its environment holds what compilers need of the
    /// machine's, and nothing else that could change what is tested.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env_clear();
        command.env("STORAGE_EMULATOR_HOST", &self.endpoint);
        for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        // Where they are when the home is the machine's own.
        for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let folder = std::env::home_dir().map(|home| home.join(folder));
            if let Some(folder) = folder.filter(|f| std::env::var_os(name).is_none() && f.is_dir())
            {
                command.env(name, folder);
            }
        }
        let home = self.root.path().join("home");
        command
            .env("ENGR_HOME", self.home())
            .env("HOME", home)
            .env("TMPDIR", self.temporary())
            .env("USER", "tester")
            .env("GOFLAGS", "-mod=mod")
            .env("GOPROXY", "off")
            .env("GOTOOLCHAIN", "local")
            // Compiling Go's standard library once is enough.
            .env("GOCACHE", binaries().join("../tests/go-build"))
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    /// Runs `engr` with these arguments.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn engr(&self, args: &[&str]) -> Transcript {
        self.engr_in(".", args)
    }

    /// Runs `engr` with the words of each line, and gives what a person would see.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn session(&self, lines: &[&str]) -> String {
        let run = |line: &&str| self.engr(&line.split_whitespace().collect::<Vec<_>>()).to_string();
        lines.iter().map(run).collect::<Vec<_>>().join("\n")
    }

    /// The same in a folder below.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn engr_in(&self, folder: &str, args: &[&str]) -> Transcript {
        let mut command = self.engr_command();
        let output = command.args(args).current_dir(self.path().join(folder)).output();
        self.transcript(args, &output.expect("engr runs"))
    }

    /// What a run of `engr` with these arguments printed, with the folder's path as `WORK`.
    pub fn transcript(&self, args: &[&str], output: &Output) -> Transcript {
        let redacted = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let text = text.replace(&*self.path().to_string_lossy(), "WORK");
            text.replace(&*self.root.path().to_string_lossy(), "ROOT")
        };
        Transcript {
            args: args.iter().map(ToString::to_string).collect(),
            code: output.status.code(),
            stdout: redacted(&output.stdout),
            stderr: redacted(&output.stderr),
        }
    }
}

/// One command and what it printed. Its text is the command, the output (standard error after
/// `! `) and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// The arguments.
    pub args: Vec<String>,
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Transcript {
    /// The last line of standard output as JSON, which `--json` makes the result.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn result(&self) -> serde_json::Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in:\n{self}"))
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ engr {}", self.args.join(" "))?;
        f.write_str(&self.stdout)?;
        for line in self.stderr.lines() {
            writeln!(f, "{}", format!("! {line}").trim_end())?;
        }
        match self.code {
            Some(code) => write!(f, "({code})"),
            None => write!(f, "(a signal)"),
        }
    }
}

/// A program of the workspace.
///
/// # Panics
/// When it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let path = binaries().join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build` first", path.display());
    path
}

/// Where the workspace's programs are: `ENGR_BIN_DIR`, or beside the tests.
fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os("ENGR_BIN_DIR") {
        return folder.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    let deps = test.parent().expect("target/debug/deps");
    deps.parent().map(Path::to_owned).expect("target/debug")
}

/// Fails with what to do about it where `program` is not installed: a test that needs it is not
/// skipped.
///
/// # Panics
/// When it cannot be run.
pub fn needs(program: &str, argument: &str) {
    let found = Command::new(program).arg(argument).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "this test needs `{program}` in PATH: `./tests/run` brings it along"
    );
}
