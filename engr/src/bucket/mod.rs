//! The app's bucket: where it is, and what makes it where there is none.

mod create;
mod location;

use std::sync::Arc;

use deploy::store::{Directory, Gcs, Store};

use crate::config::AppConfig;
use crate::failure::{CommandResult, Failure};
use crate::{fleet, google};

pub use create::ready;
pub use location::location;

/// The bucket of an app.
pub fn store_of(app: &str, config: &AppConfig) -> CommandResult<Arc<dyn Store>> {
    match gcs_of(app, config)? {
        Some(gcs) => Ok(Arc::new(gcs)),
        None => Ok(Arc::new(Directory::open(fleet::local_bucket(app)?)?)),
    }
}

/// The bucket of an app, if it is one of Cloud Storage.
pub fn gcs_of(app: &str, config: &AppConfig) -> CommandResult<Option<Gcs>> {
    let Some(url) = url(app, config)? else { return Ok(None) };
    let gcs = Gcs::from_url(&url, google::access()?);
    gcs.map(Some).map_err(|error| {
        Failure::from(error)
            .hint(format!("name another with `engr {app} config:set bucket gs://…`"))
    })
}

/// `gs://…`; none for a folder of this machine.
pub fn url(app: &str, config: &AppConfig) -> CommandResult<Option<String>> {
    match (&config.bucket, config.project.as_deref()) {
        (Some(url), _) => Ok(Some(url.clone())),
        (None, Some(_)) if config.is_local() => Ok(None),
        // Of `example.com:shop`, a project of a domain, no bucket can have the whole name.
        (None, Some(project)) => {
            Ok(Some(format!("gs://{}-{app}", project.replace([':', '.'], "-"))))
        }
        (None, None) => Err(Failure::usage(format!("nothing says where {app} runs"))
            .hint(format!("`engr {app} config:set project local`: on this machine"))
            .hint(format!("`engr {app} config:set project ID`: in that Google Cloud project"))),
    }
}

/// Removes an app's bucket, with all its releases. Its instances must be gone.
pub async fn remove(app: &str, config: &AppConfig) -> CommandResult<()> {
    match gcs_of(app, config)? {
        Some(gcs) => Ok(gcs.remove_with_all().await?),
        None => fleet::remove_local_bucket(app),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_after_its_project_and_app() {
        let url = |project: &str, bucket: Option<&str>| {
            let (project, bucket) = (Some(project.to_owned()), bucket.map(str::to_owned));
            super::url("web", &AppConfig { project, bucket, ..AppConfig::default() }).unwrap()
        };
        assert_eq!(url("local", None), None);
        assert_eq!(url("shop", None).as_deref(), Some("gs://shop-web"));
        assert_eq!(url("example.com:shop", None).as_deref(), Some("gs://example-com-shop-web"));
        assert_eq!(url("local", Some("gs://b-1")).as_deref(), Some("gs://b-1"));
        assert!(super::url("web", &AppConfig::default()).is_err());
    }
}
