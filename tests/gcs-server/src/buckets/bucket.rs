//! One bucket: its facts, its versions, and their bytes in a [`Directory`].

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use deploy::Timestamp;
use deploy::layout;
use deploy::store::{Directory, ErrorKind, Expect, Generation, Store, StoreError};
use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;

use super::facts::Facts;
use super::index::Index;
use crate::objects::{Draft, Version};
use crate::preconditions::Preconditions;
use crate::problem::{Done, Problem};

/// A bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    folder: PathBuf,
    data: Directory,
    state: Mutex<State>,
    /// Changes of one object go one by one; those of different ones side by side.
    orders: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug)]
struct State {
    facts: Facts,
    index: Index,
}

/// Where the bytes lie in a bucket's folder.
pub(crate) fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

impl Bucket {
    /// Opens the bucket in `folder`, whose facts are there.
    pub(crate) async fn open(folder: PathBuf, name: &str) -> io::Result<Self> {
        let facts = Facts::read(&folder)?;
        let data = Directory::open(data_folder(&folder)).map_err(io::Error::other)?;
        let index = Index::open(&folder)?;
        let state = Mutex::new(State { facts, index });
        let orders = Mutex::default();
        let bucket = Self { name: name.to_owned(), folder, data, state, orders };
        bucket.reconcile().await?;
        Ok(bucket)
    }

    /// Brings the index to what the folder holds: a server can have been killed between the two,
    /// and instances' reports are pruned there.
    async fn reconcile(&self) -> io::Result<()> {
        let base = self.facts().generation_base();
        let live = self.data.list("").await.map_err(io::Error::other)?;
        let mut names: Vec<String> = self.lock().index.names().cloned().collect();
        for stat in &live {
            let generation = base + stat.generation.0;
            if self.lock().index.version(&stat.name, generation).is_none() {
                let object = self.data.read(&stat.name).await.map_err(io::Error::other)?;
                let now = Timestamp::now();
                let record = Draft::default().record(&object.data, false, now);
                let record =
                    record.map_err(|problem| io::Error::other(problem.text().to_owned()))?;
                let mut state = self.lock();
                let keep = state.facts.settings.versioning();
                state.index.retire(&stat.name, keep, now)?;
                let name = stat.name.clone();
                state.index.keep(Version { name, generation, record, noncurrent: None })?;
            }
        }
        names.retain(|name| live.iter().all(|stat| stat.name != *name));
        for name in names {
            let mut state = self.lock();
            let keep = state.facts.settings.versioning();
            state.index.retire(&name, keep, Timestamp::now())?;
        }
        let names: Vec<String> = self.lock().index.names().cloned().collect();
        for name in names {
            self.forget_pruned(&name).await?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other change of this object is under way.
    async fn order(&self, name: &str) -> OwnedMutexGuard<()> {
        let order = {
            let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(orders.entry(name.to_owned()).or_default())
        };
        order.lock_owned().await
    }

    /// The bucket's facts.
    pub(crate) fn facts(&self) -> Facts {
        self.lock().facts.clone()
    }

    /// Replaces the facts by what `change` makes of them, and writes them down.
    pub(crate) fn change_facts(&self, change: impl FnOnce(&Facts) -> Done<Facts>) -> Done<Facts> {
        let mut state = self.lock();
        let facts = change(&state.facts)?;
        facts.write(&self.folder).map_err(Problem::broken)?;
        state.facts = facts.clone();
        Ok(facts)
    }

    /// Whether it holds no version at all, live or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().index.all().next().is_none()
    }

    /// The live version, or the one of this generation.
    pub(crate) fn find(&self, name: &str, generation: Option<u64>) -> Done<Version> {
        let state = self.lock();
        let found = match generation {
            None => state.index.live(name),
            Some(generation) => state.index.version(name, generation),
        };
        found.cloned().ok_or_else(|| Problem::no_object(&self.name, name))
    }

    /// Fails where a change of the live version would be lost.
    pub(crate) fn check_change(&self, name: &str, expected: Preconditions) -> Done<()> {
        let state = self.lock();
        let live = state.index.live(name);
        let (generation, metageneration) =
            live.map_or((0, 0), |live| (live.generation, live.record.metageneration));
        expected.check_change(generation, metageneration)
    }

    /// Calls `see` with all versions by name, and each name's oldest first.
    pub(crate) fn each(&self, see: impl FnMut(&Version)) {
        self.lock().index.all().for_each(see);
    }

    /// A version's bytes.
    pub(crate) async fn read(&self, version: &Version) -> Done<Bytes> {
        let generation = self.inner_generation(version.generation);
        let read = self.data.read_generation(&version.name, generation).await;
        let object = read.map_err(|error| self.failed(&error, &version.name))?;
        Ok(object.data.into())
    }

    /// Writes a new live version.
    pub(crate) async fn write(
        &self,
        name: &str,
        draft: &Draft,
        bytes: &[u8],
        expected: Preconditions,
        now: Timestamp,
    ) -> Done<Version> {
        let _order = self.order(name).await;
        self.check_change(name, expected)?;
        let (live, settings) = {
            let state = self.lock();
            (state.index.live(name).cloned(), state.facts.settings.clone())
        };
        if let Some(live) = &live {
            self.check_held(live, now)?;
        }
        let record = draft.record(bytes, settings.default_event_based_hold(), now)?;
        let expect = match &live {
            Some(live) => Expect::Generation(self.inner_generation(live.generation)),
            None => Expect::Absent,
        };
        let written = self.data.write(name, bytes, expect).await;
        let written = written.map_err(|error| self.failed(&error, name))?;
        let version = {
            let mut state = self.lock();
            let generation = state.facts.generation_base() + written.0;
            let version = Version { name: name.to_owned(), generation, record, noncurrent: None };
            let retired = state.index.retire(name, settings.versioning(), now);
            retired.and_then(|()| state.index.keep(version.clone())).map_err(Problem::broken)?;
            version
        };
        if name.starts_with(layout::FLEET) {
            self.forget_pruned(name).await.map_err(Problem::broken)?;
        }
        Ok(version)
    }

    /// Changes a version's metadata.
    pub(crate) async fn patch(
        &self,
        name: &str,
        generation: Option<u64>,
        json: Map<String, Value>,
        expected: Preconditions,
        now: Timestamp,
    ) -> Done<Version> {
        let _order = self.order(name).await;
        let mut version = self.find(name, generation)?;
        expected.check_change(version.generation, version.record.metageneration)?;
        version.record = version.record.patched(json, now)?;
        self.lock().index.keep(version.clone()).map_err(Problem::broken)?;
        Ok(version)
    }

    /// Takes the live version away, which stays as an older one where versioning is on; or one
    /// version for good.
    pub(crate) async fn delete(
        &self,
        name: &str,
        generation: Option<u64>,
        expected: Preconditions,
        now: Timestamp,
    ) -> Done<()> {
        let _order = self.order(name).await;
        let version = self.find(name, generation)?;
        expected.check_change(version.generation, version.record.metageneration)?;
        let keep = generation.is_none() && self.facts().settings.versioning();
        self.check_held(&version, now)?;
        if version.noncurrent.is_none() {
            let expect = Expect::Generation(self.inner_generation(version.generation));
            let deleted = self.data.delete(name, expect).await;
            deleted.map_err(|error| self.failed(&error, name))?;
        }
        let mut state = self.lock();
        let done = if keep {
            state.index.retire(name, true, now)
        } else {
            // The bytes stay in the folder, where nobody finds them.
            state.index.drop(name, version.generation)
        };
        done.map_err(Problem::broken)
    }

    /// Carries out the lifecycle rules. Gives how many versions they made older or took away.
    pub(crate) async fn apply_lifecycle(&self, now: Timestamp) -> Done<usize> {
        let rules = self.facts().settings.lifecycle()?;
        let mut condemned = Vec::new();
        {
            let state = self.lock();
            for name in state.index.names() {
                let versions = state.index.versions(name);
                let newer = (0..versions.len()).rev();
                condemned.extend(versions.iter().zip(newer).filter_map(|(version, newer)| {
                    let deletes = rules.iter().any(|rule| rule.deletes(version, newer, now));
                    deletes.then(|| version.clone())
                }));
            }
        }
        // What is held waits until it no longer is.
        condemned.retain(|version| self.check_held(version, now).is_ok());
        for version in &condemned {
            let generation = version.noncurrent.map(|_| version.generation);
            self.delete(&version.name, generation, Preconditions::default(), now).await?;
        }
        Ok(condemned.len())
    }

    /// Fails where a retention policy or a hold forbids to overwrite or remove the version.
    fn check_held(&self, version: &Version, now: Timestamp) -> Done<()> {
        let object = format!("{}/{}", self.name, version.name);
        if version.record.event_based_hold {
            let message = format!(
                "Object '{object}' is under active Event-Based hold and cannot be deleted, \
                 overwritten or archived until hold is removed."
            );
            return Err(Problem::new(403, "objectUnderActiveHold", message));
        }
        let Some(secs) = self.facts().settings.retention_secs() else { return Ok(()) };
        let age = now.duration_since(version.record.created).as_secs();
        if u64::try_from(age).is_ok_and(|age| age >= secs) {
            return Ok(());
        }
        let message = format!(
            "Object '{object}' is subject to bucket's retention policy or object retention and \
             cannot be deleted or overwritten until {secs} s after it was written"
        );
        Err(Problem::new(403, "retentionPolicyNotMet", message))
    }

    /// Drops what the folder has pruned.
    async fn forget_pruned(&self, name: &str) -> io::Result<()> {
        let kept = self.data.versions(name).await.map_err(io::Error::other)?;
        let mut state = self.lock();
        let base = state.facts.generation_base();
        let known: Vec<u64> = state.index.versions(name).iter().map(|v| v.generation).collect();
        for generation in known {
            if !kept.contains(&Generation(generation.saturating_sub(base))) {
                state.index.drop(name, generation)?;
            }
        }
        Ok(())
    }

    fn inner_generation(&self, generation: u64) -> Generation {
        Generation(generation.saturating_sub(self.lock().facts.generation_base()))
    }

    fn failed(&self, error: &StoreError, object: &str) -> Problem {
        match error.kind {
            // Changes go one by one here, and they are what the index says.
            ErrorKind::Lost => Problem::broken("somebody else writes to the bucket's folder"),
            _ => Problem::of_store(error, &self.name, object),
        }
    }
}
