//! Where the source stands in git.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::Output;

use deploy::release::Source;
use tokio::process::Command;

use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure, OrFail};
use crate::output::ask;

/// Where the source stands in git; `None` outside a work tree, before the first commit, and where
/// git is not installed.
pub async fn source(app: &AppContext) -> CommandResult<Option<Source>> {
    let root = app.root();
    let Some(head) = git(&root, &["rev-parse", "--verify", "HEAD"]).await? else { return Ok(None) };
    if !head.status.success() {
        return Ok(None);
    }
    let commit = String::from_utf8_lossy(&head.stdout).trim().to_owned();
    // As `git describe --dirty` has it: files that git does not track make no tree dirty.
    let status = ["status", "--porcelain", "--untracked-files=no"];
    let Some(status) = git(&root, &status).await? else { return Ok(None) };
    if !status.status.success() {
        let said = String::from_utf8_lossy(&status.stderr).trim().to_owned();
        return Err(Failure::new(Exit::Internal, anyhow::anyhow!("git status failed: {said}")));
    }
    Ok(Some(Source { commit, dirty: !status.stdout.is_empty() }))
}

/// What git says in `folder`; `None` where it is not installed.
async fn git(folder: &Path, args: &[&str]) -> CommandResult<Option<Output>> {
    let mut command = Command::new("git");
    // No lock for the sake of a look: a commit may be under way.
    command.arg("-C").arg(folder).args(args).env("GIT_OPTIONAL_LOCKS", "0").kill_on_drop(true);
    match command.output().await {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).or_fail(Exit::Internal, "cannot run git"),
    }
}

/// Refuses a work tree with changes that are not committed, unless `allow_dirty` says otherwise or
/// somebody at a terminal does. `may_ask` is false where nobody is to be asked, as with `--json`.
pub fn check_clean(source: Option<&Source>, allow_dirty: bool, may_ask: bool) -> CommandResult<()> {
    if allow_dirty || !source.is_some_and(|source| source.dirty) {
        return Ok(());
    }
    const DIRTY: &str = "the git work tree has changes that are not committed";
    if may_ask && io::stdin().is_terminal() && ask::confirm(&format!("{DIRTY}. Deploy anyway?"))? {
        return Ok(());
    }
    Err(Failure::usage(DIRTY).hint("commit them, or deploy them all the same with --allow-dirty"))
}
