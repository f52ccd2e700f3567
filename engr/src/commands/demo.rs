//! x
use crate::failure::{CommandResult, Failure};
pub async fn run(_args: crate::cli::DemoArgs) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
