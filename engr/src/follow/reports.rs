//! The instances' reports, read again only where they changed.

use std::collections::BTreeMap;

use deploy::layout;
use deploy::report::Report;
use deploy::store::{ErrorKind, Generation, Result, Store, with_tries};

/// Every instance's newest report.
#[derive(Debug, Default)]
pub struct Reports {
    /// By instance: the generation that was read last, and the report if it could be read.
    by_name: BTreeMap<String, (Generation, Option<Report>)>,
}

impl Reports {
    /// Lists the reports, and reads those that changed since the last call.
    ///
    /// One that is damaged counts as none: its instance writes it anew with its next word.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn refresh(&mut self, store: &dyn Store) -> Result<()> {
        let listed = with_tries(async || store.list(layout::INSTANCES).await).await?;
        self.by_name
            .retain(|name, _| listed.iter().any(|stat| stat.name == layout::instance(name)));
        for stat in listed {
            let Some(name) = stat.name.strip_prefix(layout::INSTANCES) else { continue };
            if self.by_name.get(name).is_some_and(|(seen, _)| *seen == stat.generation) {
                continue;
            }
            let read = match with_tries(async || store.read(&stat.name).await).await {
                Ok(object) => (object.generation, Report::from_object(&object.data).ok()),
                Err(error) if error.kind == ErrorKind::Corrupt => (stat.generation, None),
                // Its instance was removed since the listing.
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            self.by_name.insert(name.to_owned(), read);
        }
        Ok(())
    }

    /// All of them that can be read, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Report)> {
        self.by_name
            .iter()
            .filter_map(|(name, (_, report))| Some((name.as_str(), report.as_ref()?)))
    }

    /// The report of one instance.
    pub fn get(&self, name: &str) -> Option<&Report> {
        self.by_name.get(name).and_then(|(_, report)| report.as_ref())
    }
}
