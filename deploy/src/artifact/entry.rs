//! What the entries of an archive may be; held when it is packed and when it is unpacked.

/// The most that all files of one artifact may hold together, unpacked: 4 GiB. An archive that
/// claims more is a mistake or a bomb.
pub const UNPACKED_SIZE_MAX: u64 = 4 << 30;

/// The most files in one artifact.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// The folder in an archive, and in an unpacked release, that is Engineer's own.
const RESERVED: &str = ".engr";

/// Why a path cannot be one in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It could lead out of the release's folder, or name one file in two ways.
    #[error("it must be a relative path without empty, `.` and `..` parts")]
    Unclean,
    /// It has a byte that paths cannot have.
    #[error("it is not plain text")]
    Text,
    /// Engineer keeps its own files there.
    #[error("the folder `{RESERVED}` is reserved")]
    Reserved,
    /// The archive's format cannot hold it.
    #[error("it is too long: 100 bytes for a name and 155 for its folder are the most")]
    TooLong,
    /// Another file has the same path.
    #[error("there is another file with this path")]
    Twice,
    /// Another file's path needs this one to be a folder.
    #[error("there is a file where a folder with this path is needed")]
    FileAndFolder,
}

/// Checks the path of one of the app's files.
pub(super) fn check_path(path: &str) -> Result<(), BadPath> {
    if path.contains('\0') {
        return Err(BadPath::Text);
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(BadPath::Unclean);
    }
    if path.split('/').next() == Some(RESERVED) {
        return Err(BadPath::Reserved);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_relative_paths_pass() {
        for good in ["app", "static/a b.css", "...", "a/.hidden", "ä/ö", "a/.engr"] {
            assert_eq!(check_path(good), Ok(()), "{good:?}");
        }
        for bad in ["", "/", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "a/."] {
            assert_eq!(check_path(bad), Err(BadPath::Unclean), "{bad:?}");
        }
        assert_eq!(check_path("a\0b"), Err(BadPath::Text));
        assert_eq!(check_path(".engr/manifest.json"), Err(BadPath::Reserved));
        assert_eq!(check_path(".engr"), Err(BadPath::Reserved));
    }
}
