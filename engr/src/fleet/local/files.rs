//! The files of a local fleet, read and written whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use deploy::agent_config::{AgentConfig, InstanceDir};
use deploy::local_fleet::{LocalDir, LocalFleet};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// `fleet.json`; `None` where there is none. One that cannot be read is an error: it says where
/// the app's users connect to.
pub(super) fn read_fleet(dir: &LocalDir) -> CommandResult<Option<LocalFleet>> {
    read(&dir.fleet()).map_err(|failure| {
        failure.hint(format!("remove {} and run `engr <app> sync`", dir.fleet().display()))
    })
}

/// An instance's `agent.json`; `None` where there is none, or one that is no use: it is made anew.
pub(super) fn read_config(instance: &InstanceDir) -> CommandResult<Option<AgentConfig>> {
    Ok(read(&instance.config()).ok().flatten())
}

fn read<T: DeserializeOwned>(path: &Path) -> CommandResult<Option<T>> {
    let data = match fs::read(path) {
        Ok(data) => data,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error, "read", path)),
    };
    serde_json::from_slice(&data)
        .map(Some)
        .or_fail(Exit::Internal, format!("cannot read {}", path.display()))
}

/// Writes `value` as JSON, whole or not at all; gives whether the file has changed.
pub(super) fn write(path: &Path, value: &impl Serialize) -> CommandResult<bool> {
    let mut data = serde_json::to_vec_pretty(value).expect("a fleet's files serialize");
    data.push(b'\n');
    if fs::read(path).is_ok_and(|there| there == data) {
        return Ok(false);
    }
    write_whole(path, &data).map_err(|error| failed(error, "write", path))?;
    Ok(true)
}

/// One `engr` at a time does this: a file that a killed one has left is written over.
fn write_whole(path: &Path, data: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(data)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// The names of the instances that have a folder, oldest first.
pub fn instance_folders(dir: &LocalDir) -> CommandResult<Vec<String>> {
    let path = dir.instances();
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error, "list", &path)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(error, "list", &path))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_by_key(|name| (number(name), name.clone()));
    Ok(names)
}

/// The number at the end of an instance's name: `hello-10` comes after `hello-9`.
fn number(name: &str) -> u64 {
    name.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

/// Removes a folder and all that is in it; one that is gone already is as good.
pub(super) fn remove_folder(path: &Path) -> CommandResult<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error, "remove", path)),
        _ => Ok(()),
    }
}

/// Removes a file; one that is gone already is as good.
pub(super) fn remove_file(path: &Path) -> CommandResult<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error, "remove", path)),
        _ => Ok(()),
    }
}

/// The failure of doing `what` with a file or folder: it says whether that was forbidden.
pub(super) fn failed(error: io::Error, what: &str, path: &Path) -> Failure {
    let exit = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Exit::NotAllowed,
        _ => Exit::Internal,
    };
    let error = anyhow::Error::new(error).context(format!("cannot {what} {}", path.display()));
    Failure::new(exit, error)
}
