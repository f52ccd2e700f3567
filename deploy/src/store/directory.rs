//! x
use super::*;
use async_trait::async_trait;
use std::path::{Path, PathBuf};
/// x
#[derive(Debug)]
pub struct Directory(PathBuf);
impl Directory {
    /// x
    pub fn open(_path: impl Into<PathBuf>) -> Result<Self> {
        todo!()
    }
}
#[async_trait]
impl Store for Directory {
    fn url(&self) -> String {
        todo!()
    }
    async fn read(&self, _name: &str) -> Result<Object> {
        todo!()
    }
    async fn read_if_changed(&self, _name: &str, _seen: Generation) -> Result<Option<Object>> {
        todo!()
    }
    async fn read_generation(&self, _name: &str, _generation: Generation) -> Result<Object> {
        todo!()
    }
    async fn write(&self, _name: &str, _data: &[u8], _expect: Expect) -> Result<Generation> {
        todo!()
    }
    async fn stat(&self, _name: &str) -> Result<Option<Stat>> {
        todo!()
    }
    async fn list(&self, _prefix: &str) -> Result<Vec<Stat>> {
        todo!()
    }
    async fn versions(&self, _name: &str) -> Result<Vec<Generation>> {
        todo!()
    }
    async fn upload(
        &self,
        _name: &str,
        _from: &Path,
        _expect: Expect,
        _progress: Progress<'_>,
    ) -> Result<Generation> {
        todo!()
    }
    async fn download(
        &self,
        _name: &str,
        _to: &Path,
        _progress: Progress<'_>,
    ) -> Result<Generation> {
        todo!()
    }
    async fn delete(&self, _name: &str, _expect: Expect) -> Result<()> {
        todo!()
    }
    fn watch(&self, _name: &str) -> Result<Box<dyn Watch>> {
        todo!()
    }
}
