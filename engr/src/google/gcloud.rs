//! The account that `gcloud auth login` has left: `gcloud` is asked for its token.
//!
//! `gcloud` takes about two seconds to start, so a token is kept for as long as it is good. It is
//! kept in memory alone.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use deploy::Timestamp;
use google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, EntityTag,
};
use google_cloud_auth::errors::CredentialsError;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::Mutex;

/// The longest that `gcloud` may take: it may have to fetch a new token.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A token is asked for anew so long before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(120);

/// What `gcloud` knows of its active account.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who.
    pub account: Option<String>,
    /// The project that is set in it.
    pub project: Option<String>,
    token: String,
    expires: Timestamp,
}

/// What `gcloud config config-helper --format=json` prints.
#[derive(Deserialize)]
struct Helper {
    credential: Credential,
    #[serde(default)]
    configuration: Configuration,
}

#[derive(Deserialize)]
struct Credential {
    access_token: String,
    token_expiry: Timestamp,
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    properties: Properties,
}

#[derive(Default, Deserialize)]
struct Properties {
    #[serde(default)]
    core: Core,
}

#[derive(Default, Deserialize)]
struct Core {
    account: Option<String>,
    project: Option<String>,
}

impl Login {
    /// Asks the `gcloud` at `program`.
    ///
    /// # Errors
    /// What `gcloud` says, above all that nobody is logged in.
    pub async fn ask(program: &std::path::Path) -> Result<Self, GcloudError> {
        let mut command = Command::new(program);
        command.args(["config", "config-helper", "--format=json", "--quiet"]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(ANSWER_WITHIN, command.output()).await {
            Ok(output) => output.map_err(GcloudError::Start)?,
            Err(_) => return Err(GcloudError::Slow),
        };
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(GcloudError::Refused(its_words(line).to_owned()));
        }
        let Helper { credential, configuration } =
            serde_json::from_slice(&output.stdout).map_err(GcloudError::Answer)?;
        let Core { account, project } = configuration.properties.core;
        let Credential { access_token, token_expiry } = credential;
        Ok(Self { account, project, token: access_token, expires: token_expiry })
    }

    fn is_good(&self, now: Timestamp) -> bool {
        now + RENEW_BEFORE < self.expires
    }
}

/// Without what it says of itself: `ERROR: (gcloud.config.config-helper) …`
fn its_words(line: &str) -> &str {
    let line = line.trim().trim_start_matches("ERROR: ");
    let rest = line.strip_prefix("(gcloud").and_then(|line| line.split_once(") "));
    rest.map_or(line, |(_, rest)| rest).trim_end_matches('.')
}

/// Why `gcloud` gives no token.
#[derive(Debug, thiserror::Error)]
pub enum GcloudError {
    /// It does not start.
    #[error("gcloud cannot be run")]
    Start(#[source] std::io::Error),
    /// It does not answer.
    #[error("gcloud has given no token within {} s", ANSWER_WITHIN.as_secs())]
    Slow,
    /// It says no.
    #[error("gcloud gives no token: {0}")]
    Refused(String),
    /// It says something else.
    #[error("gcloud's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// Credentials that ask the `gcloud` at `program`.
pub fn credentials(program: PathBuf) -> Credentials {
    Credentials::from(Gcloud { program, last: Mutex::new(None) })
}

/// Asks `gcloud`, one question at a time.
#[derive(Debug)]
struct Gcloud {
    program: PathBuf,
    last: Mutex<Option<(Login, EntityTag)>>,
}

impl CredentialsProvider for Gcloud {
    async fn headers(
        &self,
        _: http::Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|(login, _)| !login.is_good(Timestamp::now())) {
            let login = Login::ask(&self.program).await;
            // Whoever asks for a bucket tries again by himself, and a login does not come meanwhile.
            let login = login.map_err(|error| CredentialsError::from_source(false, error))?;
            *last = Some((login, EntityTag::new()));
        }
        let Some((login, tag)) = &*last else { unreachable!("it was just filled") };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", login.token))
            .map_err(|error| CredentialsError::from_source(false, error))?;
        value.set_sensitive(true);
        let data = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        Ok(CacheableResource::New { entity_tag: tag.clone(), data })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A `gcloud` that counts its calls and prints `answer`.
    fn gcloud(folder: &Path, script: &str) -> PathBuf {
        use std::io::Write;
        let path = folder.join("gcloud");
        // Written by another process: what this one has open to write, a child that another test
        // starts in this moment has too, and then it cannot be executed.
        let mut writer = std::process::Command::new("sh");
        writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(&path);
        let mut writer = writer.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let text = format!("#!/bin/sh\necho called >>{}/calls\n{script}\n", folder.display());
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        path
    }

    fn calls(folder: &Path) -> usize {
        std::fs::read_to_string(folder.join("calls")).unwrap().lines().count()
    }

    async fn bearer(credentials: &Credentials) -> String {
        let got = credentials.headers(http::Extensions::new()).await.unwrap();
        let CacheableResource::New { data, .. } = got else { panic!("{got:?}") };
        data[AUTHORIZATION].to_str().unwrap().to_owned()
    }

    fn answer(expires: Timestamp) -> String {
        format!(
            r#"cat <<'EOF'
{{"configuration":{{"active_configuration":"default","properties":{{"core":{{"account":"ann@example.com","project":"shop"}}}}}},
"credential":{{"access_token":"ya29.x","id_token":"y","token_expiry":"{expires}"}}}}
EOF"#
        )
    }

    #[tokio::test]
    async fn a_token_is_kept_while_it_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let good = answer(Timestamp::now() + Duration::from_secs(3_600));
        let credentials = credentials(gcloud(folder.path(), &good));
        for _ in 0..3 {
            assert_eq!(bearer(&credentials).await, "Bearer ya29.x");
        }
        assert_eq!(calls(folder.path()), 1);
        let login = Login::ask(&folder.path().join("gcloud")).await.unwrap();
        assert_eq!(login.account.as_deref(), Some("ann@example.com"));
        assert_eq!(login.project.as_deref(), Some("shop"));
    }

    #[tokio::test]
    async fn a_token_near_its_end_is_asked_for_anew() {
        let folder = tempfile::tempdir().unwrap();
        let soon = answer(Timestamp::now() + Duration::from_secs(60));
        let credentials = credentials(gcloud(folder.path(), &soon));
        bearer(&credentials).await;
        bearer(&credentials).await;
        assert_eq!(calls(folder.path()), 2);
    }

    #[tokio::test]
    async fn without_a_login_it_says_what_gcloud_says() {
        let folder = tempfile::tempdir().unwrap();
        let program =
            gcloud(folder.path(), "echo 'ERROR: (gcloud.config) no active account.' >&2; exit 1");
        let error = Login::ask(&program).await.unwrap_err();
        assert_eq!(error.to_string(), "gcloud gives no token: no active account");
        let error = credentials(program).headers(http::Extensions::new()).await.unwrap_err();
        assert!(!error.is_transient());
    }
}
