//! What befell, in one line: the libraries' chains of causes tell most of it twice, and much about
//! themselves.

use std::error::Error;

use serde_json::Value;

/// What only leads to the cause. It is left out, unless it is the last word.
const WRAPPERS: [&str; 12] = [
    "Could not fetch an auth token to authenticate with Google Cloud",
    "cannot create auth headers",
    "cannot create the authentication headers",
    "Fetching the token resulted in",
    "Request to fetch the token failed",
    "failed to fetch token",
    "the transport reports an error",
    "error sending request",
    "client error (",
    "tcp connect error",
    "dns error",
    "error resolving DNS",
];

/// What the libraries say in front of a cause.
const PREFIXES: [&str; 2] = ["unexpected error: ", "cannot create the authentication headers "];

/// What they say behind it, of calls that they would make.
const SUFFIXES: [&str; 2] =
    [" and future attempts will not succeed", " but future attempts may succeed"];

/// One level of the chain.
struct Level {
    text: String,
    /// The service has told why: what lies below says only that it did.
    is_told: bool,
}

/// What befell, from a chain of causes most of which say their own causes too, and which begins
/// with words of the libraries about themselves. One line.
pub fn story(error: &(dyn Error + 'static)) -> String {
    let mut levels = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        levels.push(Level::of(&error.to_string()));
        if levels.last().is_some_and(|level| level.is_told) {
            break;
        }
        next = error.source();
    }
    let mut story: Vec<&str> = Vec::new();
    for (at, Level { text, .. }) in levels.iter().enumerate() {
        let below = levels.get(at + 1);
        let is_wrapper = || WRAPPERS.iter().any(|wrapper| text.starts_with(wrapper));
        let is_repeated = below.is_some_and(|below| below.text.starts_with(&**text));
        if is_repeated || (below.is_some() && is_wrapper()) {
            continue;
        }
        let own =
            below.map_or(text.as_str(), |below| text.strip_suffix(&*below.text).unwrap_or(text));
        let own = own.trim_end_matches([':', ' ']);
        if !own.is_empty() && story.last() != Some(&own) {
            story.push(own);
        }
    }
    story.join(": ")
}

impl Level {
    fn of(text: &str) -> Self {
        let mut text = text.trim();
        text = SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix)).unwrap_or(text);
        text = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let told = answered(text).or_else(|| reported(text));
        let is_told = told.is_some();
        let text = told.as_deref().unwrap_or(text);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { text: text.trim_end_matches('.').to_owned(), is_told }
    }
}

/// `what, body=<…>`
fn answered(text: &str) -> Option<String> {
    let (what, body) = text.split_once(", body=<")?;
    let told = told(body.strip_suffix('>').unwrap_or(body));
    (!told.is_empty()).then(|| format!("{what}: {told}"))
}

/// `the HTTP transport reports a [404] error: what :b"…"`
fn reported(text: &str) -> Option<String> {
    let (before, after) = text.split_once("the HTTP transport reports a [")?;
    let (status, rest) = after.split_once("] error: ")?;
    let (what, body) = rest.split_once(" :b\"")?;
    let body = body.strip_suffix('"').unwrap_or(body).replace("\\n", " ").replace("\\\"", "\"");
    let told = format!("HTTP {status}: {}", told(&body));
    Some(if before.is_empty() { format!("{what}: {told}") } else { format!("{before}{told}") })
}

/// What an answer's body says: OAuth2's error, that of Google's APIs, or its text.
fn told(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let parts = match text(&json["error"]["message"]) {
        Some(message) => vec![message],
        None => [&json["error"], &json["error_description"]].into_iter().filter_map(text).collect(),
    };
    if parts.is_empty() { body.trim().to_owned() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(String, #[source] Box<dyn Error + Send + Sync>);

    /// A chain of these texts, the cause last.
    fn told(texts: &[&str]) -> String {
        let (last, before) = texts.split_last().unwrap();
        let last: Box<dyn Error + Send + Sync> = Box::new(io::Error::other(*last));
        let chain = before
            .iter()
            .rev()
            .fold(last, |cause, text| Box::new(Layer((*text).to_owned(), cause)) as Box<_>);
        story(&*chain)
    }

    #[test]
    fn a_story_is_told_once() {
        let refused = "GET http://x: connection refused";
        let chain = ["cannot create auth headers", "failed to fetch token", refused, refused];
        assert_eq!(told(&chain), refused);
        assert_eq!(told(&["GET http://x: refused", "refused"]), "GET http://x: refused");
        let plain = "cannot create auth headers";
        assert_eq!(told(&[plain]), plain, "the last word is never left out");
    }

    #[test]
    fn what_was_answered_is_the_story() {
        let body = "failed to refresh user access token, body=<{\n  \"error\": \"invalid_grant\",\n  \
                    \"error_description\": \"Token has been revoked.\"\n}> and future attempts will \
                    not succeed";
        let chain = [
            "Request to fetch the token failed. More. and future attempts will not succeed",
            body,
            "HTTP status client error (400 Bad Request) for url (https://x/token)",
        ];
        let short = "failed to refresh user access token: invalid_grant: Token has been revoked";
        assert_eq!(told(&chain), short);
        let wrapped = format!("cannot create the authentication headers {body}");
        assert_eq!(told(&[chain[0], &wrapped, chain[1], chain[2]]), short);
        let body = r#"failed to fetch token, body=<{"error": {"message": "no such account"}}>"#;
        assert_eq!(told(&[body, "404"]), "failed to fetch token: no such account");
        let body = "failed to fetch token, body=<<html> away </html>\n>";
        assert_eq!(told(&[body, "502"]), "failed to fetch token: <html> away </html>");
        assert_eq!(told(&["failed to fetch token, body=<>", "HTTP 502"]), "HTTP 502");
    }

    #[test]
    fn a_machine_without_an_account_is_a_short_story() {
        let chain = [
            "Could not fetch an auth token to authenticate with Google Cloud. The most common … \
             and future attempts will not succeed",
            "failed to fetch access token and future attempts will not succeed",
            "the HTTP transport reports a [404] error: failed to fetch access token :b\"It was not \
             found.\\n\"",
        ];
        let short = "failed to fetch access token: HTTP 404: It was not found";
        assert_eq!(told(&chain), short);
        assert_eq!(
            told(&chain[..1]).split_once('.').unwrap().0,
            "Could not fetch an auth token to authenticate with Google Cloud"
        );
    }

    #[test]
    fn how_a_connection_failed_is_said_without_its_layers() {
        let chain = [
            "error sending request",
            "client error (Connect)",
            "tcp connect error",
            "Connection refused (os error 111)",
        ];
        assert_eq!(told(&chain), "Connection refused (os error 111)");
        let chain = [
            "error sending request",
            "client error (Connect)",
            "invalid peer certificate: UnknownIssuer",
        ];
        assert_eq!(told(&chain), "invalid peer certificate: UnknownIssuer");
    }
}
