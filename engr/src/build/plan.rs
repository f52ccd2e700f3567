//! What there is to build: what `package` means, and what a folder offers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::failed;
use super::rust::Metadata;
use crate::config::BuildCommand;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// How an app is built.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// By `go build`.
    Go {
        /// Where it is run.
        folder: PathBuf,
        /// An import path, or `.`.
        package: String,
    },
    /// By `cargo build`.
    Cargo {
        /// Where it is run.
        folder: PathBuf,
        /// Which package; the folder's own if it is not named.
        package: Option<String>,
    },
    /// By the app's own command.
    Command {
        /// The command, and what it makes.
        build: BuildCommand,
    },
}

impl Plan {
    /// The plan that an app's settings ask for.
    pub fn of(app: &AppContext) -> CommandResult<Self> {
        match (&app.config.package, &app.config.build) {
            (_, Some(build)) => Ok(Self::Command { build: build.clone() }),
            (Some(package), None) => Self::of_package(&app.root(), package),
            (None, None) => Err(Failure::usage(format!(
                "nothing says what to build: app {} has neither `package` nor `build`",
                app.name
            ))
            .hint(format!(
                "set it with `engr {} config:set package ./cmd/{}`",
                app.name, app.name
            ))),
        }
    }

    /// What `package` means in the folder `root`.
    ///
    /// A plain name (no `/`, no `.`) is a Cargo package where a Cargo.toml is in reach. A folder
    /// with source in it is built as what its nearest manifest makes it. All else is a Go import
    /// path.
    fn of_package(root: &Path, package: &str) -> CommandResult<Self> {
        let is_plain = !package.contains(['/', '.']);
        if is_plain && let Some(manifest) = nearest(root, "Cargo.toml") {
            return Ok(Self::Cargo { folder: manifest, package: Some(package.to_owned()) });
        }
        let folder: PathBuf = root.join(package).components().collect();
        let must_be_folder = package.starts_with(['.', '/']);
        // An import path may happen to be a folder's name too.
        let is_folder = if must_be_folder { folder.is_dir() } else { has_source(&folder) };
        match (is_folder, must_be_folder) {
            (true, _) => Self::of_folder(folder),
            (false, true) => Err(failed(format_args!("there is no folder {}", folder.display()))
                .hint("`package` is a path from the folder of engr.json")),
            (false, false) if nearest(root, "go.mod").or(nearest(root, "go.work")).is_none() => {
                Err(failed(format_args!(
                    "{package:?} is no folder here, and neither go.mod nor Cargo.toml is in {} or above it",
                    root.display()
                ))
                .hint("`package` is a Go import path, a folder, or a Cargo package"))
            }
            (false, false) => Ok(Self::Go { folder: root.to_owned(), package: package.to_owned() }),
        }
    }

    fn of_folder(folder: PathBuf) -> CommandResult<Self> {
        for above in folder.ancestors() {
            if above.join("go.mod").is_file() {
                return Ok(Self::Go { folder, package: ".".to_owned() });
            }
            if above.join("Cargo.toml").is_file() {
                return Ok(Self::Cargo { folder, package: None });
            }
        }
        Err(failed(format_args!(
            "neither go.mod nor Cargo.toml is in {} or above it",
            folder.display()
        ))
        .hint("make one with `go mod init` or `cargo init`"))
    }
}

/// Whether a program's source lies right in the folder.
fn has_source(folder: &Path) -> bool {
    let is_go = |entry: fs::DirEntry| entry.path().extension().is_some_and(|end| end == "go");
    folder.join("Cargo.toml").is_file()
        || fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(is_go))
}

/// The nearest folder from `folder` upward that has the file.
fn nearest(folder: &Path, file: &str) -> Option<PathBuf> {
    folder.ancestors().find(|above| above.join(file).is_file()).map(Path::to_owned)
}

/// What could be an app's `package` in `folder`: each as it is written in an `engr.json` in `root`.
pub fn candidates(root: &Path, folder: &Path) -> CommandResult<Vec<String>> {
    let mut found = Vec::new();
    if folder.join("go.mod").is_file() {
        found.extend(go_mains(folder)?.iter().map(|main| relative(root, main)));
    }
    if folder.join("Cargo.toml").is_file() {
        found.extend(Metadata::read(folder)?.packages_with_binaries());
    }
    Ok(found)
}

/// The folders of `package main`: the module's own, and those under `cmd`, where Go's convention
/// puts programs.
fn go_mains(module: &Path) -> CommandResult<Vec<PathBuf>> {
    let look = || -> io::Result<Vec<PathBuf>> {
        let mut folders = vec![module.to_owned()];
        match fs::read_dir(module.join("cmd")) {
            Ok(entries) => {
                let mut commands = entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect::<io::Result<Vec<_>>>()?;
                commands.retain(|path| path.is_dir());
                commands.sort();
                folders.extend(commands);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut mains = Vec::new();
        for folder in folders {
            if is_main(&folder)? {
                mains.push(folder);
            }
        }
        Ok(mains)
    };
    look().or_fail(Exit::Usage, format!("cannot look for Go programs in {}", module.display()))
}

/// Whether a Go file of the folder says `package main`.
fn is_main(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".go") && !name.ends_with("_test.go") && path.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            let mut words = text.lines().map(|line| line.split_whitespace().take(2));
            if words.any(|words| words.eq(["package", "main"])) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// `folder` as a path from `root`, always with a dot first, so that it reads as a folder.
fn relative(root: &Path, folder: &Path) -> String {
    match folder.strip_prefix(root) {
        Ok(path) if path.as_os_str().is_empty() => ".".to_owned(),
        Ok(path) => format!("./{}", path.display()),
        Err(_) => folder.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_package_is_what_its_form_and_the_folder_make_it() {
        let tree = tree(&[
            ("go.mod", "module example.com/shop\n"),
            ("cmd/api/main.go", "package main\n"),
            ("shop/notes", ""),
            ("rust/Cargo.toml", ""),
            ("rust/hello/Cargo.toml", ""),
        ]);
        let root = tree.path();
        let go = |folder: &str, package: &str| Plan::Go {
            folder: root.join(folder),
            package: package.to_owned(),
        };
        let of = |root: &Path, package: &str| Plan::of_package(root, package).unwrap();
        assert_eq!(of(root, "./cmd/api"), go("./cmd/api", "."));
        assert_eq!(of(root, "cmd/api"), go("cmd/api", "."));
        assert_eq!(of(root, "example.com/shop/cmd/api"), go("", "example.com/shop/cmd/api"));
        assert_eq!(of(root, "shop"), go("", "shop"));
        let rust = root.join("rust");
        let cargo = Plan::Cargo { folder: rust.clone(), package: Some("hello".to_owned()) };
        assert_eq!(of(&rust, "hello"), cargo);
        let cargo = Plan::Cargo { folder: rust.join("./hello"), package: None };
        assert_eq!(of(&rust, "./hello"), cargo);
        assert!(Plan::of_package(root, "./nowhere").is_err());
    }

    #[test]
    fn go_programs_are_found_where_the_convention_has_them() {
        let tree = tree(&[
            ("svc/go.mod", "module x\n"),
            ("svc/x.go", "// Package x.\npackage x\n"),
            ("svc/x_test.go", "package main\n"),
            ("svc/cmd/b/b.go", "//go:build linux\n\npackage main // the program\n"),
            ("svc/cmd/a/a.go", "package main\n"),
            ("svc/cmd/lib/lib.go", "package lib\n"),
        ]);
        let found = candidates(tree.path(), &tree.path().join("svc")).unwrap();
        assert_eq!(found, ["./svc/cmd/a", "./svc/cmd/b"]);
        assert!(candidates(tree.path(), tree.path()).unwrap().is_empty());
    }
}
