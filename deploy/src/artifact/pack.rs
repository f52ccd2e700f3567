//! From files to an archive.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::entry::{ENTRIES_MAX, UNPACKED_SIZE_MAX, check_path};
use super::{BadPath, MANIFEST_PATH, Manifest};
use crate::digest::Hasher;
use crate::release::Artifact;

/// How hard zstd tries. Level 3 packs a Go binary of 17 MB in 0.12 s; 6 takes 0.27 s to make the
/// archive 6 % smaller, and 9 takes 0.38 s for 8 %: no more than sending those bytes takes.
const LEVEL: i32 = 3;

/// An archive that was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// What the archive is, as a release names it.
    pub artifact: Artifact,
    /// What its files hold together, unpacked.
    pub unpacked_size: u64,
}

/// Packs `files`, each a path in the archive and the file to read, and `manifest` into the new or
/// overwritten archive `to`.
///
/// The same files give the same bytes, in whatever order they are named. A symbolic link is
/// followed: the file that it leads to is packed under the link's path.
///
/// # Errors
/// See [`PackError`]. What is at `to` then is no archive.
pub fn pack(
    manifest: &Manifest,
    files: &[(String, PathBuf)],
    to: &Path,
) -> Result<Packed, PackError> {
    let files = sorted(manifest, files)?;
    let write_error = |cause| PackError::Write { archive: to.to_owned(), cause };
    let archive = Archive {
        file: BufWriter::new(File::create(to).map_err(write_error)?),
        hasher: Hasher::default(),
        size: 0,
    };
    let mut tar = Builder::new(zstd::Encoder::new(archive, LEVEL).map_err(write_error)?);
    let manifest = serde_json::to_vec(manifest).expect("a manifest serializes");
    append(&mut tar, MANIFEST_PATH, &manifest[..], manifest.len() as u64, false)
        .map_err(write_error)?;
    let mut unpacked_size = 0;
    for (path, source) in files {
        unpacked_size += append_file(&mut tar, path, source, to)?;
        if unpacked_size > UNPACKED_SIZE_MAX {
            return Err(PackError::TooLarge);
        }
    }
    let archive = tar.into_inner().and_then(zstd::Encoder::finish).map_err(write_error)?;
    let artifact = archive.finish().map_err(write_error)?;
    Ok(Packed { artifact, unpacked_size })
}

/// The files by path, if an archive can hold them all.
fn sorted<'a>(
    manifest: &Manifest,
    files: &'a [(String, PathBuf)],
) -> Result<Vec<&'a (String, PathBuf)>, PackError> {
    let bad = |path: &str, why| Err(PackError::Path { path: path.to_owned(), why });
    if files.len() >= ENTRIES_MAX {
        return Err(PackError::TooMany { files: files.len() });
    }
    if !files.iter().any(|(path, _)| *path == manifest.executable) {
        return Err(PackError::NoExecutable { executable: manifest.executable.clone() });
    }
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (index, (path, _)) in files.iter().enumerate() {
        if let Err(why) = check_path(path) {
            return bad(path, why);
        }
        if files[..index].last().is_some_and(|(before, _)| before == path) {
            return bad(path, BadPath::Twice);
        }
        let mut folders = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        if let Some(folder) = folders
            .find(|folder| files.binary_search_by(|(other, _)| other.as_str().cmp(folder)).is_ok())
        {
            return bad(folder, BadPath::FileAndFolder);
        }
    }
    Ok(files)
}

/// Appends the file `source`. Gives its size.
fn append_file(
    tar: &mut Builder<impl Write>,
    path: &str,
    source: &Path,
    archive: &Path,
) -> Result<u64, PackError> {
    let read_error = |cause| PackError::Read { path: source.to_owned(), cause };
    let file = File::open(source).map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(PackError::NotAFile { path: source.to_owned() });
    }
    let size = metadata.len();
    let mut content = Content { source: &file, left: size, failed: None };
    let appended = append(tar, path, &mut content, size, is_executable(&metadata));
    match (content.failed.take(), appended) {
        (Some(cause), _) => return Err(read_error(cause)),
        (None, Err(cause)) if cause.kind() == io::ErrorKind::InvalidFilename => {
            return Err(PackError::Path { path: path.to_owned(), why: BadPath::TooLong });
        }
        (None, Err(cause)) => return Err(PackError::Write { archive: archive.to_owned(), cause }),
        (None, Ok(())) => {}
    }
    let grown = (&file).read(&mut [0]).map_err(read_error)? > 0;
    if content.left > 0 || grown {
        return Err(PackError::Changed { path: source.to_owned() });
    }
    Ok(size)
}

fn append(
    tar: &mut Builder<impl Write>,
    path: &str,
    content: impl Read,
    size: u64,
    executable: bool,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(path).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    tar.append(&header, content)
}

fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o111 != 0
}

/// A file's content as long as its entry says, and no longer. A failure is kept apart, so that it
/// is not taken for one of the archive.
struct Content<'a> {
    source: &'a File,
    left: u64,
    failed: Option<io::Error>,
}

impl Read for &mut Content<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.source.take(self.left).read(to) {
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// The archive's file, with what is known of the bytes that went into it.
struct Archive {
    file: BufWriter<File>,
    hasher: Hasher,
    size: u64,
}

impl Archive {
    fn finish(mut self) -> io::Result<Artifact> {
        self.file.flush()?;
        Ok(Artifact { digest: self.hasher.finish(), size: self.size })
    }
}

impl Write for Archive {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.hasher.write_all(&data[..written])?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Why files cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A path in the archive is none that an archive can hold.
    #[error("the path {path:?} cannot be in an artifact: {why}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: BadPath,
    },
    /// The executable is not among the files.
    #[error("the executable {executable:?} is not among the files to pack")]
    NoExecutable {
        /// Its path in the archive.
        executable: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What lies beneath.
        #[source]
        cause: io::Error,
    },
    /// A folder, a device or another thing that is no file.
    #[error("{} is not a regular file, and only those can be packed", .path.display())]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// Something writes the file.
    #[error("{} changed while it was packed; try again when nothing writes it", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive {}", .archive.display())]
    Write {
        /// The archive.
        archive: PathBuf,
        /// What lies beneath.
        #[source]
        cause: io::Error,
    },
    /// See [`UNPACKED_SIZE_MAX`].
    #[error("the files hold more than {} GiB together; ship less", UNPACKED_SIZE_MAX >> 30)]
    TooLarge,
    /// There are too many files.
    #[error("{files} files are too many for one artifact (at most {}); ship less", ENTRIES_MAX - 1)]
    TooMany {
        /// How many there are.
        files: usize,
    },
}
