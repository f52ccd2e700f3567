//! x
use crate::failure::{CommandResult, Failure};
pub fn run(_n: &str, _a: crate::cli::CreateArgs) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
