//! What a confined app sees of the files: the system read-only, folders of its own to write to, and
//! of the agent's files its artifact alone.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::User;
use super::mounts::Mounts;

/// The variable that names the app's folder for what is to stay.
pub const STATE_DIR: &str = "ENGR_STATE_DIR";

/// Folders for what need not stay; one that is a symbolic link is one of the others.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// As every system has its `/tmp`: all may write, and none may remove another's.
const STICKY: u32 = 0o1777;

/// What one run of a confined app sees.
#[derive(Debug)]
pub struct View {
    /// Each with where it is seen.
    temporary: Vec<(PathBuf, &'static str)>,
    /// Empty folders, for what is seen below `cover`.
    skeleton: PathBuf,
    /// The folder that hides the agent's own files.
    cover: PathBuf,
    artifact: PathBuf,
    state: PathBuf,
}

/// Makes the folder for what is to stay of the app, private to `user`, or to the agent's own user
/// where none is given.
///
/// # Errors
/// What the file system says.
pub fn make_state(state: &Path, user: Option<&User>) -> io::Result<()> {
    make(state)?;
    // What is there is left alone, but for who owns the folder.
    fs::set_permissions(state, Permissions::from_mode(0o700))?;
    user.map_or(Ok(()), |user| chown(state, Some(user.uid), Some(user.gid)))
}

impl View {
    /// Makes the folders of a run in `run`, which lies with all else of the agent in `instance`.
    /// `artifact` and `state` lie there, too. Doing it again changes nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make(run: &Path, instance: &Path, artifact: &Path, state: &Path) -> io::Result<Self> {
        let real = |path: &Path| fs::canonicalize(path);
        let (run, instance) = (real(run)?, real(instance)?);
        let (artifact, state) = (real(artifact)?, real(state)?);
        let cover = cover(&instance)?;
        let mut temporary = Vec::new();
        for at in TEMPORARY {
            if !fs::symlink_metadata(at).is_ok_and(|it| it.is_dir()) {
                continue;
            }
            let folder = run.join(at.trim_start_matches('/').replace('/', "-"));
            make(&folder)?;
            fs::set_permissions(&folder, Permissions::from_mode(STICKY))?;
            // The agent's folder may itself lie in what is replaced here.
            if let Ok(below) = cover.strip_prefix(at) {
                make_all(&folder, below)?;
            }
            temporary.push((folder, at));
        }
        let skeleton = run.join("view");
        make(&skeleton)?;
        for path in [&artifact, &state] {
            let below = path.strip_prefix(&cover).map_err(io::Error::other)?;
            make_all(&skeleton, below)?;
        }
        Ok(Self { temporary, skeleton, cover, artifact, state })
    }

    pub(super) fn mounts(&self) -> io::Result<Mounts> {
        let mut mounts = Mounts::new();
        for (folder, at) in &self.temporary {
            mounts.put(folder, Path::new(at), true)?;
        }
        mounts.put(&self.skeleton, &self.cover, false)?;
        mounts.put(&self.artifact, &self.artifact, false)?;
        mounts.put(&self.state, &self.state, true)?;
        Ok(mounts)
    }
}

/// The folder to hide: the topmost on the way to the instance's that others may not enter. So the
/// app can come to its own files, and whatever else is private there stays hidden: other instances,
/// and the bucket of a local fleet. Where all may enter all of them, the instance's own is hidden.
fn cover(instance: &Path) -> io::Result<PathBuf> {
    let mut way: Vec<&Path> = instance.ancestors().collect();
    way.reverse();
    for folder in way.into_iter().skip(1) {
        if fs::metadata(folder)?.permissions().mode() & 0o001 == 0 {
            return Ok(folder.to_owned());
        }
    }
    Ok(instance.to_owned())
}

fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // Whatever mask the agent has.
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Makes every folder of `below` in `folder`.
fn make_all(folder: &Path, below: &Path) -> io::Result<()> {
    let mut path = folder.to_owned();
    below.components().try_for_each(|part| {
        path.push(part);
        make(&path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_private_folder_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let instance = folder.path().join("a/b");
        fs::create_dir_all(&instance).unwrap();
        let allow = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        allow(folder.path(), 0o700).unwrap();
        assert_eq!(cover(&instance).unwrap(), folder.path());
        allow(folder.path(), 0o711).unwrap();
        allow(&folder.path().join("a"), 0o750).unwrap();
        assert_eq!(cover(&instance).unwrap(), folder.path().join("a"));
        allow(&folder.path().join("a"), 0o755).unwrap();
        allow(&instance, 0o755).unwrap();
        assert_eq!(cover(&instance).unwrap(), instance);
    }
}
