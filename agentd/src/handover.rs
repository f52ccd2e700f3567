//! What an agent takes over from one that died: a file that holds, at every moment, the switch core
//! as of its last step, the actions that the step called for, and what the runner has under way.
//!
//! It is written before the actions are carried out, and again after them. So an agent that dies
//! leaves either nothing to do, or actions that may have been carried out or not; each of them is
//! idempotent.
//!
//! The file has two places, which are written in turn: a write that is cut short leaves the one
//! before whole. It has its room on the disk from the start, so that a full disk does not keep the
//! agent from writing it. It says nothing about another boot of the machine: then no process of
//! before lives, and the memory ([`crate::memory`]) has all that counts.
//!
//! Agents of different versions read each other's: fields are added with a default and never change
//! their meaning.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};

use crate::run::Standing;
use crate::switch::{Action, Machine};

/// How far apart the two places are; what is handed over may be that long, less the head.
const PLACE: u64 = 4 << 20;

/// So much of each place has its room from the start.
const ROOM: i64 = 64 << 10;

/// Mark, number of the write, length, and checksum (CRC-32C) of the number, the length and the text.
const HEAD: usize = 8 + 8 + 4 + 4;
const MARK: &[u8; 8] = b"engrhand";

/// What is handed over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Handover {
    /// The boot of the machine that it belongs to.
    pub boot: String,
    /// The switch core.
    pub machine: Machine,
    /// What its last step called for, unless all of it was carried out.
    pub undone: Vec<Action>,
    /// The versions, their processes and sockets.
    pub standing: Standing,
}

/// The same, borrowed, to be written.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Written<'a> {
    boot: &'a str,
    machine: &'a Machine,
    undone: &'a [Action],
    standing: &'a Standing,
}

/// The file, open.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    boot: String,
    /// Of the newest write.
    number: u64,
}

impl Ledger {
    /// Opens the file, and gives what it hands over, if that belongs to this boot.
    ///
    /// # Errors
    /// When the file cannot be used, or what is in it is not understood: another, newer agent wrote
    /// it. The caller then knows of no process that it could adopt.
    pub fn open(path: &Path) -> io::Result<(Self, io::Result<Option<Handover>>)> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        for place in 0..2 {
            let at = i64::try_from(place * PLACE).map_err(io::Error::other)?;
            match fallocate(&file, FallocateFlags::empty(), at, ROOM) {
                Ok(()) => {}
                // Then a full disk may keep later writes from it, each of which says so.
                Err(error) => tracing::warn!(%error, "no room can be kept for the handover"),
            }
        }
        let places = (0..2).filter_map(|place| read(&file, place).transpose());
        let places = places.collect::<io::Result<Vec<_>>>()?;
        let newest = places.into_iter().max_by_key(|(number, _)| *number);
        let (number, text) = newest.unzip();
        let ledger = Self { file, boot, number: number.unwrap_or(0) };
        let handed = text.map(|text| ledger.understand(&text)).transpose().map(Option::flatten);
        Ok((ledger, handed))
    }

    fn understand(&self, text: &[u8]) -> io::Result<Option<Handover>> {
        #[derive(Deserialize)]
        struct Boot {
            boot: String,
        }
        let Boot { boot } = serde_json::from_slice(text)?;
        if boot != self.boot {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(text)?))
    }

    /// Writes what would be handed over now.
    ///
    /// # Errors
    /// What the file system says; then the one before stands.
    pub fn write(
        &mut self,
        machine: &Machine,
        undone: &[Action],
        standing: &Standing,
    ) -> io::Result<()> {
        let mut data = vec![0; HEAD];
        let written = Written { boot: &self.boot, machine, undone, standing };
        serde_json::to_writer(&mut data, &written)?;
        if data.len() as u64 > PLACE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let number = self.number + 1;
        let length = u32::try_from(data.len() - HEAD).map_err(io::Error::other)?;
        data[..8].copy_from_slice(MARK);
        data[8..16].copy_from_slice(&number.to_le_bytes());
        data[16..20].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(&data);
        data[20..24].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&data, number % 2 * PLACE)?;
        self.number = number;
        Ok(())
    }

    /// Nothing is to be handed over any more.
    ///
    /// # Errors
    /// What the file system says.
    pub fn clear(&mut self) -> io::Result<()> {
        // The older one first: a clearing that is cut short leaves the newest.
        for number in [self.number + 1, self.number] {
            self.file.write_all_at(&[0; HEAD], number % 2 * PLACE)?;
        }
        Ok(())
    }
}

fn checksum(data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&data[8..20]), &data[HEAD..])
}

/// What a place holds, and the number of the write; `None` where nothing was written, or not whole.
fn read(file: &File, place: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut data = vec![0; HEAD];
    match file.read_exact_at(&mut data, place * PLACE) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let number = |from: usize, to: usize| {
        data[from..to].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (write, length, expected) = (number(8, 16), number(16, 20), number(20, 24));
    if data[..8] != *MARK || length > PLACE {
        return Ok(None);
    }
    data.resize(HEAD + length as usize, 0);
    match file.read_exact_at(&mut data[HEAD..], place * PLACE + HEAD as u64) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    if u64::from(checksum(&data)) != expected {
        return Ok(None);
    }
    Ok(Some((write, data.split_off(HEAD))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::{Retained, VersionId};

    fn undone(path: &Path) -> Option<String> {
        let (_, handed) = Ledger::open(path).unwrap();
        handed.unwrap().map(|handed| format!("{:?}", handed.undone))
    }

    #[test]
    fn a_write_that_is_cut_short_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover");
        let (mut ledger, handed) = Ledger::open(&path).unwrap();
        assert!(handed.unwrap().is_none());
        let machine = Machine::new(Retained::default(), 0);
        let mut write = |version: u32| {
            let actions = [Action::Steer(VersionId(version))];
            ledger.write(&machine, &actions, &Standing::default()).unwrap();
            format!("{actions:?}")
        };
        let first = write(1);
        let second = write(2);
        assert_eq!(undone(&path), Some(second));
        // The third is written over the first, and is cut short anywhere.
        let whole = std::fs::read(&path).unwrap();
        write(3);
        let third = std::fs::read(&path).unwrap();
        let at = PLACE as usize;
        let changed: Vec<usize> = (at..at + 400).filter(|i| whole[*i] != third[*i]).collect();
        for cut in changed {
            let torn = [&third[..cut], &whole[cut..]].concat();
            std::fs::write(&path, torn).unwrap();
            assert_eq!(undone(&path), Some("[Steer(VersionId(2))]".into()), "cut at {cut}");
        }
        assert_ne!(first, "");
    }

    #[test]
    fn another_boot_hands_nothing_over_and_neither_does_a_cleared_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover");
        let (mut ledger, _) = Ledger::open(&path).unwrap();
        let machine = Machine::new(Retained::default(), 0);
        ledger.write(&machine, &[], &Standing::default()).unwrap();
        assert!(undone(&path).is_some());
        ledger.clear().unwrap();
        assert_eq!(undone(&path), None);
        ledger.boot = "another".into();
        ledger.write(&machine, &[], &Standing::default()).unwrap();
        assert_eq!(undone(&path), None);
    }
}
