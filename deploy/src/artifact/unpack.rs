//! From an archive to files.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::entry::{ENTRIES_MAX, UNPACKED_SIZE_MAX, check_path};
use super::{BadPath, MANIFEST_PATH, Manifest};
use crate::Digest;
use crate::digest::Hasher;

/// zstd's window: how much memory an archive may make its reader use, 16 MiB.
const WINDOW_LOG_MAX: u32 = 24;

const MANIFEST_SIZE_MAX: u64 = 64 * 1024;

const CHUNK_SIZE: usize = 128 * 1024;

/// Unpacks `archive` into the new folder `to`, if its SHA-256 is `expected`, and gives its manifest.
///
/// The archive is read once: the files are written as they come, and the digest is compared at the
/// end, so nothing in `to` may be used before this has succeeded. By then every file and folder in
/// `to` is on disk for good; the caller renames `to`, and syncs the folder around it.
///
/// Nothing in the archive is trusted before that. It can only make regular files in `to`, each
/// once, and together at most [`UNPACKED_SIZE_MAX`].
///
/// # Errors
/// See [`UnpackError`]. `to` is removed then. (A process that is killed leaves it; so `to` should
/// be where the caller cleans up.)
pub fn unpack(archive: &Path, expected: &Digest, to: &Path) -> Result<Manifest, UnpackError> {
    let read_error = |cause| UnpackError::Read { archive: archive.to_owned(), cause };
    let file = File::open(archive).map_err(read_error)?;
    let mut raw = Hashed { file, hasher: Hasher::default() };
    let mut tree = Tree::create(to)?;
    let unpacked = match unpack_entries(&mut raw, &mut tree) {
        // Nothing is wrong with the archive.
        Err(error @ UnpackError::Write { .. }) => return Err(error),
        unpacked => unpacked,
    };
    // Whatever is behind the last entry, and what a reader that gave up has left.
    io::copy(&mut raw, &mut io::sink()).map_err(read_error)?;
    let found = raw.hasher.finish();
    if found != *expected {
        // Whatever else was wrong: these are other bytes.
        return Err(UnpackError::Digest {
            archive: archive.to_owned(),
            expected: *expected,
            found,
        });
    }
    let manifest = unpacked?;
    tree.finish()?;
    Ok(manifest)
}

fn unpack_entries(raw: &mut Hashed, tree: &mut Tree) -> Result<Manifest, UnpackError> {
    let form = |cause| UnpackError::Form { cause };
    let mut zstd = zstd::Decoder::new(raw).map_err(form)?;
    zstd.window_log_max(WINDOW_LOG_MAX).map_err(form)?;
    let mut tar = tar::Archive::new(zstd);
    // Raw: no extension is understood, so none can trick; they are refused like links are.
    let entries = tar.entries().map_err(form)?.raw(true);
    let mut manifest = None;
    for entry in entries {
        let mut entry = entry.map_err(form)?;
        let path = checked_path(&entry)?;
        if manifest.is_none() {
            manifest = Some(unpack_manifest(&mut entry, &path, tree)?);
            continue;
        }
        check_path(&path).map_err(|why| UnpackError::Path { path: path.clone(), why })?;
        let executable = entry.header().mode().map_err(form)? & 0o111 != 0;
        let size = entry.header().entry_size().map_err(form)?;
        tree.add(&path, size, &mut entry, executable)?;
    }
    let manifest = manifest.ok_or(UnpackError::NoManifest)?;
    if !tree.has(&manifest.executable) {
        return Err(UnpackError::NoExecutable { executable: manifest.executable });
    }
    Ok(manifest)
}

/// The path of an entry that is a regular file.
fn checked_path(entry: &tar::Entry<'_, impl Read>) -> Result<String, UnpackError> {
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    match entry.header().entry_type() {
        EntryType::Regular if path.contains(char::REPLACEMENT_CHARACTER) => {
            Err(UnpackError::Path { path, why: BadPath::Text })
        }
        EntryType::Regular => Ok(path),
        _ => Err(UnpackError::NotAFile { path }),
    }
}

fn unpack_manifest(
    entry: &mut impl Read,
    path: &str,
    tree: &mut Tree,
) -> Result<Manifest, UnpackError> {
    if path != MANIFEST_PATH {
        return Err(UnpackError::NoManifest);
    }
    let mut data = Vec::new();
    entry
        .take(MANIFEST_SIZE_MAX + 1)
        .read_to_end(&mut data)
        .map_err(|cause| UnpackError::Form { cause })?;
    if data.len() as u64 > MANIFEST_SIZE_MAX {
        return Err(UnpackError::TooLarge);
    }
    let manifest =
        serde_json::from_slice(&data).map_err(|cause| UnpackError::Manifest { cause })?;
    tree.add(MANIFEST_PATH, data.len() as u64, &mut &data[..], false)?;
    Ok(manifest)
}

/// The folder in the making. Removed when this is dropped before its end.
struct Tree {
    root: PathBuf,
    files: BTreeSet<String>,
    folders: BTreeSet<PathBuf>,
    size: u64,
    finished: bool,
}

impl Tree {
    fn create(root: &Path) -> Result<Self, UnpackError> {
        create_folder(root).map_err(write_error(root))?;
        Ok(Self {
            root: root.to_owned(),
            files: BTreeSet::new(),
            folders: BTreeSet::from([root.to_owned()]),
            size: 0,
            finished: false,
        })
    }

    fn has(&self, path: &str) -> bool {
        self.files.contains(path)
    }

    /// Writes one file of `size`.
    fn add(
        &mut self,
        path: &str,
        size: u64,
        content: &mut impl Read,
        executable: bool,
    ) -> Result<(), UnpackError> {
        let bad = |why| UnpackError::Path { path: path.to_owned(), why };
        self.size = self.size.saturating_add(size);
        if self.size > UNPACKED_SIZE_MAX || self.files.len() >= ENTRIES_MAX {
            return Err(UnpackError::TooLarge);
        }
        if !self.files.insert(path.to_owned()) {
            return Err(bad(BadPath::Twice));
        }
        let parents = Path::new(path).ancestors().skip(1);
        if parents.filter_map(Path::to_str).any(|folder| self.has(folder))
            || self.folders.contains(&self.root.join(path))
        {
            return Err(bad(BadPath::FileAndFolder));
        }
        let file = self.root.join(path);
        self.create_folders(&file)?;
        if write(&file, content, if executable { 0o755 } else { 0o644 })? != size {
            return Err(UnpackError::Form { cause: io::ErrorKind::UnexpectedEof.into() });
        }
        Ok(())
    }

    /// Makes the folders that `file` lies in.
    fn create_folders(&mut self, file: &Path) -> Result<(), UnpackError> {
        let missing: Vec<_> =
            file.ancestors().skip(1).take_while(|folder| !self.folders.contains(*folder)).collect();
        for folder in missing.into_iter().rev() {
            create_folder(folder).map_err(write_error(folder))?;
            self.folders.insert(folder.to_owned());
        }
        Ok(())
    }

    /// The folder stays, and is on disk for good.
    fn finish(mut self) -> Result<(), UnpackError> {
        for folder in &self.folders {
            File::open(folder).and_then(|file| file.sync_all()).map_err(write_error(folder))?;
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            let folder = self.root.display();
            tracing::warn!(%folder, %error, "what was unpacked in vain cannot be removed");
        }
    }
}

/// Writes one file, to disk for good. Gives its size.
fn write(to: &Path, from: &mut impl Read, mode: u32) -> Result<u64, UnpackError> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(mode);
    let mut file = options.open(to).map_err(write_error(to))?;
    // The app's user must be able to read it, whatever this process masks.
    file.set_permissions(Permissions::from_mode(mode)).map_err(write_error(to))?;
    let mut chunk = vec![0; CHUNK_SIZE];
    let mut size = 0;
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(UnpackError::Form { cause }),
        };
        file.write_all(&chunk[..read]).map_err(write_error(to))?;
        size += read as u64;
    }
    file.sync_all().map_err(write_error(to))?;
    Ok(size)
}

fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> UnpackError {
    let path = path.to_owned();
    |cause| UnpackError::Write { path, cause }
}

/// The archive's file, and the digest of what was read of it.
struct Hashed {
    file: File,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(to)?;
        self.hasher.write_all(&to[..read])?;
        Ok(read)
    }
}

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is not the one that the release names.
    #[error(
        "{} has the SHA-256 {found}, not {expected}: it was damaged, and must be fetched again",
        .archive.display()
    )]
    Digest {
        /// The archive.
        archive: PathBuf,
        /// What the release names.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// The archive cannot be read from the disk.
    #[error("cannot read the archive {}", .archive.display())]
    Read {
        /// The archive.
        archive: PathBuf,
        /// What lies beneath.
        #[source]
        cause: io::Error,
    },
    /// The disk does not take the files.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What lies beneath.
        #[source]
        cause: io::Error,
    },
    /// The bytes are the right ones, and no archive.
    #[error("the artifact is no archive that engr has packed; deploy it again")]
    Form {
        /// What the reader says.
        #[source]
        cause: io::Error,
    },
    /// The archive does not begin with a manifest.
    #[error("the artifact has no manifest; it was not packed by engr: deploy it again")]
    NoManifest,
    /// The manifest is none.
    #[error("the artifact's manifest cannot be read; deploy it again")]
    Manifest {
        /// What the parser says.
        #[source]
        cause: serde_json::Error,
    },
    /// The manifest names a file that is not there.
    #[error("the artifact's executable {executable:?} is not in it; deploy it again")]
    NoExecutable {
        /// The executable's path.
        executable: String,
    },
    /// An entry has a path that it must not have.
    #[error("the artifact has a file {path:?} that is refused: {why}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: BadPath,
    },
    /// A link, a device or another thing that is no file.
    #[error("the artifact's entry {path:?} is not a regular file, and refused")]
    NotAFile {
        /// The entry's path.
        path: String,
    },
    /// See [`UNPACKED_SIZE_MAX`].
    #[error(
        "the artifact holds more than {} GiB or {ENTRIES_MAX} files, and is refused; ship less",
        UNPACKED_SIZE_MAX >> 30
    )]
    TooLarge,
}
