//! Lists, versions, facts and deletions.

use reqwest::Method;
use serde::{Deserialize, Deserializer};

use super::Gcs;
use super::fault::{Done, Fault};
use super::http::{Call, segment};
use crate::store::{ErrorKind, Expect, Generation, Stat};

/// How many entries a page of a list has at the most; the service's own limit.
const PAGE: u32 = 1000;

/// How many pages a list may have: one that never ends is a defect of the service.
const PAGES_MAX: u32 = 1000;

/// An object's metadata, as far as it is asked for. Numbers are texts in this API.
#[derive(Deserialize)]
struct Resource {
    name: String,
    #[serde(deserialize_with = "number")]
    generation: u64,
    #[serde(deserialize_with = "number")]
    size: u64,
}

const RESOURCE_FIELDS: &str = "name,generation,size";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Resource>,
    next_page_token: Option<String>,
}

/// A number in a text.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl Resource {
    fn stat(self) -> Stat {
        Stat { name: self.name, generation: Generation(self.generation), size: self.size }
    }
}

impl Gcs {
    fn object_path(&self, name: &str) -> String {
        format!("b/{}/o/{}", segment(&self.bucket), segment(name))
    }
}

pub(super) async fn stat(gcs: &Gcs, name: &str) -> Done<Option<Stat>> {
    let call = Call::new(Method::GET, gcs.object_path(name)).query("fields", RESOURCE_FIELDS);
    match gcs.ask::<Resource>(call).await {
        Ok(resource) => Ok(Some(resource.stat())),
        Err(fault) if fault.kind == ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

pub(super) async fn list(gcs: &Gcs, prefix: &str) -> Done<Vec<Stat>> {
    let resources = all(gcs, prefix, false).await?;
    let mut stats: Vec<Stat> = resources.into_iter().map(Resource::stat).collect();
    stats.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stats)
}

pub(super) async fn versions(gcs: &Gcs, name: &str) -> Done<Vec<Generation>> {
    let resources = all(gcs, name, true).await?;
    let own = resources.into_iter().filter(|resource| resource.name == name);
    let mut generations: Vec<_> = own.map(|resource| Generation(resource.generation)).collect();
    generations.sort_unstable();
    Ok(generations)
}

async fn all(gcs: &Gcs, prefix: &str, versions: bool) -> Done<Vec<Resource>> {
    let (mut found, mut token) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let mut call = Call::new(Method::GET, format!("b/{}/o", segment(&gcs.bucket)))
            .query("maxResults", PAGE)
            .query("fields", format_args!("items({RESOURCE_FIELDS}),nextPageToken"));
        if !prefix.is_empty() {
            call = call.query("prefix", prefix);
        }
        if versions {
            call = call.query("versions", "true");
        }
        if let Some(token) = &token {
            call = call.query("pageToken", token);
        }
        let page: Page = gcs.ask(call).await.map_err(Fault::without_object)?;
        found.extend(page.items);
        match page.next_page_token {
            None => return Ok(found),
            next => token = next,
        }
    }
    Err(Fault::strange(format!("the list has not ended after {PAGES_MAX} pages")))
}

pub(super) async fn delete(gcs: &Gcs, name: &str, expect: Expect) -> Done<()> {
    let mut call = Call::new(Method::DELETE, gcs.object_path(name));
    match expect {
        // No deletion can meet it.
        Expect::Absent => return Err(ErrorKind::Lost.into()),
        Expect::Generation(generation) => call = call.query("ifGenerationMatch", generation),
        Expect::Any => {}
    }
    match gcs.call(call).await {
        Ok(_) => Ok(()),
        // The expected generation is not live, whether there is another or none.
        Err(fault) if fault.kind == ErrorKind::NotFound && expect != Expect::Any => {
            Err(Fault { kind: ErrorKind::Lost, ..fault })
        }
        Err(fault) => Err(fault),
    }
}

/// Every generation of every object.
pub(super) async fn everything(gcs: &Gcs) -> Done<Vec<(String, Generation)>> {
    let resources = all(gcs, "", true).await?;
    Ok(resources.into_iter().map(|one| (one.name, Generation(one.generation))).collect())
}

/// Removes one generation for good that is not live. What is not will never be again, so there is
/// no harm in the time between the look and the removal.
pub(super) async fn erase(gcs: &Gcs, name: &str, generation: Generation) -> Done<()> {
    if i64::try_from(generation.0).is_err() || generation.0 == 0 {
        return Err(ErrorKind::NotFound.into());
    }
    match stat(gcs, name).await? {
        Some(live) if live.generation == generation => Err(ErrorKind::Lost.into()),
        _ => erase_any(gcs, name, generation).await,
    }
}

/// Removes one generation for good, live or not.
pub(super) async fn erase_any(gcs: &Gcs, name: &str, generation: Generation) -> Done<()> {
    let call = Call::new(Method::DELETE, gcs.object_path(name)).query("generation", generation);
    gcs.call(call).await.map(drop)
}
