//! What is known here of a release's way through the fleet, which the fleet conducts by itself.
//!
//! - [`heard`]: which instances have been silent for too long. Pure.
//! - [`story`]: what people are told. Pure.

mod heard;
mod story;

use deploy::layout;
use deploy::rollout::Progress;
use deploy::store::{ErrorKind, Store, with_tries};

use crate::failure::CommandResult;

pub use heard::Heard;
pub use story::{last_lines, plan_text, what_became};

/// How far the newest release is that an instance has begun to conduct; none where nobody has, or
/// what is there cannot be understood.
///
/// # Errors
/// What the store fails with.
pub async fn read_progress(store: &dyn Store) -> CommandResult<Option<Progress>> {
    match with_tries(async || store.read(layout::ROLLOUT).await).await {
        Ok(object) => Ok(Progress::from_object(&object.data).ok()),
        // The next conductor writes it anew.
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
