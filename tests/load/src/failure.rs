//! How a request can fail.

use std::fmt;
use std::io;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody listened.
    Refused,
    /// The connection, or the HTTP/2 stream, was reset: in connecting, writing or reading.
    Reset,
    /// The connection ended before any byte of an answer; or a WebSocket without a close frame.
    EndBefore,
    /// The connection ended within an answer.
    EndWithin,
    /// No whole answer came in time.
    Timeout,
    /// The answer's status was not 2xx, or a close frame told of an error.
    BadStatus,
    /// The answer was another request's.
    WrongAnswer,
    /// What came was no answer by the protocol.
    Malformed,
    /// The server ended the connection by an alert of TLS.
    TlsAlert,
    /// The client itself could not ask, for want of a port or a descriptor, say.
    Other,
}

impl Failure {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::Reset,
        Self::EndBefore,
        Self::EndWithin,
        Self::Timeout,
        Self::BadStatus,
        Self::WrongAnswer,
        Self::Malformed,
        Self::TlsAlert,
        Self::Other,
    ];
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::EndBefore => "end before",
            Self::EndWithin => "end within",
            Self::Timeout => "timeout",
            Self::BadStatus => "bad status",
            Self::WrongAnswer => "wrong",
            Self::Malformed => "malformed",
            Self::TlsAlert => "TLS alert",
            Self::Other => "other",
        })
    }
}

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) text: String,
}

impl Failed {
    pub(crate) fn new(failure: Failure, text: impl Into<String>) -> Self {
        Self { failure, text: text.into() }
    }

    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::new(Failure::Malformed, text)
    }

    /// What befell a connection on which no byte of an answer had come.
    pub(crate) fn io(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset};
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let failure = match (inner, error.kind()) {
            (Some(rustls::Error::AlertReceived(_)), _) => Failure::TlsAlert,
            (Some(_), _) => Failure::Malformed,
            (_, ConnectionRefused) => Failure::Refused,
            // A pipe breaks where the reset had come before.
            (_, ConnectionReset | ConnectionAborted | BrokenPipe) => Failure::Reset,
            (_, io::ErrorKind::UnexpectedEof) => Failure::EndBefore,
            (_, io::ErrorKind::TimedOut) => Failure::Timeout,
            _ => Failure::Other,
        };
        Self::new(failure, error.to_string())
    }

    /// The same, where some bytes of an answer had come.
    pub(crate) fn within(self) -> Self {
        match self.failure {
            Failure::EndBefore => Self { failure: Failure::EndWithin, ..self },
            _ => self,
        }
    }
}
