//! The Debians that nodes boot: made once, from Debian's packages, and kept under `target/`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use deploy::Digest;

use super::missing::{Missing, has_program};

/// What the nodes have besides the smallest Debian.
const PACKAGES: &str = "systemd-sysv,dbus";

/// What a node must not try on the machine that it shares with everybody, and what it need not do.
const MASKED: [&str; 4] = [
    "systemd-modules-load.service",
    "systemd-sysctl.service",
    "ldconfig.service",
    "systemd-journal-catalog-update.service",
];

/// A release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debian {
    /// Bookworm, with systemd 252.
    Twelve,
    /// Trixie, with systemd 257.
    Thirteen,
}

impl Debian {
    fn suite(self) -> &'static str {
        match self {
            Self::Twelve => "bookworm",
            Self::Thirteen => "trixie",
        }
    }

    fn recipe(self) -> Vec<String> {
        let mask = format!("systemctl --root=\"$1\" mask {}", MASKED.join(" "));
        let clean = "rm -rf \"$1\"/usr/share/doc/* \"$1\"/usr/share/man/* \"$1\"/etc/machine-id";
        vec![
            "--mode=root".to_owned(),
            "--variant=minbase".to_owned(),
            format!("--include={PACKAGES}"),
            format!("--customize-hook={mask}"),
            format!("--customize-hook={clean}"),
            self.suite().to_owned(),
        ]
    }

    /// Its root file system, which nobody writes to. The first call makes it, in some 10 seconds.
    ///
    /// # Errors
    /// When it cannot be made: [`Missing`] where Debian's packages cannot be had.
    pub fn root(self) -> anyhow::Result<PathBuf> {
        let recipe = self.recipe();
        let name = format!("{}-{}", self.suite(), Digest::of(recipe.join("\n").as_bytes()).short());
        let cache = cache()?;
        let root = cache.join(&name);
        // Other tests of this process and others may want it at the same time.
        let lock = File::create(cache.join(format!("{}.lock", self.suite())))?;
        lock.lock().context("the lock of the root file system")?;
        if !root.exists() {
            remove_older(&cache, self.suite())?;
            let unfinished = cache.join(format!("{name}.unfinished"));
            make(&recipe, &unfinished)?;
            fs::rename(&unfinished, &root).context("the root file system is moved to its place")?;
        }
        Ok(root)
    }
}

/// `target/systemd`.
fn cache() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("the test's own path")?;
    let target = test.ancestors().nth(3).context("target/debug/deps is above the test")?;
    let cache = target.join("systemd");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}

/// Removes what an earlier recipe, or one that was interrupted, has left.
fn remove_older(cache: &Path, suite: &str) -> io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("{suite}-")) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn make(recipe: &[String], root: &Path) -> anyhow::Result<()> {
    if !has_program("mmdebstrap") {
        return Err(Missing::new("mmdebstrap is not installed (apt-get install mmdebstrap)").into());
    }
    let mut command = Command::new("mmdebstrap");
    let output = command.arg("--quiet").args(recipe).arg(root).output().context("mmdebstrap")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Failed to fetch") || said.contains("apt-get update failed") {
        return Err(Missing::new(format!("Debian's packages cannot be had: {said}")).into());
    }
    ensure!(output.status.success(), "mmdebstrap {}: {said}", recipe.join(" "));
    Ok(())
}
