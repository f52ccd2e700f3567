//! x
use crate::failure::{CommandResult, Failure};
pub async fn run(
    _app: &crate::context::AppContext,
    _args: crate::cli::RollbackArgs,
) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
