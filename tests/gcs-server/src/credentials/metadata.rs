//! A virtual machine's metadata server, as far as clients look for credentials there.

use serde_json::json;

use super::Tokens;
use crate::answer::Answer;
use crate::call::Call;
use crate::problem::{Done, Problem};

const EMAIL: &str = "default@test-project.iam.gserviceaccount.com";
const PROJECT: &str = "test-project";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ACCOUNT: &str = "computeMetadata/v1/instance/service-accounts/";

/// `GET /computeMetadata/v1/…`
pub(crate) fn metadata(tokens: &Tokens, call: &mut Call) -> Done<Answer> {
    if call.header("metadata-flavor") != Some("Google") {
        let told = "Missing required header \"Metadata-Flavor\": \"Google\"";
        return Ok(marked(Answer::text(403, "text/html; charset=UTF-8", told)));
    }
    let mut params = std::mem::take(&mut call.params);
    let recursive = params.text("recursive")?.is_some_and(|v| v.eq_ignore_ascii_case("true"));
    // Which scopes the token should have: all of this server's tokens are good for all.
    params.text("scopes")?;
    params.text("alt")?;
    params.finish()?;
    let path = call.path.trim_start_matches('/');
    let account = path
        .strip_prefix(ACCOUNT)
        .map(|rest| rest.strip_prefix("default").or(rest.strip_prefix(EMAIL)).unwrap_or(rest));
    let text = |text: &str| Ok(marked(Answer::text(200, "application/text", text.to_owned())));
    match (account, path) {
        (Some("/token"), _) if tokens.refused_grants().is_some() => {
            let told = "The service account was not found.";
            Ok(marked(Answer::text(404, "text/html; charset=UTF-8", told)))
        }
        (Some("/token"), _) => {
            let (token, lifetime) = tokens.issue(call.now);
            let json = json!({ "access_token": token, "expires_in": lifetime.as_secs(),
                "token_type": "Bearer" });
            Ok(marked(Answer::json(200, &json, false)))
        }
        (Some("/"), _) if recursive => {
            let json = json!({ "aliases": ["default"], "email": EMAIL, "scopes": [SCOPE] });
            Ok(marked(Answer::json(200, &json, false)))
        }
        (Some("/"), _) => text("aliases\nemail\nidentity\nscopes\ntoken\n"),
        (Some("/email"), _) => text(EMAIL),
        (Some("/scopes"), _) => text(&format!("{SCOPE}\n")),
        (Some(""), _) => text(&format!("default/\n{EMAIL}/\n")),
        (None, "computeMetadata/v1/project/project-id") => text(PROJECT),
        (None, "computeMetadata/v1/project/numeric-project-id") => text("1"),
        (None, "computeMetadata/v1/universe/universe-domain") => text("googleapis.com"),
        (None, "computeMetadata/v1/instance/" | "computeMetadata/v1/" | "") => text(""),
        _ => Err(Problem::unknown(format_args!("GET {} of the metadata server", call.path))),
    }
}

/// By this header a client knows that it talks to a metadata server.
fn marked(answer: Answer) -> Answer {
    answer.with("metadata-flavor", "Google").with("server", "Metadata Server for VM")
}
