//! Flags for rustc, added to those that the user has given cargo.
//!
//! Cargo takes rustc's flags from one place only: a variable of the environment, else
//! `target.*.rustflags` of its configuration, else `build.rustflags`. So ours go to the place that
//! counts already, and where that is `build.rustflags`, which any flag for the target shadows,
//! they take its flags along.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::process::Command;

use crate::failure::{CommandResult, Exit, OrFail};

/// Between the flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\x1f";

/// The flags of one build.
#[derive(Debug, PartialEq, Eq)]
pub struct RustFlags {
    place: Place,
    /// The flags to pass there.
    flags: Vec<String>,
    /// The user's own flags, wherever they stand.
    users: Vec<String>,
}

/// Where cargo is told of them.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In the environment.
    Environment,
    /// In the configuration, under the target's name, where cargo joins them to what is there.
    Target(&'static str),
}

impl RustFlags {
    /// The user's flags for `target` in `folder`.
    pub fn of(folder: &Path, target: &'static str) -> CommandResult<Self> {
        Self::from(|name| std::env::var(name).ok(), &configurations(folder)?, target)
    }

    fn from(
        env: impl Fn(&str) -> Option<String>,
        configurations: &[Configuration],
        target: &'static str,
    ) -> CommandResult<Self> {
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let encoded = env("CARGO_ENCODED_RUSTFLAGS");
        let encoded = encoded.map(|all| all.split(SEPARATOR).map(str::to_owned).collect());
        if let Some(flags) = encoded.or_else(|| env("RUSTFLAGS").map(words)) {
            let flags: Vec<_> = flags.into_iter().filter(|flag| !flag.is_empty()).collect();
            return Ok(Self { place: Place::Environment, users: flags.clone(), flags });
        }
        let variable =
            format!("CARGO_TARGET_{}_RUSTFLAGS", target.replace('-', "_").to_ascii_uppercase());
        let mut of_target: Vec<_> = env(&variable).map(words).unwrap_or_default();
        let mut of_build = Vec::new();
        for configuration in configurations {
            of_target.extend(configuration.target.get(target).into_iter().flat_map(Flags::words));
            of_build.extend(configuration.build.words());
        }
        of_build.extend(env("CARGO_BUILD_RUSTFLAGS").map(words).unwrap_or_default());
        // Cargo itself joins those of the target to what is passed for it.
        let (flags, users) = if of_target.is_empty() {
            (of_build.clone(), of_build)
        } else {
            (Vec::new(), of_target)
        };
        Ok(Self { place: Place::Target(target), flags, users })
    }

    /// Whether the user's flags have something to say about `what`.
    pub fn mention(&self, what: &str) -> bool {
        self.users.iter().any(|flag| flag.contains(what))
    }

    /// One more.
    pub fn add(&mut self, flag: impl Into<String>) {
        self.flags.push(flag.into());
    }

    /// Passes them.
    pub fn apply(&self, cargo: &mut Command) {
        match self.place {
            Place::Environment => {
                cargo.env("CARGO_ENCODED_RUSTFLAGS", self.flags.join(SEPARATOR));
            }
            Place::Target(target) => {
                // A JSON list of texts is one of TOML too.
                let flags = serde_json::to_string(&self.flags).expect("texts serialize");
                cargo.arg("--config").arg(format!("target.{target}.rustflags={flags}"));
            }
        }
    }
}

/// What counts here of one of cargo's configuration files.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    build: Flags,
    target: std::collections::BTreeMap<String, Flags>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Flags {
    rustflags: Option<Words>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    List(Vec<String>),
}

impl Flags {
    fn words(&self) -> Vec<String> {
        match &self.rustflags {
            None => Vec::new(),
            Some(Words::One(text)) => text.split_whitespace().map(str::to_owned).collect(),
            Some(Words::List(words)) => words.clone(),
        }
    }
}

/// Cargo's configuration files for `folder`, the one that counts least first.
fn configurations(folder: &Path) -> CommandResult<Vec<Configuration>> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let mut folders: Vec<PathBuf> = folder.ancestors().map(|above| above.join(".cargo")).collect();
    folders.extend(home.filter(|home| !folders.contains(home)));
    let mut configurations = Vec::new();
    for folder in folders.iter().rev() {
        // Where there are both, cargo takes the one of the old name.
        for name in ["config", "config.toml"] {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let parsed = toml::from_str(&text);
                    configurations.push(
                        parsed.or_fail(
                            Exit::BuildFailed,
                            format!("cannot read {}", path.display()),
                        )?,
                    );
                    break;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => {
                    return Err(error)
                        .or_fail(Exit::BuildFailed, format!("cannot read {}", path.display()));
                }
            }
        }
    }
    Ok(configurations)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "x86_64-unknown-linux-gnu";

    fn flags(env: &[(&str, &str)], files: &[&str]) -> RustFlags {
        let files: Vec<_> = files.iter().map(|text| toml::from_str(text).unwrap()).collect();
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_string());
        RustFlags::from(env, &files, TARGET).unwrap()
    }

    fn passed(mut flags: RustFlags) -> Vec<String> {
        flags.add("-Cours");
        let mut cargo = Command::new("cargo");
        flags.apply(&mut cargo);
        let cargo = cargo.as_std();
        let env = cargo.get_envs().map(|(_, value)| value.unwrap());
        cargo.get_args().chain(env).map(|text| text.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_users_flags_stay_wherever_they_stand() {
        let config =
            |list: &str| ["--config".to_owned(), format!("target.{TARGET}.rustflags={list}")];
        assert_eq!(passed(flags(&[], &[])), config(r#"["-Cours"]"#));
        assert_eq!(
            passed(flags(&[("RUSTFLAGS", " -Ca  -Cb ")], &["build.rustflags = '-Cc'"])),
            ["-Ca\x1f-Cb\x1f-Cours"]
        );
        assert_eq!(
            passed(flags(&[("CARGO_ENCODED_RUSTFLAGS", "-Ca b\x1f-Cc")], &[])),
            ["-Ca b\x1f-Cc\x1f-Cours"]
        );
        let build = "build.rustflags = ['--cfg', 'tokio_unstable']";
        assert_eq!(
            passed(flags(&[], &["build.rustflags = '-Ca'", build])),
            config(r#"["-Ca","--cfg","tokio_unstable","-Cours"]"#)
        );
        // Cargo passes over `build` where the target has flags, and joins ours to those.
        let target = "target.x86_64-unknown-linux-gnu.rustflags = ['-Ctarget-feature=-crt-static']";
        let both = flags(&[], &[build, target]);
        assert!(both.mention("crt-static"));
        assert_eq!(passed(both), config(r#"["-Cours"]"#));
    }

    #[test]
    fn other_keys_of_cargos_configuration_are_passed_over() {
        let text = "[net]\ngit-fetch-with-cli = true\n[target.'cfg(unix)']\nrunner = 'x'\n[build]\njobs = 2\n";
        assert_eq!(flags(&[], &[text]).flags, [""; 0]);
    }
}
