//! x
use crate::failure::{CommandResult, Failure};
pub fn run(_json: bool) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
