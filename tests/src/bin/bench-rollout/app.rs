//! The app: the demo's, in Go, with another small edit in each version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tests::apps::go;

const MAIN: &str = include_str!("../../../../engr/src/demo/go/main.go");
const MODULE: &str = include_str!("../../../../engr/src/demo/go/go.mod");
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../engineer/go");

/// Where the app of the peers listens, and that of the agents.
pub(crate) const PORTS: [u16; 2] = [8080, 8081];

/// What a version differs in from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Edit {
    /// Its version in a text of the same length, and a handler more: the code after it moves, as by
    /// any edit.
    Handler,
    /// Its version in a text of the same length: nothing moves, so nearly all is as before.
    Text,
}

/// The app's source. Each build is another version, counted from 1.
pub(crate) struct Source {
    folder: PathBuf,
    edit: Edit,
    version: u32,
}

impl Source {
    pub(crate) fn new(folder: PathBuf, edit: Edit) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("go.mod"), MODULE.replace("./engineer", LIBRARY))?;
        Ok(Self { folder, edit, version: 0 })
    }

    /// The executable of the next version, and what it answers with.
    pub(crate) fn build(&mut self) -> anyhow::Result<(PathBuf, String)> {
        self.version += 1;
        let says = format!("hello from version {:05}", self.version);
        fs::write(self.folder.join("main.go"), self.text(&says)?)?;
        let executable = self.folder.join("hello");
        let mut go = Command::new(go());
        go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]);
        go.arg(&executable).arg(".").current_dir(&self.folder);
        go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").env("GOPROXY", "off");
        let built = go.env("GOTOOLCHAIN", "local").output().context("`go` cannot be run")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "the app does not build: {said}");
        Ok((executable, says))
    }

    fn text(&self, says: &str) -> anyhow::Result<String> {
        let handlers = match self.edit {
            Edit::Handler => (1..=self.version).map(handler).collect(),
            Edit::Text => String::new(),
        };
        let mut text = MAIN.to_owned();
        for (from, to) in [
            ("hello from version 1", says.to_owned()),
            ("\"net/http\"", "\"net/http\"\n\t\"os\"".to_owned()),
            ("\":8080\"", "\":\"+os.Getenv(\"PORT\")".to_owned()),
            ("\tlog.Print(\"serving\")", format!("{handlers}\tlog.Print(\"serving\")")),
        ] {
            ensure!(text.matches(from).count() == 1, "the demo's app has no `{from}` any more");
            text = text.replace(from, &to);
        }
        Ok(text)
    }
}

fn handler(number: u32) -> String {
    format!(
        "\thttp.HandleFunc(\"/{number}\", func(w http.ResponseWriter, r *http.Request) {{\n\
         \t\tfmt.Fprintln(w, {number}, r.URL.Path)\n\t}})\n"
    )
}

/// Puts the executable where a tool takes it from.
pub(crate) fn place(executable: &Path, at: &Path) -> anyhow::Result<()> {
    // A new file each time: one that runs cannot be written to.
    let _ = fs::remove_file(at);
    fs::copy(executable, at).with_context(|| format!("no {}", at.display()))?;
    Ok(())
}
