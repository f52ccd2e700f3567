//! `engr <app> restart`: the same release again, so that every instance starts it anew.

use crate::cli::PublishArgs;
use crate::context::AppContext;
use crate::failure::CommandResult;
use crate::publish;

/// Restarts every instance by overlap.
pub async fn run(app: &AppContext, args: PublishArgs) -> CommandResult {
    publish::restart(app, &args).await
}
