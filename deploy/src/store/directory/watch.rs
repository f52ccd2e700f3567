//! Following one object: told by the kernel, and looked after by the clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::Directory;
use crate::store::{ErrorKind, Generation, LastLook, Object, Result, Watch};

/// How often the object is looked at though nothing was heard: a message of the kernel's can be
/// lost (its queue is full, the folder was removed and made again).
const RECHECK: Duration = Duration::from_secs(5);

/// The same where the kernel tells nothing at all, because its watches are used up.
const RECHECK_UNTOLD: Duration = Duration::from_millis(500);

/// A watch of one object in a [`Directory`].
pub(super) struct DirectoryWatch {
    directory: Directory,
    name: String,
    changed: Arc<Notify>,
    recheck: Duration,
    /// What this watch dealt with last: gave, or reported as damaged.
    last: Option<Generation>,
    /// The last call gave a failure, so this one waits before it looks again.
    failed: bool,
    last_look: LastLook,
    /// Its thread ends with it.
    _watcher: Option<RecommendedWatcher>,
}

impl DirectoryWatch {
    /// Watches the folder of `name`, which is there.
    pub(super) fn new(directory: Directory, name: &str, folder: &std::path::Path) -> Self {
        let changed = Arc::new(Notify::new());
        let watcher = watch_folder(folder, Arc::clone(&changed));
        let recheck = if watcher.is_ok() { RECHECK } else { RECHECK_UNTOLD };
        if let Err(error) = &watcher {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "the folder cannot be watched and is polled instead");
        }
        let name = name.to_owned();
        let (_watcher, last_look) = (watcher.ok(), LastLook::default());
        Self { directory, name, changed, recheck, last: None, failed: false, last_look, _watcher }
    }

    /// What is new, if anything is.
    fn look(&mut self) -> Result<Option<Object>> {
        let failed = |fault| self.directory.failed("watch", &self.name, fault);
        let (generation, read) = match self.directory.bucket.read_live(&self.name, self.last) {
            Ok(live) => {
                self.last_look.now();
                let Some(live) = live else { return Ok(None) };
                live
            }
            Err(fault) if fault.kind == ErrorKind::NotFound => {
                self.last_look.now();
                return Ok(None);
            }
            Err(fault) => return Err(failed(fault)),
        };
        // A damaged generation is dealt with by saying so. Any other failure may pass.
        if read.as_ref().map_or_else(|fault| fault.kind == ErrorKind::Corrupt, |_| true) {
            self.last = Some(generation);
        }
        read.map(|data| Some(Object { generation, data })).map_err(failed)
    }
}

#[async_trait]
impl Watch for DirectoryWatch {
    async fn next(&mut self) -> Result<Object> {
        // Safe to drop at its only real wait: nothing is kept in local variables across it, and
        // what was not seen by then is found by the look that begins the next call.
        loop {
            if !std::mem::take(&mut self.failed) {
                match self.look() {
                    Ok(Some(object)) => return Ok(object),
                    Ok(None) => {}
                    Err(error) => {
                        self.failed = true;
                        return Err(error);
                    }
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(self.recheck) => {}
            }
        }
    }

    fn tell_looks(&mut self, look: LastLook) {
        self.last_look = look;
    }
}

fn watch_folder(
    folder: &std::path::Path,
    changed: Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| is_change(&event)) {
            changed.notify_one();
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Whether a slot may have been taken. Reading the folder is told too, and must wake nobody: the
/// reader would wake itself for ever.
fn is_change(event: &notify::Event) -> bool {
    event.need_rescan()
        || match event.kind {
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)) => true,
            EventKind::Remove(_) | EventKind::Any | EventKind::Other => true,
            EventKind::Access(_) | EventKind::Modify(_) => false,
        }
}
