//! Tells when a source file has changed.
//!
//! Not every word of the kernel's is a change: editors write files twice, compilers and the app
//! itself write below the same folder. A file counts when it is no hidden one, lies in no folder
//! of builds, is not ignored by git, and has another content than when it was looked at last.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::future::pending;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use deploy::Digest;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::failure::{CommandResult, Exit, Failure};

use super::relative;

/// A change is over when nothing was heard for so long: editors and `git checkout` write many files.
const QUIET: Duration = Duration::from_millis(100);

/// But it is not waited for longer than this.
const QUIET_WITHIN: Duration = Duration::from_secs(2);

/// Folders in which builds and package managers write.
const NOT_SOURCE: [&str; 2] = ["target", "node_modules"];

/// The source below one folder.
pub(super) struct Source {
    root: PathBuf,
    /// Paths below the root that are no source.
    except: Vec<PathBuf>,
    /// The files that there are; their content, once it was looked at.
    files: HashMap<PathBuf, Option<Digest>>,
    told: mpsc::UnboundedReceiver<PathBuf>,
    /// What was told and not looked at yet.
    pending: Vec<PathBuf>,
    watcher: RecommendedWatcher,
}

impl Source {
    /// Begins to watch what is below `root`, but not below `except`.
    pub(super) fn watch(root: &Path, except: &[PathBuf]) -> CommandResult<Self> {
        let (tell, told) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // To be told of a look would make the next look, without end.
            if let Ok(event) = event.inspect_err(|error| tracing::debug!(%error, "not told"))
                && !event.kind.is_access()
            {
                // After the receiver's end nobody wants to know.
                event.paths.into_iter().for_each(|path| _ = tell.send(path));
            }
        });
        let watcher = watcher.map_err(|error| not_watched(root, error))?;
        let (root, except) = (root.to_owned(), except.to_vec());
        let mut source =
            Self { root, except, files: HashMap::new(), told, pending: Vec::new(), watcher };
        source.take_folder(&source.root.clone())?;
        Ok(source)
    }

    /// Waits until a file has changed, and until nothing more changes; gives one that has, from the
    /// root on. A call that is dropped loses nothing but its wait.
    pub(super) async fn changed(&mut self) -> PathBuf {
        loop {
            if self.pending.is_empty() {
                // The watcher, which has the other end, lives as long as this.
                let Some(path) = self.told.recv().await else { return pending().await };
                self.pending.push(path);
            }
            let quiet = async {
                while let Ok(Some(path)) = timeout(QUIET, self.told.recv()).await {
                    self.pending.push(path);
                }
            };
            // An error is the limit's, which is as good.
            let _ = timeout(QUIET_WITHIN, quiet).await;
            let mut paths = std::mem::take(&mut self.pending);
            paths.sort();
            paths.dedup();
            if let Some(path) = self.look(paths) {
                return path;
            }
        }
    }

    /// Looks at what may have changed; gives the first file that has.
    fn look(&mut self, mut paths: Vec<PathBuf>) -> Option<PathBuf> {
        paths.retain(|path| self.is_source(path));
        let ignored = ignored_by_git(&self.root, &paths);
        paths.retain(|path| !ignored.contains(path));
        let changed: Vec<PathBuf> =
            paths.into_iter().filter(|path| self.has_changed(path)).collect();
        changed.first().map(|path| relative(path, &self.root).to_owned())
    }

    fn has_changed(&mut self, path: &Path) -> bool {
        let kind = fs::symlink_metadata(path).map(|file| file.file_type());
        match kind {
            Ok(kind) if kind.is_dir() => {
                let before = self.files.len();
                // A folder that cannot be watched is one that changes unseen, which was said of
                // the whole at the start.
                let _ = self.take_folder(path);
                self.files.len() > before
            }
            Ok(_) => {
                let digest = File::open(path).and_then(Digest::of_reader).ok();
                let before = self.files.insert(path.to_owned(), digest);
                before.is_none_or(|before| before.is_none() || before != digest)
            }
            Err(_) => self.files.remove(path).is_some(),
        }
    }

    fn is_source(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.root) else { return false };
        let is_hidden = |name: &OsStr| name.as_bytes().starts_with(b".");
        let is_built = |name: &OsStr| NOT_SOURCE.iter().any(|built| name == *built);
        let backup = path.as_os_str().as_bytes().ends_with(b"~");
        !backup
            && !below.iter().any(|name| is_hidden(name) || is_built(name))
            && !self.except.iter().any(|except| path.starts_with(except))
    }

    /// Watches a folder and those in it, and takes note of their files.
    fn take_folder(&mut self, folder: &Path) -> CommandResult<()> {
        let watched = self.watcher.watch(folder, RecursiveMode::NonRecursive);
        watched.map_err(|error| not_watched(folder, error))?;
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.file_type() {
                _ if !self.is_source(&path) => {}
                Ok(kind) if kind.is_dir() => self.take_folder(&path)?,
                Ok(_) => drop(self.files.entry(path).or_insert(None)),
                // Gone again.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn not_watched(folder: &Path, error: notify::Error) -> Failure {
    let is_full = matches!(error.kind, notify::ErrorKind::MaxFilesWatch);
    let error = anyhow::Error::new(error).context(format!("cannot watch {}", folder.display()));
    let failure = Failure::new(Exit::Internal, error);
    if !is_full {
        return failure;
    }
    failure.hint("raise the limit: `sudo sysctl fs.inotify.max_user_watches=524288`")
}

/// Which of the paths git ignores; none outside a work tree, or without git.
fn ignored_by_git(root: &Path, paths: &[PathBuf]) -> Vec<PathBuf> {
    if paths.is_empty() {
        return Vec::new();
    }
    let ask = || -> io::Result<Vec<u8>> {
        let mut git = Command::new("git")
            .args(["check-ignore", "-z", "--stdin"])
            .current_dir(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        // Written beside the read: both pipes could be full.
        let names = paths.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\0"]);
        let names: Vec<u8> = names.flatten().copied().collect();
        let stdin = git.stdin.take();
        let writer = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&names)));
        let output = git.wait_with_output()?.stdout;
        // What could not be written was not asked, and is then not ignored.
        let _ = writer.join();
        Ok(output)
    };
    let answer = ask().unwrap_or_default();
    let names = answer.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    struct Project {
        folder: tempfile::TempDir,
        source: Source,
    }

    impl Project {
        fn new(git: bool) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            for made in ["src/deep", "target", ".git-like", "fleet"] {
                fs::create_dir_all(root.join(made)).unwrap();
            }
            fs::write(root.join("src/main.rs"), "one").unwrap();
            if git {
                fs::write(root.join(".gitignore"), "*.db\n").unwrap();
                let status = Command::new("git").args(["init", "-q"]).current_dir(root).status();
                assert!(status.unwrap().success());
            }
            let source = Source::watch(root, &[root.join("fleet"), root.join("bin/app")]).unwrap();
            Self { folder, source }
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.folder.path().join(path), text).unwrap();
        }

        async fn next(&mut self) -> String {
            let changed = timeout(SOON, self.source.changed()).await.expect("a change is seen");
            changed.to_string_lossy().into_owned()
        }
    }

    #[tokio::test]
    async fn a_change_is_another_content_of_a_source_file() {
        let mut project = Project::new(false);
        project.write("src/main.rs", "two");
        assert_eq!(project.next().await, "src/main.rs");
        // None of these is one; the last is.
        project.write("src/main.rs", "two");
        project.write("target/out", "x");
        project.write(".git-like/index", "x");
        project.write("src/.main.rs.swp", "x");
        project.write("src/main.rs~", "x");
        project.write("fleet/state.json", "x");
        project.write("src/deep/new.rs", "x");
        assert_eq!(project.next().await, "src/deep/new.rs");
        fs::remove_file(project.folder.path().join("src/deep/new.rs")).unwrap();
        assert_eq!(project.next().await, "src/deep/new.rs");
    }

    #[tokio::test]
    async fn new_folders_are_watched_too() {
        let mut project = Project::new(false);
        fs::create_dir(project.folder.path().join("src/a")).unwrap();
        project.write("src/a/b.rs", "one");
        assert!(project.next().await.starts_with("src/a"));
        project.write("src/a/b.rs", "two");
        assert_eq!(project.next().await, "src/a/b.rs");
        fs::create_dir(project.folder.path().join("bin")).unwrap();
        project.write("bin/app", "built");
        project.write("src/main.rs", "two");
        assert_eq!(project.next().await, "src/main.rs");
    }

    #[tokio::test]
    async fn what_git_ignores_is_no_source() {
        let mut project = Project::new(true);
        project.write("app.db", "rows");
        project.write("src/main.rs", "two");
        assert_eq!(project.next().await, "src/main.rs");
    }
}
