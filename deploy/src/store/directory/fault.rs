//! What went wrong inside a call, before the call puts its own name and object to it.

use std::io;

use crate::store::ErrorKind;

/// The part of a [`crate::store::StoreError`] that is known where it happens.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: ErrorKind,
    pub(super) cause: Option<io::Error>,
}

/// What a call gives before it is a [`crate::store::Result`].
pub(super) type Done<T> = Result<T, Fault>;

impl Fault {
    /// `cause`, which befell `path`: not a part of the object that the call names.
    pub(super) fn beside(path: &std::path::Path, cause: io::Error) -> Self {
        let kind = Self::from(io::Error::from(cause.kind())).kind;
        let cause = io::Error::new(cause.kind(), format!("{}: {cause}", path.display()));
        Self { kind, cause: Some(cause) }
    }

    /// A call that no bucket can do.
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        let cause = io::Error::new(io::ErrorKind::InvalidInput, why.into());
        Self { kind: ErrorKind::Invalid, cause: Some(cause) }
    }
}

impl From<ErrorKind> for Fault {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, cause: None }
    }
}

impl From<io::Error> for Fault {
    fn from(cause: io::Error) -> Self {
        use io::ErrorKind as Io;
        let kind = match cause.kind() {
            // A file that may not grow further has no room, whoever set the limit.
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::Full,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Forbidden,
            Io::InvalidFilename | Io::InvalidInput => ErrorKind::Invalid,
            // Not ErrorKind::NotFound: where an object can be missing, that is asked for. Here a
            // part of the bucket itself is gone.
            _ => ErrorKind::Unavailable,
        };
        Self { kind, cause: Some(cause) }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn what_the_system_says_becomes_what_callers_tell_apart() {
        let expected = [
            (Errno::ENOSPC, ErrorKind::Full),
            (Errno::EDQUOT, ErrorKind::Full),
            (Errno::EFBIG, ErrorKind::Full),
            (Errno::EACCES, ErrorKind::Forbidden),
            (Errno::EPERM, ErrorKind::Forbidden),
            (Errno::EROFS, ErrorKind::Forbidden),
            (Errno::ENAMETOOLONG, ErrorKind::Invalid),
            (Errno::EIO, ErrorKind::Unavailable),
            (Errno::EMFILE, ErrorKind::Unavailable),
            (Errno::ENOENT, ErrorKind::Unavailable),
            (Errno::ENOTDIR, ErrorKind::Unavailable),
        ];
        for (errno, kind) in expected {
            let fault = Fault::from(io::Error::from_raw_os_error(errno as i32));
            assert_eq!(fault.kind, kind, "{errno}");
            assert_eq!(fault.cause.unwrap().raw_os_error(), Some(errno as i32));
            let beside = Fault::beside("/x".as_ref(), io::Error::from_raw_os_error(errno as i32));
            assert_eq!(beside.kind, kind, "{errno}");
        }
    }
}
