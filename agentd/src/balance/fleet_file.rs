//! `fleet.json`, read again when it changes.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use deploy::local_fleet::{LocalDir, LocalFleet};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::warn;

/// How often the file is looked at without being told to: notifications can get lost.
const RECHECK_EVERY: Duration = Duration::from_secs(2);

/// What [`FleetFile::next`] found.
#[derive(Debug)]
pub(super) enum Change {
    /// The file has another content now.
    Fleet(LocalFleet),
    /// The file is as it was, or cannot be read for the moment.
    Nothing,
    /// The folder is not there any more.
    FolderGone,
}

/// Follows the file.
pub(super) struct FleetFile {
    folder: PathBuf,
    path: PathBuf,
    seen: Vec<u8>,
    /// The bytes that were complained about last, so that it is done once.
    warned: Vec<u8>,
    told: mpsc::Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl FleetFile {
    /// Begins to follow the file of `dir`.
    pub(super) fn open(dir: &LocalDir) -> anyhow::Result<Self> {
        let (tell, told) = mpsc::channel(1);
        let path = dir.fleet();
        let name = path.file_name().map(ToOwned::to_owned);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // The balancer's own log lies in the same folder: only the file itself counts. And to
            // be told of a look at it would make the next look, without end.
            let concerns = |event: notify::Event| {
                !event.kind.is_access()
                    && event.paths.iter().any(|path| path.file_name() == name.as_deref())
            };
            if event.is_ok_and(concerns) {
                // A full channel holds a word that is still to be heard.
                let _ = tell.try_send(());
            }
        });
        // The folder is watched, since the file is replaced whole. Where there are no
        // notifications to be had, the slow look stays.
        let watching = watcher.and_then(|mut watcher| {
            watcher.watch(&dir.0, RecursiveMode::NonRecursive).map(|()| watcher)
        });
        let watcher = watching
            .inspect_err(|error| warn!(%error, "no notifications: fleet.json is polled"))
            .ok();
        let (seen, warned) = (Vec::new(), Vec::new());
        Ok(Self { folder: dir.0.clone(), path, seen, warned, told, _watcher: watcher })
    }

    /// The file as it is now.
    pub(super) fn read(&mut self) -> anyhow::Result<LocalFleet> {
        let shown = self.path.display();
        self.seen = std::fs::read(&self.path).with_context(|| format!("cannot read {shown}"))?;
        serde_json::from_slice(&self.seen).with_context(|| format!("{shown} is no fleet"))
    }

    /// Waits until the file may have changed, and looks. A call that is dropped loses nothing.
    pub(super) async fn next(&mut self) -> Change {
        match self._watcher {
            // An error is the limit's: then the file is looked at unasked.
            Some(_) => drop(tokio::time::timeout(RECHECK_EVERY, self.told.recv()).await),
            None => tokio::time::sleep(RECHECK_EVERY).await,
        }
        let data = match std::fs::read(&self.path) {
            Ok(data) if data == self.seen => return Change::Nothing,
            Ok(data) => data,
            Err(error) if error.kind() == ErrorKind::NotFound && !self.folder.exists() => {
                return Change::FolderGone;
            }
            Err(error) => return self.warn(Vec::new(), &error),
        };
        match serde_json::from_slice(&data) {
            Ok(fleet) => {
                self.seen = data;
                Change::Fleet(fleet)
            }
            Err(error) => self.warn(data, &error),
        }
    }

    /// The fleet stays as it was known last.
    fn warn(&mut self, data: Vec<u8>, error: &impl Display) -> Change {
        if self.warned != data || data.is_empty() {
            warn!(path = %self.path.display(), %error, "the fleet's file cannot be used");
            self.warned = data;
        }
        Change::Nothing
    }
}
