//! x
use crate::failure::{CommandResult, Failure};
pub enum Environment {
    Deployed,
    Shell,
}
pub async fn run(
    _app: &crate::context::AppContext,
    _args: crate::cli::ServeArgs,
    _e: Environment,
) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
