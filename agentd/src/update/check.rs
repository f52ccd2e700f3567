//! Runs a binary once, to see whether it can run here.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use deploy::agent_config::InstanceDir;
use deploy::desired_agent::AgentBinary;
use tokio::process::Command;

use super::self_check::SelfCheck;

/// How long a binary may take to say that it can run.
pub const CHECK_WITHIN: Duration = Duration::from_secs(20);

/// How much of what it says is shown, in bytes.
const SAID_MAX: usize = 400;

/// A process that this one forked for something else, and that has not executed it yet, holds what
/// was being written then: that is over in milliseconds.
const BUSY_TRIES_MAX: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Why a binary does not do.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be started.
    #[error("it cannot be started for its self-check")]
    Start(#[source] io::Error),
    /// It did not end.
    #[error("its self-check had not ended after {} s", CHECK_WITHIN.as_secs())]
    Hangs,
    /// It failed, and said this.
    #[error("its self-check failed ({status}): {said}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// Its last words on standard error.
        said: String,
    },
    /// It said something else than that all is well.
    #[error("its self-check did not say that all is well, but {said:?}")]
    Unclear {
        /// What it said.
        said: String,
    },
    /// It is another version than was named.
    #[error("it is agentd {found}, and was named as {expected}")]
    Version {
        /// As it was named.
        expected: String,
        /// As it says itself.
        found: String,
    },
}

/// Runs the binary at `path` as the agent of the instance in `dir` with `--self-check`. The process
/// has ended when this gives its outcome.
///
/// # Errors
/// See [`CheckError`].
pub async fn check(path: &Path, binary: &AgentBinary, dir: &InstanceDir) -> Result<(), CheckError> {
    let output = match tokio::time::timeout(CHECK_WITHIN, run(path, dir)).await {
        Ok(output) => output.map_err(CheckError::Start)?,
        Err(_) => return Err(CheckError::Hangs),
    };
    if !output.status.success() {
        let said = shown(&output.stderr);
        return Err(CheckError::Failed { status: output.status, said });
    }
    let Ok(found) = serde_json::from_slice::<SelfCheck>(&output.stdout) else {
        return Err(CheckError::Unclear { said: shown(&output.stdout) });
    };
    match found {
        SelfCheck { ok: true, version } if version == binary.version => Ok(()),
        SelfCheck { ok: true, version } => {
            Err(CheckError::Version { expected: binary.version.clone(), found: version })
        }
        SelfCheck { ok: false, .. } => Err(CheckError::Unclear { said: shown(&output.stdout) }),
    }
}

async fn run(path: &Path, dir: &InstanceDir) -> io::Result<std::process::Output> {
    let mut tries = 0;
    loop {
        let mut command = Command::new(path);
        command.args(["run", "--self-check", "--dir"]).arg(dir.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        match command.output().await {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES_MAX =>
            {
                tries += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// The end of what was said, in one line.
fn shown(said: &[u8]) -> String {
    let said = said.trim_ascii();
    let end = &said[said.len().saturating_sub(SAID_MAX)..];
    String::from_utf8_lossy(end).lines().collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use deploy::Digest;

    use super::*;

    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("agentd");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn said(text: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = script(folder.path(), text);
        let binary = AgentBinary { digest: Digest::of(b""), size: 0, version: "2".to_owned() };
        let dir = InstanceDir(folder.path().to_owned());
        check(&path, &binary, &dir).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_who_says_that_all_is_well_does() {
        let ok = r#"[ "$1 $2" = "run --self-check" ] && echo '{"ok": true, "version": "2"}'"#;
        said(ok).await.unwrap();
        let cases = [
            ("echo no pidfd >&2; exit 1", "its self-check failed (exit status: 1): no pidfd"),
            ("kill -11 $$", "its self-check failed (signal: 11 (SIGSEGV)): "),
            ("echo fine", "its self-check did not say that all is well, but \"fine\""),
            (r#"echo '{"ok": true, "version": "3"}'"#, "it is agentd 3, and was named as 2"),
        ];
        for (text, expected) in cases {
            let error = said(text).await.unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_started_does_not_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agentd");
        fs::write(&path, "\x7fELF of another world").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let binary = AgentBinary { digest: Digest::of(b""), size: 0, version: "2".to_owned() };
        let checked = check(&path, &binary, &InstanceDir(folder.path().to_owned())).await;
        assert!(matches!(checked, Err(CheckError::Start(_))), "{checked:?}");
    }

    /// The time-out is waited for in a made-up time: it passes while the process sleeps.
    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let path = script(folder.path(), &format!("echo $$ > {}; exec sleep 100", pid.display()));
        let binary = AgentBinary { digest: Digest::of(b""), size: 0, version: "2".to_owned() };
        let checked = check(&path, &binary, &InstanceDir(folder.path().to_owned())).await;
        assert!(matches!(checked, Err(CheckError::Hangs)), "{checked:?}");
    }
}
