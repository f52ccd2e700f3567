//! x
use crate::context::AppContext;
use crate::failure::{CommandResult, Failure};
pub fn schema() -> CommandResult {
    Err(Failure::usage("not here yet"))
}
pub fn show(_app: &AppContext, _json: bool) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
pub fn get(_app: &AppContext, _key: &str) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
pub async fn set(_app: AppContext, _args: crate::cli::ConfigSetArgs) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
pub async fn unset(_app: AppContext, _key: &str, _stage: bool) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
