//! Who asks.

use std::fs::{self, File};
use std::path::PathBuf;

use deploy::store::gcs::{Access, Renewal, story};
use google_cloud_auth::credentials::{Builder, Credentials};

use super::gcloud;
use super::which::{Found, NAMED_BY};
use crate::failure::{CommandResult, Exit, Failure};

/// The command that makes application default credentials.
pub const LOGIN: &str = "gcloud auth application-default login";

/// The command that makes the account of `gcloud` one that can be asked.
const GCLOUD_LOGIN: &str = "gcloud auth login";

/// How to get at buckets with the credentials that were found. Some commands run for long: theirs
/// come back when they were refused.
pub fn access(found: &Found) -> CommandResult<Access> {
    let credentials = credentials(found)?;
    Ok(match found {
        Found::Gcloud(_) => Access::with_credentials(credentials),
        _ => {
            let again = || Builder::default().build();
            Access::with_renewal(Renewal::starting_with(credentials, again))
        }
    })
}

/// The credentials that were found.
fn credentials(found: &Found) -> CommandResult<Credentials> {
    match found {
        Found::Named(path) | Found::Defaults(path) => {
            let data = fs::read(path).map_err(|error| unusable(found, &error))?;
            if let Some(token) = token_file(&data)
                && let Err(error) = File::open(&token)
            {
                let what = format!("the token in {} cannot be read", token.display());
                return Err(unusable(found, &*anyhow::Error::new(error).context(what)));
            }
            Builder::default().build().map_err(|error| unusable(found, &error))
        }
        Found::Machine => Builder::default().build().map_err(|error| unusable(found, &error)),
        Found::Gcloud(program) => Ok(gcloud::credentials(program.clone())),
        Found::Nothing => Err(Failure::new(
            Exit::NotAllowed,
            anyhow::anyhow!("there are no credentials for Google Cloud on this machine"),
        )
        .hint(format!("run `{LOGIN}` (gcloud is part of the Google Cloud CLI)"))
        .hint(format!("or let {NAMED_BY} name a file of credentials, as in CI"))),
    }
}

/// Where credentials of a federated identity take another provider's token from, if from a file.
/// The library does not name it.
fn token_file(data: &[u8]) -> Option<PathBuf> {
    let json: serde_json::Value = serde_json::from_slice(data).ok()?;
    json["credential_source"]["file"].as_str().map(PathBuf::from)
}

fn unusable(found: &Found, error: &(dyn std::error::Error + 'static)) -> Failure {
    let whose = match found {
        Found::Named(path) => format!("the credentials in {} ({NAMED_BY})", path.display()),
        Found::Defaults(path) => format!("the credentials in {}", path.display()),
        _ => "the credentials of this machine".to_owned(),
    };
    let why = story(error);
    let failure = anyhow::anyhow!("cannot use {whose}: {why}");
    Failure::new(Exit::NotAllowed, failure).hint(match found {
        Found::Named(_) => format!("let {NAMED_BY} name a whole file of credentials"),
        _ => remedy(found),
    })
}

/// What to do when what was found is not taken.
pub fn remedy(found: &Found) -> String {
    match found {
        Found::Named(path) => format!(
            "put credentials that are good into {}, or let {NAMED_BY} name others",
            path.display()
        ),
        Found::Defaults(_) | Found::Nothing => format!("run `{LOGIN}`"),
        Found::Machine => {
            "see whether this machine has a service account, and whether it is enabled".to_owned()
        }
        Found::Gcloud(_) => format!("run `{GCLOUD_LOGIN}`, or `{LOGIN}`"),
    }
}
