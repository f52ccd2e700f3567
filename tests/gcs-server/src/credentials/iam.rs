//! Impersonation: a token of a service account's, for whoever holds one already.

use deploy::Timestamp;
use serde_json::{Value, json};

use super::Tokens;
use crate::call::Call;
use crate::objects::refuse_rest;
use crate::problem::{Done, Problem};

/// `POST /v1/projects/-/serviceAccounts/EMAIL:generateAccessToken`
pub(crate) fn generate_access_token(tokens: &Tokens, call: &Call) -> Done<Value> {
    let mut json = call.json()?;
    let scope = json.remove("scope").unwrap_or_default();
    if scope.as_array().is_none_or(Vec::is_empty) {
        return Err(Problem::invalid("Request contains an invalid argument: scope."));
    }
    // Who stands between, and for how long: the lifetime is the one that the test has set.
    json.remove("delegates");
    json.remove("lifetime");
    refuse_rest(&json)?;
    let (token, lifetime) = tokens.issue(call.now);
    let end = call.now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
    Ok(json!({ "accessToken": token, "expireTime": format!("{end:.0}") }))
}
