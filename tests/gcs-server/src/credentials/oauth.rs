//! The OAuth2 token endpoint: a login's refresh token, a service account's signed assertion, or
//! another provider's token in, an access token out.

use serde_json::{Value, json};

use super::Tokens;
use crate::answer::Answer;
use crate::call::Call;
use crate::params::Params;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// `POST /token`
pub(crate) fn token(tokens: &Tokens, call: &Call) -> Answer {
    match grant(tokens, call) {
        Ok(json) => Answer::json(200, &json, true),
        Err((error, why)) => {
            let json = json!({ "error": error, "error_description": why });
            Answer::json(400, &json, true)
        }
    }
}

type Refusal = (String, String);

fn grant(tokens: &Tokens, call: &Call) -> Result<Value, Refusal> {
    let refuse = |error: &str, why: &str| Err((error.to_owned(), why.to_owned()));
    let fields = fields(call).ok_or(("invalid_request".to_owned(), "Bad Request".to_owned()))?;
    let field = |name: &str| fields[name].as_str().filter(|text| !text.is_empty());
    if let Some(error) = tokens.refused_grants() {
        return refuse(&error, "Token has been expired or revoked.");
    }
    let needed: &[&str] = match field("grant_type") {
        Some("refresh_token") => &["client_id", "client_secret", "refresh_token"],
        Some(JWT_BEARER) => &["assertion"],
        Some(TOKEN_EXCHANGE) => {
            &["audience", "requested_token_type", "subject_token", "subject_token_type"]
        }
        other => {
            let told = other.unwrap_or_default();
            return refuse("unsupported_grant_type", &format!("Invalid grant_type: {told}"));
        }
    };
    if let Some(missing) = needed.iter().find(|name| field(name).is_none()) {
        return refuse("invalid_request", &format!("Missing required parameter: {missing}"));
    }
    let (token, lifetime) = tokens.issue(call.now);
    let mut json = json!({
        "access_token": token,
        "expires_in": lifetime.as_secs(),
        "token_type": "Bearer",
    });
    if field("grant_type") == Some(TOKEN_EXCHANGE) {
        json["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:access_token");
    }
    let scope = field("scope").or(field("scopes"));
    if let Some(scope) = scope {
        json["scope"] = json!(scope);
    }
    Ok(json)
}

/// A form's fields, or those of JSON: clients send either.
fn fields(call: &Call) -> Option<Value> {
    if call.header("content-type").is_some_and(|value| value.starts_with("application/json")) {
        return serde_json::from_slice(&call.body).ok();
    }
    let text = std::str::from_utf8(&call.body).ok()?;
    let pairs = Params::parse(text).ok()?.into_pairs().into_iter();
    Some(pairs.map(|(name, value)| (name, Value::String(value))).collect())
}
