//! x
use crate::context::AppContext;
use crate::failure::{CommandResult, Failure};
pub async fn show(_app: &AppContext, _args: crate::cli::EnvArgs) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
pub async fn get(_app: &AppContext, _key: &str) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
pub async fn set(_app: &AppContext, _args: crate::cli::EnvSetArgs) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
pub async fn unset(_app: &AppContext, _args: crate::cli::EnvUnsetArgs) -> CommandResult {
    Err(Failure::usage("not here yet"))
}
