//! Who asks Google Cloud.

use serde_json::Value;

use super::finding::Finding;
use crate::failure::Exit;
use crate::google::{self, Found, LOGIN, Login};

/// Which credentials there are, and whose.
pub async fn look() -> Vec<Finding> {
    const WHAT: &str = "account";
    if let Some(endpoint) = google::endpoint() {
        return vec![Finding::good(
            WHAT,
            format!("nobody: {endpoint} is asked without credentials"),
        )];
    }
    let found = Found::look();
    if let Err(failure) = google::access() {
        return vec![Finding::failed(WHAT, &failure)];
    }
    match &found {
        Found::Named(path) | Found::Defaults(path) => {
            let whose = std::fs::read(path).ok().and_then(|data| whose(&data));
            let whose = whose.unwrap_or_else(|| "somebody".to_owned());
            vec![Finding::good(WHAT, format!("{whose}, by {}", path.display()))]
        }
        Found::Machine => {
            vec![Finding::good(WHAT, "this machine's service account, by its metadata server")]
        }
        Found::Gcloud(program) => match Login::ask(program).await {
            Ok(login) => {
                let account = login.account.unwrap_or_else(|| "somebody".to_owned());
                let project = login.project.unwrap_or_else(|| "none".to_owned());
                vec![
                    Finding::good(WHAT, format!("{account}, by gcloud's login")),
                    Finding::good("project", format!("{project}, in gcloud's settings")),
                ]
            }
            Err(error) => vec![Finding::bad(
                WHAT,
                format!("{error}, and there are no application default credentials"),
                Some(format!("run `{LOGIN}`")),
                Exit::NotAllowed,
            )],
        },
        // Said by the failure above.
        Found::Nothing => Vec::new(),
    }
}

/// Of whom a file of credentials speaks, as far as it says.
fn whose(data: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(data).ok()?;
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    Some(match json["type"].as_str()? {
        "service_account" => format!("service account {}", text("client_email")?),
        "authorized_user" => match text("account").filter(|account| !account.is_empty()) {
            Some(account) => account,
            None => "a user's login".to_owned(),
        },
        "impersonated_service_account" => {
            let url = text("service_account_impersonation_url")?;
            let name = url.rsplit('/').next()?.split(':').next()?;
            format!("service account {name}, impersonated")
        }
        "external_account" => format!("a federated identity, {}", text("audience")?),
        other => format!("credentials of the kind {other}"),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_says_whose_it_is() {
        let whose = |text: &str| super::whose(text.as_bytes()).unwrap();
        let key = r#"{"type":"service_account","client_email":"ci@shop.iam.gserviceaccount.com"}"#;
        assert_eq!(whose(key), "service account ci@shop.iam.gserviceaccount.com");
        assert_eq!(whose(r#"{"type":"authorized_user","account":""}"#), "a user's login");
        let impersonated = r#"{"type":"impersonated_service_account","service_account_impersonation_url":
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken"}"#;
        assert_eq!(whose(impersonated), "service account a@b, impersonated");
        let external = r#"{"type":"external_account","audience":"//iam.googleapis.com/x"}"#;
        assert_eq!(whose(external), "a federated identity, //iam.googleapis.com/x");
        assert_eq!(super::whose(b"no JSON"), None);
    }
}
