//! A part of a bucket as a bucket of its own: everything lies below a prefix.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deploy::store::{Expect, Generation, Object, Progress, Result, Stat, Store, Watch};

/// The part of a bucket below a prefix.
#[derive(Debug)]
pub struct Below {
    /// The bucket.
    pub bucket: Arc<dyn Store>,
    /// What each name begins with there.
    pub prefix: String,
}

impl Below {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[async_trait]
impl Store for Below {
    fn url(&self) -> String {
        self.bucket.url()
    }

    async fn read(&self, name: &str) -> Result<Object> {
        self.bucket.read(&self.name(name)).await
    }

    async fn read_if_changed(&self, name: &str, seen: Generation) -> Result<Option<Object>> {
        self.bucket.read_if_changed(&self.name(name), seen).await
    }

    async fn read_generation(&self, name: &str, generation: Generation) -> Result<Object> {
        self.bucket.read_generation(&self.name(name), generation).await
    }

    async fn write(&self, name: &str, data: &[u8], expect: Expect) -> Result<Generation> {
        self.bucket.write(&self.name(name), data, expect).await
    }

    async fn stat(&self, name: &str) -> Result<Option<Stat>> {
        let stat = self.bucket.stat(&self.name(name)).await?;
        Ok(stat.map(|stat| Stat { name: name.to_owned(), ..stat }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stat>> {
        let mut stats = self.bucket.list(&self.name(prefix)).await?;
        for stat in &mut stats {
            stat.name = stat.name[self.prefix.len()..].to_owned();
        }
        Ok(stats)
    }

    async fn versions(&self, name: &str) -> Result<Vec<Generation>> {
        self.bucket.versions(&self.name(name)).await
    }

    async fn upload(
        &self,
        name: &str,
        from: &Path,
        expect: Expect,
        progress: Progress<'_>,
    ) -> Result<Generation> {
        self.bucket.upload(&self.name(name), from, expect, progress).await
    }

    async fn download(&self, name: &str, to: &Path, progress: Progress<'_>) -> Result<Generation> {
        self.bucket.download(&self.name(name), to, progress).await
    }

    async fn delete(&self, name: &str, expect: Expect) -> Result<()> {
        self.bucket.delete(&self.name(name), expect).await
    }

    async fn erase(&self, name: &str, generation: Generation) -> Result<()> {
        self.bucket.erase(&self.name(name), generation).await
    }

    fn watch(&self, name: &str) -> Result<Box<dyn Watch>> {
        self.bucket.watch(&self.name(name))
    }

    fn write_interval(&self) -> Duration {
        self.bucket.write_interval()
    }
}
