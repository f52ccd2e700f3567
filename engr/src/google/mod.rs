//! Google Cloud: where it is, and who asks it.
//!
//! ```text
//!   --endpoint, STORAGE_EMULATOR_HOST ──▶ anonymous
//!   else, the first that there is:
//!     GOOGLE_APPLICATION_CREDENTIALS      any form that google-cloud-auth knows
//!     gcloud's application defaults       the same
//!     the metadata server                 on Google's machines
//!     gcloud's active account             asked for a token each time one ends
//! ```

mod credentials;
mod gcloud;
mod which;

use std::sync::OnceLock;

use deploy::store::gcs::{Access, EMULATOR_VARIABLE, emulator};

use crate::failure::CommandResult;

pub use gcloud::Login;
pub use which::Found;

/// `--endpoint`, which holds for the whole command.
static ENDPOINT: OnceLock<Option<String>> = OnceLock::new();

/// How often this program's own watches ask: a person waits for what they tell.
const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// Notes what the command line says. Once, before anything is asked.
pub fn set_endpoint(endpoint: Option<String>) {
    // A second word would be a defect of ours, and the first holds.
    let _ = ENDPOINT.set(endpoint);
}

/// Where Cloud Storage is, if not where Google has it.
pub fn endpoint() -> Option<String> {
    let given = ENDPOINT.get().cloned().flatten();
    let variable = || std::env::var(EMULATOR_VARIABLE).ok();
    given.or_else(variable).and_then(|text| emulator(&text))
}

/// How to get at buckets. The same for the whole command: a token that was fetched once is good
/// for all of it.
pub fn access() -> CommandResult<Access> {
    static ACCESS: OnceLock<Access> = OnceLock::new();
    if let Some(access) = ACCESS.get() {
        return Ok(access.clone());
    }
    let access = match endpoint() {
        Some(endpoint) => Access::anonymous(endpoint),
        None => credentials::access(&Found::look())?,
    };
    Ok(ACCESS.get_or_init(|| access.polling_every(POLL_INTERVAL)).clone())
}

/// What to do when the credentials are not taken.
pub fn remedy() -> String {
    match endpoint() {
        Some(endpoint) => format!("{endpoint} is asked without credentials, and wants some"),
        None => credentials::remedy(&Found::look()),
    }
}
