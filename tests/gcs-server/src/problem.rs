//! A failed call, told as Google tells it.

use std::fmt;

use deploy::store::{ErrorKind, StoreError};
use serde_json::{Value, json};

/// What every handler gives.
pub(crate) type Done<T> = Result<T, Problem>;

/// Why a call failed, with Google's status and reason.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    reason: &'static str,
    message: String,
    /// Where in the request the reason lies: the kind of place, and its name.
    location: Option<(&'static str, String)>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Problem {
    /// Any status that Google gives, with its reason.
    pub(crate) fn new(status: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), location: None, headers: Vec::new() }
    }

    fn at(self, kind: &'static str, name: &str) -> Self {
        Self { location: Some((kind, name.to_owned())), ..self }
    }

    /// A part of the API that this server does not have, so that no test passes by its being
    /// overlooked.
    pub(crate) fn unknown(what: impl fmt::Display) -> Self {
        Self::invalid(format!("this test server does not implement {what}"))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid", message)
    }

    pub(crate) fn required(parameter: &str) -> Self {
        Self::new(400, "required", format!("Required parameter: {parameter}"))
            .at("parameter", parameter)
    }

    pub(crate) fn bad_parameter(name: &str, value: &str) -> Self {
        Self::invalid(format!("Invalid value '{value}' for {name}.")).at("parameter", name)
    }

    pub(crate) fn no_bucket() -> Self {
        Self::new(404, "notFound", "The specified bucket does not exist.")
    }

    pub(crate) fn no_object(bucket: &str, object: &str) -> Self {
        Self::new(404, "notFound", format!("No such object: {bucket}/{object}"))
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "conflict", message)
    }

    /// A precondition that did not hold.
    pub(crate) fn precondition() -> Self {
        let message = "At least one of the pre-conditions you specified did not hold.";
        Self::new(412, "conditionNotMet", message).at("header", "If-Match")
    }

    /// The answer to a conditional read of what has not changed. It has no body.
    pub(crate) fn not_modified() -> Self {
        Self::new(304, "notModified", "")
    }

    /// No credentials where some are needed.
    pub(crate) fn anonymous(permission: &str) -> Self {
        let message = format!(
            "Anonymous caller does not have {permission} access to the Google Cloud Storage \
             object. Permission '{permission}' denied on resource (or it may not exist)."
        );
        let mut problem = Self::new(401, "required", message).at("header", "Authorization");
        let realm = "Bearer realm=\"https://accounts.google.com/\"";
        problem.headers.push(("www-authenticate", realm.to_owned()));
        problem
    }

    /// A token that is not, or no longer, valid.
    pub(crate) fn bad_token() -> Self {
        let mut problem =
            Self::new(401, "authError", "Invalid Credentials").at("header", "Authorization");
        let realm = "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"";
        problem.headers.push(("www-authenticate", realm.to_owned()));
        problem
    }

    pub(crate) fn forbidden(permission: &str) -> Self {
        let message = format!(
            "The caller does not have {permission} access to the Google Cloud Storage object. \
             Permission '{permission}' denied on resource (or it may not exist)."
        );
        Self::new(403, "forbidden", message)
    }

    pub(crate) fn too_many_requests(retry_after_secs: u64) -> Self {
        let message = "The object exceeded the rate limit for object mutation operations (create, \
                       update, and delete). Please reduce your request rate.";
        let mut problem = Self::new(429, "rateLimitExceeded", message);
        problem.headers.push(("retry-after", retry_after_secs.to_string()));
        problem
    }

    pub(crate) fn internal() -> Self {
        let message = "We encountered an internal error. Please try again.";
        Self::new(500, "internalError", message)
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(503, "backendError", "Backend Error")
    }

    /// This server's own failure, which must not look like one of Google's.
    pub(crate) fn broken(why: impl fmt::Display) -> Self {
        Self::new(500, "internalError", format!("the test server failed: {why}"))
    }

    /// A failure of the folder under a bucket.
    pub(crate) fn of_store(error: &StoreError, bucket: &str, object: &str) -> Self {
        match error.kind {
            ErrorKind::NotFound => Self::no_object(bucket, object),
            ErrorKind::Lost => Self::precondition(),
            ErrorKind::Invalid => Self::invalid(error.to_string()),
            _ => {
                let cause = error.cause.as_ref().map(ToString::to_string).unwrap_or_default();
                Self::broken(format!("{error}: {cause}"))
            }
        }
    }

    /// Google's body for it.
    pub(crate) fn body(&self) -> Value {
        let mut entry =
            json!({ "message": self.message, "domain": "global", "reason": self.reason });
        if let Some((kind, name)) = &self.location {
            entry["locationType"] = json!(kind);
            entry["location"] = json!(name);
        }
        json!({ "error": { "code": self.status, "message": self.message, "errors": [entry] } })
    }

    /// What a failed download says: not JSON.
    pub(crate) fn text(&self) -> &str {
        &self.message
    }
}
