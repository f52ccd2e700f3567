//! Where local fleets live: `$ENGR_HOME/local/<app>`.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use deploy::local_fleet::LocalDir;
use deploy::release::is_valid_app_name;

use super::files::failed;
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// How long to wait for another `engr` that changes the same fleet. Longer than any change takes.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(120);

const LOCK_LOOK_EVERY: Duration = Duration::from_millis(50);

/// The folder of `app`.
pub fn local_dir(app: &str) -> CommandResult<LocalDir> {
    // It becomes part of a path.
    if !is_valid_app_name(app) {
        return Err(Failure::usage(format!("{app:?} cannot be an app's name")));
    }
    Ok(LocalDir(home()?.join("local").join(app)))
}

/// `$ENGR_HOME`, or the platform's state folder.
fn home() -> CommandResult<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = match (variable("ENGR_HOME"), variable("XDG_STATE_HOME"), variable("HOME")) {
        (Some(home), _, _) => PathBuf::from(home),
        (None, Some(state), _) => PathBuf::from(state).join("engineer"),
        (None, None, Some(home)) => PathBuf::from(home).join(".local/state/engineer"),
        (None, None, None) => {
            return Err(Failure::usage("there is no folder for local fleets")
                .hint("set ENGR_HOME, or HOME, to a folder of yours"));
        }
    };
    std::path::absolute(&home).or_fail(Exit::Usage, format!("cannot use {home:?} as ENGR_HOME"))
}

/// Makes the app's folder if it is missing; for its owner alone.
pub(super) fn make(dir: &LocalDir) -> CommandResult<()> {
    make_folder(&dir.0)
}

/// Makes a folder and its missing parents, each for its owner alone.
pub(super) fn make_folder(path: &std::path::Path) -> CommandResult<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        failed(error, "make", path).hint("ENGR_HOME names another folder for local fleets")
    })
}

/// Held while one `engr` changes the fleet.
#[derive(Debug)]
pub(super) struct FleetLock(#[expect(dead_code, reason = "held for its lock")] File);

/// Waits until no other `engr` changes the fleet in `dir`.
pub(super) async fn lock(dir: &LocalDir) -> CommandResult<FleetLock> {
    let shown = dir.0.display();
    let began = Instant::now();
    loop {
        make(dir)?;
        let folder = File::open(&dir.0).map_err(|error| failed(error, "lock", &dir.0))?;
        match folder.try_lock() {
            // Whoever held it may have removed the folder.
            Ok(()) if is_still_there(&folder, dir) => return Ok(FleetLock(folder)),
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error, "lock", &dir.0)),
        }
        if began.elapsed() > LOCK_WAIT_MAX {
            return Err(Failure::new(
                Exit::Lost,
                anyhow::anyhow!("another engr has been changing the fleet in {shown} for too long"),
            )
            .hint("see what it is doing, end it, and run the command again"));
        }
        tokio::time::sleep(LOCK_LOOK_EVERY).await;
    }
}

fn is_still_there(folder: &File, dir: &LocalDir) -> bool {
    match (folder.metadata(), std::fs::metadata(&dir.0)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
