//! The instances' reports, read again only where they changed.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};

use crate::layout;
use crate::report::Report;
use crate::store::{ErrorKind, Generation, Result, Stat, Store, with_tries};

/// How many reports are read at a time.
const READS_MAX: usize = 16;

/// One instance's report, if it is still there.
async fn read(
    store: &dyn Store,
    stat: Stat,
) -> Result<Option<(String, (Generation, Option<Report>))>> {
    let name = stat.name.strip_prefix(layout::INSTANCES).unwrap_or(&stat.name).to_owned();
    match with_tries(async || store.read(&stat.name).await).await {
        Ok(object) => Ok(Some((name, (object.generation, Report::from_object(&object.data).ok())))),
        Err(error) if error.kind == ErrorKind::Corrupt => Ok(Some((name, (stat.generation, None)))),
        // Its instance was removed since the listing.
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

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
        let changed = listed.into_iter().filter(|stat| {
            let name = stat.name.strip_prefix(layout::INSTANCES);
            let known = name.map(|name| self.by_name.get(name));
            known.is_some_and(|known| known.is_none_or(|(seen, _)| *seen != stat.generation))
        });
        // A fleet's worth of them, across a network: not one after the other.
        let reads = stream::iter(changed.collect::<Vec<_>>());
        let mut reads = reads.map(|stat| read(store, stat)).buffer_unordered(READS_MAX);
        while let Some(read) = reads.next().await {
            self.by_name.extend(read?);
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
