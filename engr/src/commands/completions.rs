//! x
use crate::failure::{CommandResult, Failure};
pub fn run(_s: clap_complete::Shell) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
