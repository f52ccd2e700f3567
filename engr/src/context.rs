//! The app that a command is about: its settings, its bucket, its fleet.

use std::path::PathBuf;
use std::sync::Arc;

use deploy::store::Store;

use crate::bucket;
use crate::config::{AppConfig, EngrFile};
use crate::failure::CommandResult;
use crate::fleet::{self, Provider};

/// An app of the `engr.json` found from here.
#[derive(Clone, Debug)]
pub struct AppContext {
    /// Its name.
    pub name: String,
    /// The file that it stands in.
    pub file: EngrFile,
    /// Its settings, checked.
    pub config: AppConfig,
}

impl AppContext {
    /// Finds `engr.json` in the current folder or a parent, and the app in it.
    pub fn find(name: &str) -> CommandResult<Self> {
        let file = EngrFile::find()?;
        let config = file.app(name)?;
        Ok(Self { name: name.to_owned(), file, config })
    }

    /// The folder of `engr.json`: paths in it start there.
    pub fn root(&self) -> PathBuf {
        self.file.folder().to_owned()
    }

    /// The app's bucket, made if it is a folder and missing.
    pub fn store(&self) -> CommandResult<Arc<dyn Store>> {
        bucket::store_of(&self.name, &self.config)
    }

    /// The app's instances.
    pub fn fleet(&self) -> CommandResult<Box<dyn Provider>> {
        self.fleet_of(self.store()?)
    }

    /// The app's instances, where its bucket is open already.
    pub fn fleet_of(&self, store: Arc<dyn Store>) -> CommandResult<Box<dyn Provider>> {
        fleet::provider_of(&self.name, &self.config, store)
    }

    /// Who publishes, `user@host`.
    pub fn actor(&self) -> String {
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let user = user.or_else(|| {
            nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name)
        });
        let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
        format!("{}@{}", user.as_deref().unwrap_or("unknown"), host.as_deref().unwrap_or("unknown"))
    }
}
