//! x
use crate::failure::{CommandResult, Failure};
pub async fn run(
    _app: &crate::context::AppContext,
    _args: Vec<std::ffi::OsString>,
) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
