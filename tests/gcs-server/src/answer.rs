//! What a call is answered.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::problem::Problem;

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// No body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A text in a type of its own.
    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut answer = Self::empty(status).with("content-type", content_type);
        answer.body = body.into();
        answer
    }

    /// JSON on one line or for people to read.
    pub(crate) fn json(status: u16, value: &Value, pretty: bool) -> Self {
        let body = if pretty { format!("{value:#}") } else { value.to_string() };
        Self::text(status, "application/json; charset=UTF-8", body)
    }

    /// The same with one header more. A value that no header can have is left out.
    pub(crate) fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.append(HeaderName::from_static(name), value);
        }
        self
    }

    /// A failed call's answer. Downloads are told in plain text, as Google does.
    pub(crate) fn of_problem(problem: &Problem, as_text: bool) -> Self {
        let mut answer = match problem.status {
            304 => Self::empty(304),
            status if as_text => {
                Self::text(status, "text/html; charset=UTF-8", problem.text().to_owned())
            }
            status => Self::json(status, &problem.body(), true),
        };
        for (name, value) in &problem.headers {
            answer = answer.with(name, value);
        }
        answer
    }
}
