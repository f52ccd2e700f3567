//! Objects' names as folder names, and paths as URLs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::fault::{Done, Fault};

/// What a folder's name keeps as it is: enough that people know the object by it.
const IN_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

const IN_URLS: &AsciiSet = &IN_NAMES.remove(b'/').remove(b'~').remove(b'+').remove(b',');

const SCHEME: &str = "file://";

/// The folder name of the object `name`.
pub(super) fn folder_name(name: &str) -> Done<String> {
    if name.is_empty() {
        return Err(Fault::invalid("an object's name cannot be empty"));
    }
    let encoded = percent_encode(name.as_bytes(), IN_NAMES).to_string();
    // `.` and `..` are not free, and other names that start so are hidden from people.
    Ok(match encoded.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => encoded,
    })
}

/// The object whose folder has this name; `None` for a folder that no object has.
pub(super) fn object_name(folder_name: &OsStr) -> Option<String> {
    let name = percent_decode(folder_name.as_bytes()).decode_utf8().ok()?;
    let is_ours = self::folder_name(&name).is_ok_and(|encoded| *encoded == *folder_name);
    is_ours.then(|| name.into_owned())
}

/// The URL of an absolute path.
pub(super) fn url(path: &Path) -> String {
    format!("{SCHEME}{}", percent_encode(path.as_os_str().as_bytes(), IN_URLS))
}

/// The path of a `file://` URL.
pub(super) fn path(url: &str) -> Done<PathBuf> {
    let Some(path) = url.strip_prefix(SCHEME) else {
        return Err(Fault::invalid("only file:///<absolute path> and gs://<name> are known"));
    };
    if !path.starts_with('/') {
        return Err(Fault::invalid("the path must be absolute: file:///<absolute path>"));
    }
    let path = percent_decode(path.as_bytes()).collect::<Vec<u8>>();
    Ok(PathBuf::from(OsStr::from_bytes(&path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_folders_and_back() {
        let names = [
            ("state.json", "state.json"),
            ("fleet/instances/app-1", "fleet%2Finstances%2Fapp-1"),
            (".", "%2E"),
            ("..", "%2E."),
            ("a/../b", "a%2F..%2Fb"),
            ("ä %2F\0", "%C3%A4%20%252F%00"),
        ];
        for (name, folder) in names {
            assert_eq!(folder_name(name).unwrap(), folder);
            assert_eq!(object_name(folder.as_ref()).as_deref(), Some(name));
        }
        for foreign in ["", "lost+found", "%2e", "%41", ".hidden", "%ff"] {
            assert_eq!(object_name(foreign.as_ref()), None, "{foreign:?}");
        }
        assert!(folder_name("").is_err());
    }

    #[test]
    fn paths_go_to_urls_and_back() {
        for text in ["/a/b-c_d.e", "/with space/50%/ä?#", "/~me/x+y,z"] {
            assert_eq!(path(&url(text.as_ref())).unwrap(), Path::new(text));
        }
        assert_eq!(url("/a b".as_ref()), "file:///a%20b");
        for bad in ["", "/a", "gs://bucket", "file://relative", "file:/a"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }
}
