//! A request, taken apart but not yet understood.

use std::sync::Arc;

use bytes::Bytes;
use deploy::Timestamp;
use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::params::Params;
use crate::problem::{Done, Problem};

/// Headers with a meaning that may be passed over: who calls, and how often it tried.
const HARMLESS: [&str; 6] = [
    "x-goog-api-client",
    "x-goog-user-project",
    "x-goog-request-params",
    "x-goog-request-reason",
    "x-goog-gcs-idempotency-token",
    "x-goog-api-key",
];

/// Headers outside `x-goog-` that would change what a call means.
const CHANGING: [&str; 8] = [
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "x-http-method-override",
    "content-md5",
    "content-encoding",
];

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path as it came, for matching and messages.
    pub(crate) path: String,
    /// The query as it came.
    pub(crate) query: String,
    /// The path's parts, decoded. An encoded `/` does not part.
    pub(crate) segments: Vec<String>,
    pub(crate) params: Params,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where this server is, for links. The request's `Host` is no use: a client may leave out
    /// the port.
    pub(crate) base: Arc<str>,
    pub(crate) now: Timestamp,
}

impl Call {
    /// Takes a request's head apart.
    pub(crate) fn new(
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        base: Arc<str>,
        now: Timestamp,
    ) -> Done<Self> {
        let path = uri.path().to_owned();
        let segments = path.trim_start_matches('/').split('/').map(|segment| {
            let decoded = percent_decode_str(segment).decode_utf8();
            decoded.map(Into::into).map_err(|_| Problem::invalid(format!("{path} is not UTF-8")))
        });
        let segments = segments.collect::<Done<_>>()?;
        let query = uri.query().unwrap_or_default().to_owned();
        let params = Params::parse(&query)?;
        let body = Bytes::new();
        Ok(Self { method, path, query, segments, params, headers, body, base, now })
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Refuses headers that change a call's meaning and that nobody here knows. `known` are those
    /// that this call takes.
    pub(crate) fn check_headers(&self, known: &[&str]) -> Done<()> {
        let unknown = self.headers.keys().map(|name| name.as_str()).find(|name| {
            let changes = name.starts_with("x-goog-")
                || name.starts_with("x-upload-")
                || CHANGING.contains(name);
            changes && !HARMLESS.contains(name) && !known.contains(name)
        });
        match unknown {
            None => Ok(()),
            Some(name) => Err(Problem::unknown(format_args!("the header {name} of this call"))),
        }
    }

    /// The body as a JSON object; an empty body is an empty object.
    pub(crate) fn json(&self) -> Done<serde_json::Map<String, serde_json::Value>> {
        if self.body.is_empty() {
            return Ok(serde_json::Map::new());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::new(400, "parseError", format!("Parse Error: {error}")))
    }
}
