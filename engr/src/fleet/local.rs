//! Agents on this machine.
use super::{Change, Instance, Provider};
use crate::config::AppConfig;
use crate::failure::{CommandResult, Failure};
use async_trait::async_trait;
use deploy::store::Store;
use std::sync::Arc;
/// x
#[derive(Debug)]
pub struct LocalFleetProvider;
impl LocalFleetProvider {
    pub fn new(_app: &str, _config: &AppConfig) -> CommandResult<Self> {
        Err(Failure::usage("x"))
    }
}
pub fn store_of(_app: &str) -> CommandResult<Arc<dyn Store>> {
    Err(Failure::usage("x"))
}
#[async_trait]
impl Provider for LocalFleetProvider {
    async fn instances(&self) -> CommandResult<Vec<Instance>> {
        todo!()
    }
    fn addresses(&self) -> Vec<String> {
        todo!()
    }
    async fn plan(&self) -> CommandResult<Vec<Change>> {
        todo!()
    }
    async fn apply(&self, _told: &(dyn Fn(&Change) + Send + Sync)) -> CommandResult<()> {
        todo!()
    }
    async fn destroy(&self, _told: &(dyn Fn(&Change) + Send + Sync)) -> CommandResult<()> {
        todo!()
    }
}
