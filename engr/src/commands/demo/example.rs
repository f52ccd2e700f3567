//! The demo's app: its source, and that of the library which it links, are in this program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::DemoLang;
use crate::failure::{CommandResult, Exit, OrFail};

/// Embeds the named files of a folder of this repository.
macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../", $folder, "/", $name)))),+]
    };
}

type Files = &'static [(&'static str, &'static str)];

const GO_LIBRARY: Files = files!("engineer/go":
    "context.go", "drain.go", "engineer.go", "go.mod", "handed.go", "listen.go", "listener.go",
    "notify.go", "protocols.go", "protocols_go124.go", "server.go", "sockopt_linux.go",
    "sockopt_other.go", "writer.go",
);

const RUST_LIBRARY: Files = files!("engineer":
    "Cargo.toml", "src/contract.rs", "src/handed.rs", "src/http/connection.rs",
    "src/http/drain.rs", "src/http/mod.rs", "src/incoming.rs", "src/lib.rs", "src/listen.rs",
    "src/notify.rs", "src/shutdown.rs", "src/variables.rs",
);

const WORKSPACE: &str = include_str!("../../../../Cargo.toml");
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// The example in one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example {
    lang: DemoLang,
}

impl Example {
    /// The one in `lang`.
    pub(super) fn new(lang: DemoLang) -> Self {
        Self { lang }
    }

    /// The language's name.
    pub(super) fn language(&self) -> &'static str {
        match self.lang {
            DemoLang::Go => "Go",
            DemoLang::Rust => "Rust",
        }
    }

    /// What `engr create --package` is told.
    pub(super) fn package(&self) -> &'static str {
        match self.lang {
            DemoLang::Go => ".",
            DemoLang::Rust => "hello",
        }
    }

    /// The file that is edited, from the app's folder on.
    pub(super) fn main_file(&self) -> &'static str {
        match self.lang {
            DemoLang::Go => "main.go",
            DemoLang::Rust => "hello/src/main.rs",
        }
    }

    /// Writes all of it into `folder`.
    pub(super) fn write(&self, folder: &Path) -> CommandResult<()> {
        for (name, text) in self.files() {
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(folder);
            let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, text));
            written.or_fail(Exit::Internal, format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn files(&self) -> Vec<(PathBuf, String)> {
        let own: Vec<(&str, String)> = match self.lang {
            DemoLang::Go => vec![
                ("main.go", include_str!("../../demo/go/main.go").to_owned()),
                ("go.mod", include_str!("../../demo/go/go.mod").to_owned()),
            ],
            DemoLang::Rust => vec![
                ("hello/src/main.rs", include_str!("../../demo/rust/main.rs").to_owned()),
                ("hello/Cargo.toml", include_str!("../../demo/rust/hello.toml").to_owned()),
                ("Cargo.toml", workspace()),
                ("Cargo.lock", lock()),
            ],
        };
        let library = match self.lang {
            DemoLang::Go => GO_LIBRARY,
            DemoLang::Rust => RUST_LIBRARY,
        };
        let library = library
            .iter()
            .map(|(name, text)| (Path::new("engineer").join(name), (*text).to_owned()));
        own.into_iter().map(|(name, text)| (PathBuf::from(name), text)).chain(library).collect()
    }

    /// Makes version 2 of it; gives the line that has changed.
    pub(super) fn edit(&self, folder: &Path) -> CommandResult<String> {
        let path = folder.join(self.main_file());
        let cannot = || format!("cannot edit {}", path.display());
        let text = fs::read_to_string(&path).or_fail(Exit::Internal, cannot())?;
        let text = text.replace("version 1", "version 2");
        fs::write(&path, &text).or_fail(Exit::Internal, cannot())?;
        let changed = text.lines().find(|line| line.contains("version 2"));
        Ok(changed.unwrap_or_default().trim().to_owned())
    }
}

/// This repository's workspace, with the example and the library as its only members: so that the
/// versions are those that this program was built with. The profiles are for small programs, which
/// take long to build: somebody waits for this one.
fn workspace() -> String {
    const PROFILE: &str = "[profile.release]\nopt-level = 1\n";
    let sections = WORKSPACE.split("\n\n").filter(|section| !section.contains("[profile."));
    let members = |line: &str| match line.split(" = ").next() {
        Some("members") => "members = [\"engineer\", \"hello\"]\n".to_owned(),
        Some("default-members") => String::new(),
        _ => line.to_owned() + "\n",
    };
    let sections = sections.map(|section| section.lines().map(members).collect::<String>());
    sections.chain([PROFILE.to_owned()]).collect::<Vec<_>>().join("\n")
}

/// This repository's lock, with the example and what it needs: whoever has built this program has
/// these crates already.
fn lock() -> String {
    const HELLO: &str = "name = \"hello\"\nversion = \"0.1.0\"\ndependencies = [\n \"engineer\",\n \
                         \"http-body-util\",\n \"hyper\",\n \"tokio\",\n]\n";
    let mut blocks = LOCK.split("[[package]]\n");
    let header = blocks.next().unwrap_or_default();
    let mut packages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for block in blocks.chain([HELLO]) {
        packages.entry(name_of(block)).or_default().push(block);
    }
    let mut needed = BTreeSet::new();
    let mut open = vec!["hello"];
    while let Some(name) = open.pop() {
        if needed.insert(name) {
            open.extend(packages.get(name).into_iter().flatten().flat_map(|b| dependencies_of(b)));
        }
    }
    packages.retain(|name, _| needed.contains(name));
    let blocks = packages.values().flatten().map(|block| block.trim_end());
    let blocks: Vec<String> = blocks.map(|block| format!("[[package]]\n{block}\n")).collect();
    format!("{header}{}", blocks.join("\n"))
}

fn name_of(block: &str) -> &str {
    block
        .lines()
        .find_map(|line| line.strip_prefix("name = "))
        .unwrap_or_default()
        .trim_matches('"')
}

/// The names in ` "hyper",` or ` "windows-sys 0.61.2",`.
fn dependencies_of(block: &str) -> impl Iterator<Item = &str> {
    let listed = block.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
    listed.filter_map(|dependency| dependency.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &Path, below: &Path, extension: &str, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                found(folder, &path, extension, names);
            } else if name.ends_with(extension) && !name.ends_with("_test.go") {
                names.insert(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_library_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let names = |files: Files| files.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut go = BTreeSet::from(["go.mod".to_owned()]);
        found(&root.join("engineer/go"), &root.join("engineer/go"), ".go", &mut go);
        assert_eq!(go, names(GO_LIBRARY));
        let mut rust = BTreeSet::from(["Cargo.toml".to_owned()]);
        found(&root.join("engineer"), &root.join("engineer/src"), ".rs", &mut rust);
        assert_eq!(rust, names(RUST_LIBRARY));
    }

    #[test]
    fn the_workspace_has_two_members_and_what_they_need() {
        let workspace = workspace();
        assert!(workspace.contains("\nmembers = [\"engineer\", \"hello\"]\n"), "{workspace}");
        assert!(!workspace.contains("lto") && workspace.contains("[workspace.lints.clippy]"));
        let lock = lock();
        for name in ["engineer", "hello", "hyper", "libc", "tokio"] {
            assert!(lock.contains(&format!("\n[[package]]\nname = \"{name}\"\n")), "{name}");
        }
        assert!(!lock.contains("\"agentd\"") && !lock.contains("name = \"notify\""), "{lock}");
    }

    /// Cargo has the last word on whether the workspace and its lock fit together.
    #[test]
    fn cargo_can_build_it_from_the_crates_that_this_program_was_built_from() {
        let (folder, example) = (tempfile::tempdir().unwrap(), Example::new(DemoLang::Rust));
        example.write(folder.path()).unwrap();
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args(["tree", "--offline", "--package", "hello"]);
        let output = cargo.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn version_two_differs_in_one_line() {
        for lang in [DemoLang::Go, DemoLang::Rust] {
            let (folder, example) = (tempfile::tempdir().unwrap(), Example::new(lang));
            example.write(folder.path()).unwrap();
            let before = fs::read_to_string(folder.path().join(example.main_file())).unwrap();
            let line = example.edit(folder.path()).unwrap();
            let after = fs::read_to_string(folder.path().join(example.main_file())).unwrap();
            assert!(line.ends_with("\"hello from version 2\"") || line.ends_with("2\";"), "{line}");
            let changed = before.lines().zip(after.lines()).filter(|(a, b)| a != b).count();
            assert_eq!(changed, 1);
        }
    }
}
