//! The folder of one object: a slot for each generation, numbered from 1 without gaps.
//!
//! A slot is taken by making its file name, which the kernel lets only one process do. What has
//! the name says what the generation is: a regular file is an object, and a symbolic link (to
//! `deleted`, which does not exist) is a deletion. Both take the same name, so a write and a
//! deletion cannot win the same number. An object that is not the newest can be erased: a link (to
//! `erased`) takes its place in one step, and keeps the slot taken.

use std::fs::{self, DirEntry, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::fault::Done;
use crate::id::Id;
use crate::store::{ErrorKind, Expect, Generation};

/// The folder of one object. It need not be there yet.
#[derive(Clone, Debug)]
pub(super) struct Slots(pub(super) PathBuf);

/// What has the newest slot.
#[derive(Clone, Copy)]
enum Newest {
    /// There was never a generation.
    Nothing,
    Object(u64),
    Deletion(u64),
}

impl Newest {
    fn number(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Object(number) | Self::Deletion(number) => number,
        }
    }
}

impl Slots {
    /// Where `generation` lies.
    pub(super) fn path(&self, generation: Generation) -> PathBuf {
        self.0.join(format!("{:020}", generation.0))
    }

    /// The live generation.
    pub(super) fn live(&self) -> io::Result<Option<Generation>> {
        Ok(match self.newest()? {
            Newest::Object(number) => Some(Generation(number)),
            Newest::Nothing | Newest::Deletion(_) => None,
        })
    }

    /// Whether `generation` is the live one, found without reading the folder.
    pub(super) fn is_live(&self, generation: Generation) -> io::Result<bool> {
        let Some(next) = generation.0.checked_add(1).map(Generation) else { return Ok(false) };
        // In this order: slots are pruned from the oldest, so one that is still there after the
        // next was not was the newest at that moment.
        if file_type(&self.path(next))?.is_some() {
            return Ok(false);
        }
        self.holds(generation)
    }

    /// All objects' generations, oldest first.
    pub(super) fn objects(&self) -> io::Result<Vec<Generation>> {
        let mut objects = Vec::new();
        self.each(|number, entry| {
            if entry.file_type()?.is_file() {
                objects.push(Generation(number));
            }
            Ok(())
        })?;
        objects.sort_unstable();
        Ok(objects)
    }

    /// The slot that a write under `expect` has to take; [`ErrorKind::Lost`] where there is none.
    pub(super) fn next(&self, expect: Expect) -> Done<Generation> {
        let number = match (expect, expect_newest(self, expect)?) {
            (Expect::Absent, Newest::Object(_)) => return Err(ErrorKind::Lost.into()),
            (_, newest) => newest.number(),
        };
        number.checked_add(1).map(Generation).ok_or_else(|| ErrorKind::Lost.into())
    }

    /// Takes the slot by linking `file` there. Gives whether it was free.
    pub(super) fn take(&self, slot: Generation, file: &Path) -> io::Result<bool> {
        self.took(fs::hard_link(file, self.path(slot)))
    }

    /// Takes the slot for a deletion. Gives whether it was free.
    pub(super) fn take_for_deletion(&self, slot: Generation) -> io::Result<bool> {
        self.took(symlink("deleted", self.path(slot)))
    }

    fn took(&self, made: io::Result<()>) -> io::Result<bool> {
        match made {
            Ok(()) => sync(&self.0).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether `generation` is an object, live or not.
    pub(super) fn holds(&self, generation: Generation) -> io::Result<bool> {
        Ok(file_type(&self.path(generation))?.is_some_and(|file_type| file_type.is_file()))
    }

    /// Puts a mark in place of `generation`, which is there and not the newest. The mark is made in
    /// `temps` first, so that the slot is never free.
    pub(super) fn erase(&self, generation: Generation, temps: &Path) -> io::Result<()> {
        loop {
            let mark = temps.join(Id::random().to_string());
            symlink("erased", &mark)?;
            match fs::rename(&mark, self.path(generation)) {
                // Somebody who cleaned up took it for a dead writer's.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.0.is_dir() => {}
                Err(error) => {
                    let _ = fs::remove_file(&mark);
                    return Err(error);
                }
                Ok(()) => return sync(&self.0),
            }
        }
    }

    /// Removes all slots but the newest `kept`, oldest first.
    pub(super) fn prune(&self, kept: usize) -> io::Result<()> {
        let mut numbers = Vec::new();
        self.each(|number, _| {
            numbers.push(number);
            Ok(())
        })?;
        numbers.sort_unstable();
        for number in &numbers[..numbers.len().saturating_sub(kept)] {
            remove_if_there(&self.path(Generation(*number)))?;
        }
        Ok(())
    }

    fn newest(&self) -> io::Result<Newest> {
        let mut newest = (0, None);
        self.each(|number, entry| {
            if number > newest.0 {
                newest = (number, Some(entry));
            }
            Ok(())
        })?;
        let (number, Some(entry)) = newest else { return Ok(Newest::Nothing) };
        let is_deletion = entry.file_type()?.is_symlink();
        Ok(if is_deletion { Newest::Deletion(number) } else { Newest::Object(number) })
    }

    /// Calls `see` with every slot, in the order in which the folder gives them. Names alone are
    /// read, so thousands of them take a millisecond.
    fn each(&self, mut see: impl FnMut(u64, DirEntry) -> io::Result<()>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            // An object that never was. A bucket that is gone is another matter, and an error.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.0.parent().map_or(Ok(()), |bucket| fs::metadata(bucket).map(drop));
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if let Some(number) = slot_number(&entry) {
                see(number, entry)?;
            }
        }
        Ok(())
    }
}

/// The newest slot, where `expect` can hold.
fn expect_newest(slots: &Slots, expect: Expect) -> Done<Newest> {
    match expect {
        Expect::Absent | Expect::Any => Ok(slots.newest()?),
        Expect::Generation(generation) if slots.is_live(generation)? => {
            Ok(Newest::Object(generation.0))
        }
        Expect::Generation(_) => Err(ErrorKind::Lost.into()),
    }
}

fn slot_number(entry: &DirEntry) -> Option<u64> {
    let name = entry.file_name();
    let name = name.to_str().filter(|name| name.len() == 20)?;
    if name.bytes().all(|byte| byte.is_ascii_digit()) { name.parse().ok() } else { None }
}

fn file_type(path: &Path) -> io::Result<Option<fs::FileType>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in `folder` outlive a power cut.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
