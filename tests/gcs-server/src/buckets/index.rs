//! Which versions a bucket holds: in memory, and in a journal that a killed server leaves readable.
//!
//! The journal has a line for each version as it is from then on, and one for each that is gone.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use deploy::Timestamp;
use serde::{Deserialize, Serialize};

use crate::objects::Version;

/// All versions, by name and oldest first.
#[derive(Debug)]
pub(crate) struct Index {
    objects: BTreeMap<String, Vec<Version>>,
    journal: File,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Kept(Version),
    Gone { name: String, generation: u64 },
}

impl Index {
    /// Reads the journal in `folder`, and makes it where there is none.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("journal.jsonl");
        let mut journal = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut text = String::new();
        journal.read_to_string(&mut text)?;
        let mut objects = BTreeMap::new();
        let mut whole = 0;
        for line in text.split_inclusive('\n') {
            // A server that was killed can leave half a line, at the end.
            if !line.ends_with('\n') {
                break;
            }
            replay(&mut objects, serde_json::from_str(line)?);
            whole += line.len() as u64;
        }
        journal.set_len(whole)?;
        Ok(Self { objects, journal })
    }

    /// Puts a version in, or in the place of what was known of it.
    pub(crate) fn keep(&mut self, version: Version) -> io::Result<()> {
        self.say(Line::Kept(version))
    }

    /// Takes a version out for good.
    pub(crate) fn drop(&mut self, name: &str, generation: u64) -> io::Result<()> {
        self.say(Line::Gone { name: name.to_owned(), generation })
    }

    fn say(&mut self, line: Line) -> io::Result<()> {
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.journal.write_all(text.as_bytes())?;
        replay(&mut self.objects, line);
        Ok(())
    }

    /// The version that is live.
    pub(crate) fn live(&self, name: &str) -> Option<&Version> {
        self.objects.get(name)?.last().filter(|version| version.noncurrent.is_none())
    }

    /// One version, live or not.
    pub(crate) fn version(&self, name: &str, generation: u64) -> Option<&Version> {
        self.objects.get(name)?.iter().find(|version| version.generation == generation)
    }

    /// All versions of one object, oldest first.
    pub(crate) fn versions(&self, name: &str) -> &[Version] {
        self.objects.get(name).map_or(&[], Vec::as_slice)
    }

    /// All names with any version.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.objects.keys()
    }

    /// All versions, by name, and each name's oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Version> {
        self.objects.values().flatten()
    }

    /// The version that was live is so no longer: kept among the older ones, or gone.
    pub(crate) fn retire(&mut self, name: &str, keep: bool, now: Timestamp) -> io::Result<()> {
        let Some(live) = self.live(name).cloned() else { return Ok(()) };
        if keep {
            self.keep(Version { noncurrent: Some(now), ..live })
        } else {
            self.drop(name, live.generation)
        }
    }
}

fn replay(objects: &mut BTreeMap<String, Vec<Version>>, line: Line) {
    match line {
        Line::Kept(version) => {
            let versions = objects.entry(version.name.clone()).or_default();
            match versions.binary_search_by_key(&version.generation, |known| known.generation) {
                Ok(place) => versions[place] = version,
                Err(place) => versions.insert(place, version),
            }
        }
        Line::Gone { name, generation } => {
            if let Some(versions) = objects.get_mut(&name) {
                versions.retain(|version| version.generation != generation);
                if versions.is_empty() {
                    objects.remove(&name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::objects::Draft;

    fn version(generation: u64) -> Version {
        let record = Draft::default().record(b"", false, Timestamp::UNIX_EPOCH).unwrap();
        Version { name: "a".to_owned(), generation, record, noncurrent: None }
    }

    #[test]
    fn a_journal_is_read_back_but_for_half_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut index = Index::open(folder.path()).unwrap();
        index.keep(version(1)).unwrap();
        index.retire("a", true, Timestamp::UNIX_EPOCH).unwrap();
        index.keep(version(2)).unwrap();
        index.retire("a", false, Timestamp::UNIX_EPOCH).unwrap();
        index.keep(version(3)).unwrap();
        let path = folder.path().join("journal.jsonl");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"kept\":{\"na"].concat()).unwrap();

        let index = Index::open(folder.path()).unwrap();
        assert_eq!(index.live("a").unwrap().generation, 3);
        let known: Vec<u64> = index.all().map(|version| version.generation).collect();
        assert_eq!(known, [1, 3]);
        assert_eq!(fs::read(&path).unwrap(), whole);
        fs::write(&path, "rubbish\n").unwrap();
        assert!(Index::open(folder.path()).is_err());
    }
}
