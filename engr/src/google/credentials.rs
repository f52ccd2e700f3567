//! Who asks.

use google_cloud_auth::credentials::{Builder, Credentials};

use super::gcloud;
use super::which::{Found, NAMED_BY};
use crate::failure::{CommandResult, Exit, Failure};

/// The command that makes application default credentials.
pub const LOGIN: &str = "gcloud auth application-default login";

/// The credentials that were found.
pub fn credentials(found: &Found) -> CommandResult<Credentials> {
    match found {
        Found::Named(_) | Found::Defaults(_) | Found::Machine => {
            Builder::default().build().map_err(|error| unusable(found, error))
        }
        Found::Gcloud(program) => Ok(gcloud::credentials(program.clone())),
        Found::Nothing => Err(Failure::new(
            Exit::NotAllowed,
            anyhow::anyhow!("there are no credentials for Google Cloud on this machine"),
        )
        .hint(format!("run `{LOGIN}` (gcloud is part of the Google Cloud CLI)"))
        .hint(format!("or let {NAMED_BY} name a file of credentials, as in CI"))),
    }
}

fn unusable(found: &Found, error: google_cloud_auth::build_errors::Error) -> Failure {
    let whose = match found {
        Found::Named(path) => format!("the credentials in {} ({NAMED_BY})", path.display()),
        Found::Defaults(path) => format!("the credentials in {}", path.display()),
        _ => "the credentials of this machine".to_owned(),
    };
    let failure = Failure::new(
        Exit::NotAllowed,
        anyhow::Error::new(error).context(format!("cannot use {whose}")),
    );
    match found {
        Found::Named(_) => failure.hint(format!("let {NAMED_BY} name a whole file of credentials")),
        _ => failure.hint(format!("run `{LOGIN}`")),
    }
}
