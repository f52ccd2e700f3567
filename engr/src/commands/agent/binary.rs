//! A program on this machine that is to become the fleet's agent: what it is, before anybody else
//! gets it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use deploy::Digest;
use deploy::desired_agent::{AgentBinary, VERSION_MARK};
use tokio::process::Command;

use crate::build::elf;
use crate::config::Arch;
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// How long the program may take to say its version.
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// A version is not longer.
const VERSION_MAX: usize = 64;

/// An `agentd` on this machine.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) path: PathBuf,
    pub(super) binary: AgentBinary,
}

impl Local {
    /// The program at `path`, or the `agentd` beside this one, if it can be the agent of instances
    /// of `arch`.
    pub(super) async fn find(path: Option<&Path>, arch: Arch) -> CommandResult<Self> {
        let path = path.map_or_else(beside, |path| Ok(path.to_owned()))?;
        let shown = path.display();
        let read = format!("cannot read {shown}");
        let found = elf::arch(&path).or_fail(Exit::Usage, &read)?;
        if found != Some(arch) {
            let what = match found {
                Some(found) => format!("{shown} is built for {}", found.name()),
                None => format!("{shown} is no Linux executable for amd64 or arm64"),
            };
            let arch = arch.name();
            return Err(Failure::usage(format_args!("{what}, and the fleet is {arch}"))
                .hint(format!("name one for {arch} with `--binary PATH`")));
        }
        let content = fs::read(&path).or_fail(Exit::Usage, &read)?;
        let marked = marked_version(&content).ok_or_else(|| not_an_agent(&path))?;
        if arch == Arch::of_this_machine() && said_version(&path).await? != marked {
            return Err(not_an_agent(&path));
        }
        let (digest, size) = (Digest::of(&content), content.len() as u64);
        Ok(Self { path, binary: AgentBinary { digest, size, version: marked } })
    }

    /// Makes sure that the file is still what it was found to be: it may have been built anew since.
    pub(super) fn ensure_same(&self) -> CommandResult<()> {
        let shown = self.path.display();
        let found = File::open(&self.path).and_then(Digest::of_reader);
        let found = found.or_fail(Exit::Usage, format_args!("cannot read {shown}"))?;
        match found == self.binary.digest {
            true => Ok(()),
            false => Err(Failure::usage(format_args!("{shown} has changed meanwhile"))
                .hint("nothing was named; run the command again")),
        }
    }
}

fn beside() -> CommandResult<PathBuf> {
    let own = std::env::current_exe().and_then(fs::canonicalize);
    let beside = own.or_fail(Exit::Internal, "cannot find this program")?.with_file_name("agentd");
    match beside.is_file() {
        true => Ok(beside),
        false => Err(Failure::usage(format_args!("there is no {}", beside.display()))
            .hint("build it beside engr, or name one with `--binary PATH`")),
    }
}

fn not_an_agent(path: &Path) -> Failure {
    Failure::usage(format_args!("{} is not an agentd that says its version", path.display()))
        .hint("name one with `--binary PATH`; `PATH --version` says `agentd` and a version")
}

/// The version that the program's bytes tell.
fn marked_version(content: &[u8]) -> Option<String> {
    let found = memchr::memmem::find_iter(content, VERSION_MARK);
    let version = |at: usize| {
        let rest = &content[at + VERSION_MARK.len()..];
        let end = rest.iter().take(VERSION_MAX).position(|byte| *byte == b';')?;
        let version = std::str::from_utf8(&rest[..end]).ok()?;
        let is_one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        (!version.is_empty() && version.chars().all(is_one)).then(|| version.to_owned())
    };
    found.into_iter().find_map(version)
}

/// The version that the program says when it is asked.
async fn said_version(path: &Path) -> CommandResult<String> {
    let shown = path.display();
    // A bare name would be looked for in PATH.
    let whole =
        std::path::absolute(path).or_fail(Exit::Usage, format_args!("cannot find {shown}"))?;
    let mut command = Command::new(whole);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let ran = tokio::time::timeout(VERSION_WITHIN, command.output()).await;
    let output = match ran {
        Ok(output) => output.or_fail(Exit::Usage, format_args!("cannot run {shown}"))?,
        Err(_) => {
            let within = VERSION_WITHIN.as_secs();
            return Err(Failure::usage(format_args!(
                "`{shown} --version` had not ended after {within} s"
            )));
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.trim().strip_prefix("agentd ").filter(|_| output.status.success());
    version.map(str::to_owned).ok_or_else(|| not_an_agent(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_tells_the_version_and_what_only_has_the_mark_is_no_agent() {
        let version = |text: &str| marked_version(text.as_bytes());
        let mark = VERSION_MARK;
        assert_eq!(version(&format!("\0{mark}0.1.0;\0")), Some("0.1.0".to_owned()));
        assert_eq!(
            version(&format!("{mark}\0cannot; {mark}1.2.3-rc.1+7;")),
            Some("1.2.3-rc.1+7".into())
        );
        for none in ["", mark, &format!("{mark};"), &format!("{mark}1.0"), &format!("{mark}a b;")] {
            assert_eq!(version(none), None, "{none}");
        }
        // This program knows the mark, and is no agent.
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(marked_version(&own).is_none_or(|version| version.len() < 30));
    }
}
