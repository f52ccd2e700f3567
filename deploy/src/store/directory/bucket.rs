//! The bucket's folders, by blocking calls.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::fault::{Done, Fault};
use super::slots::{self, Slots};
use super::temp::{self, Temp};
use super::{frame, names};
use crate::layout;
use crate::store::{ErrorKind, Expect, Generation, Stat};

/// How many generations of an object under [`layout::FLEET`] are kept: the live one, and the one
/// that somebody may be about to read.
const FLEET_GENERATIONS_KEPT: usize = 2;

/// How often a read looks for the live generation anew after that was overwritten and removed.
const READ_ATTEMPTS_MAX: u32 = 100;

/// The folders of a bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) root: PathBuf,
}

impl Bucket {
    /// Makes the folders where they are missing, and removes what dead writers left.
    pub(super) fn prepare(&self) -> Done<()> {
        make_folder(&self.root, true)?;
        make_folder(&self.objects(), false)?;
        make_folder(&self.temps(), false)?;
        match temp::clean(&self.temps()) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "files of writers that had died were removed"),
            // They only take room, and may be another user's.
            Err(error) => tracing::warn!(%error, "rubbish in the bucket cannot be removed"),
        }
        Ok(())
    }

    fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    fn temps(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The folder of the object `name`.
    pub(super) fn slots(&self, name: &str) -> Done<Slots> {
        Ok(Slots(self.objects().join(names::folder_name(name)?)))
    }

    /// The folder of the object `name`, made if there is none.
    pub(super) fn slots_made(&self, name: &str) -> Done<Slots> {
        let slots = self.slots(name)?;
        // A bucket that was removed is not made again like this.
        make_folder(&slots.0, false)?;
        Ok(slots)
    }

    /// One generation's bytes.
    pub(super) fn read(&self, name: &str, generation: Generation) -> Done<Vec<u8>> {
        read_slot(&self.slots(name)?, generation)
    }

    /// The live generation and what reading it gave; `None` when there is none other than `seen`.
    pub(super) fn read_live(
        &self,
        name: &str,
        seen: Option<Generation>,
    ) -> Done<Option<(Generation, Done<Vec<u8>>)>> {
        let slots = self.slots(name)?;
        if let Some(seen) = seen
            && slots.is_live(seen)?
        {
            return Ok(None);
        }
        with_live(&slots, |live| match read_slot(&slots, live) {
            Err(fault) if fault.kind == ErrorKind::NotFound => Ok(None),
            read => Ok(Some((live, read))),
        })
        .map(Some)
    }

    /// Copies the live generation to `to`. Gives its size too.
    pub(super) fn copy_live(
        &self,
        name: &str,
        to: impl io::Write,
        progress: impl FnMut(u64),
    ) -> Done<(Generation, u64)> {
        let slots = self.slots(name)?;
        let (live, file) = with_live(&slots, |live| {
            Ok(found(File::open(slots.path(live)))?.map(|file| (live, file)))
        })?;
        Ok((live, frame::read(&file, to, progress)?))
    }

    /// Reads the live generation to check it.
    pub(super) fn verify(&self, name: &str) -> Done<Option<Stat>> {
        match self.copy_live(name, io::sink(), |_| {}) {
            Ok((generation, size)) => Ok(Some(Stat { name: name.to_owned(), generation, size })),
            Err(fault) if fault.kind == ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The live objects under `prefix`, by name.
    pub(super) fn list(&self, prefix: &str) -> Done<Vec<Stat>> {
        let mut stats = Vec::new();
        for entry in fs::read_dir(self.objects())? {
            let name = names::object_name(&entry?.file_name());
            if let Some(name) = name.filter(|name| name.starts_with(prefix)) {
                stats.extend(self.stat(name)?);
            }
        }
        stats.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(stats)
    }

    fn stat(&self, name: String) -> Done<Option<Stat>> {
        let slots = self.slots(&name)?;
        let live = with_live(&slots, |live| {
            Ok(found(fs::metadata(slots.path(live)))?.map(|file| (live, file.len())))
        });
        match live {
            Ok((generation, file_size)) => {
                Ok(Some(Stat { name, generation, size: frame::object_size(file_size) }))
            }
            Err(fault) if fault.kind == ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Writes a new generation, with what `fill` puts into its file.
    pub(super) fn write(
        &self,
        name: &str,
        expect: Expect,
        fill: impl FnOnce(&File) -> Done<()>,
    ) -> Done<Generation> {
        // A write that has lost already should not copy first.
        self.slots(name)?.next(expect)?;
        let slots = self.slots_made(name)?;
        let temp = Temp::create(&self.temps())?;
        fill(&temp.file)?;
        temp.file.sync_all()?;
        let _order = order(name, &slots)?;
        let written = take(&slots, expect, &temp)?;
        if is_pruned(name)
            && let Err(error) = slots.prune(FLEET_GENERATIONS_KEPT)
        {
            // The write is done; the next one prunes again.
            tracing::warn!(name, %error, "old generations cannot be removed");
        }
        Ok(written)
    }

    /// Puts a mark in place of a generation that is not live.
    pub(super) fn erase(&self, name: &str, generation: Generation) -> Done<()> {
        let slots = self.slots(name)?;
        // In this order: one that was there, and was not live after that, never is again.
        match (slots.holds(generation)?, slots.live()?) {
            (false, _) => return Err(ErrorKind::NotFound.into()),
            (true, Some(live)) if live == generation => return Err(ErrorKind::Lost.into()),
            (true, _) => {}
        }
        let _order = order(name, &slots)?;
        // It may have been pruned before the others were kept away.
        match slots.holds(generation)? {
            true => Ok(slots.erase(generation, &self.temps())?),
            false => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Puts a deletion on top of the live generation.
    pub(super) fn delete(&self, name: &str, expect: Expect) -> Done<()> {
        let slots = self.slots(name)?;
        loop {
            let live = match (slots.live()?, expect) {
                (Some(live), Expect::Any) => live,
                (Some(live), Expect::Generation(expected)) if live == expected => live,
                (None, Expect::Any) => return Err(ErrorKind::NotFound.into()),
                _ => return Err(ErrorKind::Lost.into()),
            };
            let _order = order(name, &slots)?;
            match slots.next(Expect::Generation(live)) {
                Ok(slot) if slots.take_for_deletion(slot)? => return Ok(()),
                Err(fault) if fault.kind != ErrorKind::Lost => return Err(fault),
                // Somebody wrote in between: what is live now is looked at anew.
                _ => {}
            }
        }
    }
}

/// Takes the next slot under `expect` for `temp`, where others may do the same at the same time.
fn take(slots: &Slots, expect: Expect, temp: &Temp) -> Done<Generation> {
    loop {
        let slot = slots.next(expect)?;
        if slots.take(slot, &temp.path)? {
            return Ok(slot);
        }
        // Each round that is lost here was won by somebody else, so all together go on.
        if expect != Expect::Any {
            return Err(ErrorKind::Lost.into());
        }
    }
}

fn is_pruned(name: &str) -> bool {
    name.starts_with(layout::FLEET)
}

/// Keeps other writers of a pruned object away until it is dropped.
fn order(name: &str, slots: &Slots) -> io::Result<Option<File>> {
    if !is_pruned(name) {
        return Ok(None);
    }
    let folder = File::open(&slots.0)?;
    folder.lock()?;
    Ok(Some(folder))
}

/// Calls `look` with the live generation until it finds that: between the two the generation can
/// be overwritten and removed.
fn with_live<T>(slots: &Slots, mut look: impl FnMut(Generation) -> Done<Option<T>>) -> Done<T> {
    for _ in 0..READ_ATTEMPTS_MAX {
        let Some(live) = slots.live()? else { return Err(ErrorKind::NotFound.into()) };
        if let Some(seen) = look(live)? {
            return Ok(seen);
        }
    }
    Err(io::Error::other("it is overwritten faster than it can be read").into())
}

fn read_slot(slots: &Slots, generation: Generation) -> Done<Vec<u8>> {
    // A deletion's link leads nowhere, and so is not found either.
    let file = found(fs::read(slots.path(generation)))?.ok_or(ErrorKind::NotFound)?;
    frame::unframe(file)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a folder for the owner alone, and its name lasting.
fn make_folder(folder: &Path, with_parents: bool) -> Done<()> {
    if folder.is_dir() {
        return Ok(());
    }
    match DirBuilder::new().recursive(with_parents).mode(0o700).create(folder) {
        // Another process made it in between.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
    .and_then(|()| folder.parent().map_or(Ok(()), slots::sync))
    .map_err(|error| Fault::beside(folder, error))
}
