//! What can befall a call.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// 412 though the precondition held; nothing is done.
    LostPrecondition,
    /// 429 with `Retry-After`; nothing is done.
    TooManyRequests,
    /// 500; nothing is done.
    InternalError,
    /// 503; nothing is done.
    UnavailableBefore,
    /// The call is carried out, and the answer is 503.
    UnavailableAfter,
    /// The connection is cut; nothing is done.
    CutBefore,
    /// The call is carried out, and the connection cut without an answer.
    CutAfter,
    /// The connection is cut in the middle of the answer's body.
    CutInAnswer,
    /// The connection is cut in the middle of the request's body. A session of a resumable upload
    /// keeps what came.
    CutInUpload,
    /// The answer comes late.
    Slow,
    /// A listing is answered as it was the time before.
    StaleList,
    /// 401, as for a token past its end; nothing is done.
    ExpiredToken,
    /// One byte of a download is another, and the checksum in its headers is the right one.
    FlippedByte,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::LostPrecondition,
        Self::TooManyRequests,
        Self::InternalError,
        Self::UnavailableBefore,
        Self::UnavailableAfter,
        Self::CutBefore,
        Self::CutAfter,
        Self::CutInAnswer,
        Self::CutInUpload,
        Self::Slow,
        Self::StaleList,
        Self::ExpiredToken,
        Self::FlippedByte,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
