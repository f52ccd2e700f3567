//! How a store call can fail.

use std::fmt;
use std::io;
use std::time::Duration;

/// A failed store call: what was done to which object, and what kind of failure it is.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object} in {bucket}: {kind}")]
pub struct StoreError {
    /// What was being done: `read`, `write` …
    pub operation: &'static str,
    /// The object's name, or a prefix.
    pub object: String,
    /// The bucket's URL.
    pub bucket: String,
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// How long the store asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What lies beneath it.
    #[source]
    pub cause: Option<io::Error>,
}

/// What callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such object, or no such generation of it.
    NotFound,
    /// There is no such bucket.
    NoBucket,
    /// The expectation did not hold: somebody else wrote.
    Lost,
    /// The caller may not do that.
    Forbidden,
    /// It is not known who the caller is: no credentials, or ones that are not taken (any longer).
    Unauthenticated,
    /// The stored bytes are not the ones that were written.
    Corrupt,
    /// There is no room.
    Full,
    /// The call itself is wrong: a name or an address that no bucket can have.
    Invalid,
    /// The store cannot be reached, or failed for the moment; the same call may go through later.
    Unavailable,
}

impl ErrorKind {
    /// Whether the same call may go through later, with nothing changed by the caller.
    pub fn may_be_tried_again(self) -> bool {
        matches!(self, Self::Unavailable | Self::Full | Self::Unauthenticated)
    }

    /// How many tries a call is worth that fails like this.
    pub(super) fn tries_max(self) -> u32 {
        match self {
            Self::Unavailable => 7,
            // Somebody may be making room, but it is not likely.
            Self::Full => 5,
            // A token can end on its way, and a new one be under way. A byte can be damaged on its
            // way, and be whole where it lies.
            Self::Unauthenticated | Self::Corrupt => 3,
            Self::NotFound | Self::NoBucket | Self::Lost => 1,
            Self::Forbidden | Self::Invalid => 1,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is no such object",
            Self::Lost => "somebody else wrote it meanwhile",
            Self::NoBucket => "there is no such bucket",
            Self::Forbidden => "permission denied",
            Self::Unauthenticated => "the credentials are not taken",
            Self::Corrupt => "its bytes are damaged (the checksum does not match)",
            Self::Full => "no space is left",
            Self::Invalid => "that is no possible name or address",
            Self::Unavailable => "the bucket cannot be used at the moment",
        })
    }
}
