//! What an answer of the service, or none, means to callers of a store.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use google_cloud_gax::error::{CredentialsError, Error};
use google_cloud_storage::error::{ReadError, WriteError};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::story::story;
use crate::store::ErrorKind;

/// The part of a [`crate::store::StoreError`] that is known where it happens.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: ErrorKind,
    pub(super) cause: Option<io::Error>,
    /// What the service asks for before the next try.
    pub(super) retry_after: Option<Duration>,
}

/// What a call gives before it is a [`crate::store::Result`].
pub(super) type Done<T> = Result<T, Fault>;

/// The longest that the service's wish for a pause is followed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// `{"error": {"code": 404, "message": "…"}}`: how the JSON API says what is wrong.
#[derive(Deserialize)]
struct Body {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    message: String,
}

impl Fault {
    fn of(kind: ErrorKind, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = story(&*cause.into());
        Self { kind, cause: Some(io::Error::other(cause)), retry_after: None }
    }

    /// A call that no bucket can do.
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::of(ErrorKind::Invalid, why.into())
    }

    /// No answer came in time.
    pub(super) fn no_answer(within: Duration) -> Self {
        Self::of(ErrorKind::Unavailable, format!("no answer within {} s", within.as_secs()))
    }

    /// A transfer has stopped to move.
    pub(super) fn stalled(within: Duration) -> Self {
        Self::of(ErrorKind::Unavailable, format!("no byte has moved for {} s", within.as_secs()))
    }

    /// An answer that the service does not give.
    pub(super) fn strange(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::of(ErrorKind::Unavailable, why)
    }

    /// `cause`, which befell the file at `path` of this machine.
    pub(super) fn beside(path: &Path, cause: io::Error) -> Self {
        let kind = match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Forbidden
            }
            _ => ErrorKind::Unavailable,
        };
        let cause = io::Error::new(cause.kind(), format!("{}: {cause}", path.display()));
        Self { kind, cause: Some(cause), retry_after: None }
    }

    /// An answer with this status and body.
    pub(super) fn answered(status: u16, headers: Option<&HeaderMap>, body: &[u8]) -> Self {
        let message = message(body);
        let kind = match status {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::Forbidden,
            404 if message.contains("bucket does not exist") => ErrorKind::NoBucket,
            404 => ErrorKind::NotFound,
            409 | 412 => ErrorKind::Lost,
            408 | 429 | 500..600 => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        };
        let mut fault = Self { kind, cause: None, retry_after: headers.and_then(retry_after) };
        if kind == ErrorKind::NoBucket {
            // There is no more to say of it.
            return fault;
        }
        fault.cause = Some(io::Error::other(match message.is_empty() {
            true => format!("HTTP {status}"),
            false => format!("HTTP {status}: {message}"),
        }));
        fault
    }

    /// The same, of a call that needs no object: what it does not find is the bucket.
    pub(super) fn without_object(self) -> Self {
        match self.kind {
            ErrorKind::NotFound => Self { kind: ErrorKind::NoBucket, ..self },
            _ => self,
        }
    }

    /// The credentials gave nothing to show.
    pub(super) fn credentials(error: CredentialsError) -> Self {
        let kind = match error.is_transient() {
            true => ErrorKind::Unavailable,
            false => ErrorKind::Unauthenticated,
        };
        Self::of(kind, error)
    }

    /// A request that had no whole answer.
    pub(super) fn request(error: reqwest::Error) -> Self {
        let kind = if error.is_builder() { ErrorKind::Invalid } else { ErrorKind::Unavailable };
        // Its URL stands in our own message.
        Self::of(kind, error.without_url())
    }
}

impl From<ErrorKind> for Fault {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, cause: None, retry_after: None }
    }
}

/// What `google-cloud-storage` says.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        if let Some(status) = error.http_status_code() {
            let body = error.http_payload().map(|body| body.to_vec()).unwrap_or_default();
            return Self::answered(status, error.http_headers(), &body);
        }
        let kind = match caused_by::<CredentialsError>(&error) {
            Some(cause) if !cause.is_transient() => ErrorKind::Unauthenticated,
            _ if is_damage(&error) => ErrorKind::Corrupt,
            _ if error.is_binding() => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        Self::of(kind, error)
    }
}

fn is_damage(error: &Error) -> bool {
    matches!(caused_by::<ReadError>(error), Some(ReadError::ChecksumMismatch(_)))
        || matches!(caused_by::<WriteError>(error), Some(WriteError::ChecksumMismatch { .. }))
}

fn caused_by<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

/// What a body says: the JSON API's message, or a media call's plain text.
fn message(body: &[u8]) -> String {
    const MESSAGE_MAX: usize = 500;
    if let Ok(Body { error }) = serde_json::from_slice(body) {
        return error.message;
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(MESSAGE_MAX)]);
    text.trim().to_owned()
}

/// In seconds; the other form that HTTP has, a date, the service does not use.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let secs: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(secs).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_kind() {
        let kind = |status, body: &str| Fault::answered(status, None, body.as_bytes()).kind;
        let json = |message: &str| format!(r#"{{"error":{{"code":1,"message":"{message}"}}}}"#);
        assert_eq!(kind(401, ""), ErrorKind::Unauthenticated);
        assert_eq!(kind(403, ""), ErrorKind::Forbidden);
        assert_eq!(kind(404, "No such object: b/o"), ErrorKind::NotFound);
        let no_bucket = json("The specified bucket does not exist.");
        assert_eq!(kind(404, &no_bucket), ErrorKind::NoBucket);
        assert_eq!(kind(412, &json("x")), ErrorKind::Lost);
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(kind(status, "").may_be_tried_again(), "{status}");
        }
        assert_eq!(kind(400, ""), ErrorKind::Invalid);
    }

    #[test]
    fn a_fault_says_what_the_service_said() {
        let body = br#"{"error":{"code":403,"message":"who@x does not have storage.objects.get"}}"#;
        let fault = Fault::answered(403, None, body);
        let text = fault.cause.unwrap().to_string();
        assert_eq!(text, "HTTP 403: who@x does not have storage.objects.get");
        let fault = Fault::answered(502, None, b"<html>bad gateway</html>\n");
        assert_eq!(fault.cause.unwrap().to_string(), "HTTP 502: <html>bad gateway</html>");
    }

    #[test]
    fn a_wish_for_a_pause_is_followed_within_bounds() {
        let after = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            Fault::answered(429, Some(&headers), b"").retry_after
        };
        assert_eq!(after("2"), Some(Duration::from_secs(2)));
        assert_eq!(after("86400"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
