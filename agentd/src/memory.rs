//! What the agent remembers from one life to the next: `memory.json` in the instance's folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deploy::id::Id;
use deploy::release::Release;
use deploy::report::{Failure, OUTCOMES_MAX, Outcome};
use serde::{Deserialize, Serialize};

use crate::switch::Retained;

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Memory {
    /// The last release that served and settled here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<Release>,
    /// The release that failed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Id>,
    /// How the newest releases fared here, oldest first.
    pub outcomes: Vec<Outcome>,
    /// The newest failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// How far the agent's own update is.
    pub update: crate::update::Retained,
}

impl Memory {
    /// Reads it. What is damaged is set aside under another name and said, and the instance starts
    /// from nothing: the bucket has all that it needs.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(path: &Path) -> io::Result<Self> {
        let data = match std::fs::read(path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&data) {
            Ok(memory) => Ok(memory),
            Err(error) => {
                let aside = path.with_extension("damaged");
                std::fs::rename(path, &aside)?;
                let aside = aside.display();
                tracing::warn!(%error, %aside, "the memory is damaged and was set aside");
                Ok(Self::default())
            }
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// What the file system says; the file is then as it was.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let data = serde_json::to_vec_pretty(self)?;
        write_whole(path, &data)
    }

    /// What the switch core starts with.
    pub fn retained(&self) -> Retained {
        Retained { good: self.good.clone().map(Arc::new), rejected: self.rejected.clone() }
    }

    /// The outcome of `release`, made if it is new.
    pub fn outcome(&mut self, release: u64) -> &mut Outcome {
        if let Some(index) = self.outcomes.iter().position(|outcome| outcome.release == release) {
            return &mut self.outcomes[index];
        }
        if self.outcomes.len() == OUTCOMES_MAX {
            self.outcomes.remove(0);
        }
        self.outcomes.push(Outcome {
            release,
            switched: None,
            ended: None,
            note: None,
            reverted: None,
        });
        let last = self.outcomes.len() - 1;
        &mut self.outcomes[last]
    }
}

/// Writes a file beside `path`, syncs it, and renames it over `path`.
///
/// # Errors
/// What the file system says; `path` is then as it was.
pub fn write_whole(path: &Path, data: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let written = (|| {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(data)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        sync_folder(path.parent().unwrap_or(Path::new("/")))
    })();
    if written.is_err() {
        // What is left there would be overwritten by the next try.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Makes a rename in this folder last.
///
/// # Errors
/// What the file system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_after_a_save_and_a_damaged_one_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.json");
        let mut memory = Memory::load(&path).unwrap();
        memory.outcome(3).note = Some("so".into());
        memory.save(&path).unwrap();
        assert_eq!(Memory::load(&path).unwrap(), memory);
        std::fs::write(&path, "{\"good\": ").unwrap();
        assert_eq!(Memory::load(&path).unwrap(), Memory::default());
        assert!(folder.path().join("memory.damaged").exists());
    }

    #[test]
    fn only_the_newest_outcomes_are_kept() {
        let mut memory = Memory::default();
        for release in 0..OUTCOMES_MAX as u64 + 5 {
            memory.outcome(release);
        }
        assert_eq!(memory.outcomes.len(), OUTCOMES_MAX);
        assert_eq!(memory.outcomes[0].release, 5);
    }
}
