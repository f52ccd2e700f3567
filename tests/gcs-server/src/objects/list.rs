//! Listing a bucket.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::resource::Version;
use crate::buckets;
use crate::call::Call;
use crate::paging::{Page, Place};
use crate::params::Params;
use crate::problem::Done;
use crate::service::Service;

/// Which objects are asked for.
struct Filter {
    prefix: String,
    delimiter: Option<String>,
    versions: bool,
    start: Option<String>,
    end: Option<String>,
}

/// A line of a listing: an object, or what several have their names' beginning in common with.
enum Entry {
    Object(Box<Version>),
    Prefix,
}

impl Filter {
    fn take(params: &mut Params) -> Done<Self> {
        Ok(Self {
            prefix: params.filled("prefix")?.unwrap_or_default(),
            delimiter: params.filled("delimiter")?,
            versions: flag(params, "versions")?,
            start: params.filled("startOffset")?,
            end: params.filled("endOffset")?,
        })
    }

    fn holds(&self, version: &Version) -> bool {
        version.name.starts_with(&self.prefix)
            && (self.versions || version.noncurrent.is_none())
            && self.start.as_ref().is_none_or(|start| version.name >= *start)
            && self.end.as_ref().is_none_or(|end| version.name < *end)
    }

    /// The part of a name up to the delimiter that follows the prefix.
    fn common<'a>(&self, name: &'a str) -> Option<&'a str> {
        let delimiter = self.delimiter.as_ref()?;
        let at = name[self.prefix.len()..].find(delimiter.as_str())?;
        Some(&name[..self.prefix.len() + at + delimiter.len()])
    }
}

/// `GET /storage/v1/b/BUCKET/o`
pub(crate) fn list(service: &Service, mut call: Call, bucket: &str) -> Done<Value> {
    let mut params = std::mem::take(&mut call.params);
    let filter = Filter::take(&mut params)?;
    let page = Page::take(&mut params)?;
    buckets::projection(&mut params)?;
    params.finish()?;
    let mut entries: BTreeMap<Place, Entry> = BTreeMap::new();
    service.buckets.get(bucket)?.each(|version| {
        if !filter.holds(version) {
            return;
        }
        match filter.common(&version.name) {
            Some(common) => entries.insert((common.to_owned(), 0), Entry::Prefix),
            None => entries.insert(
                (version.name.clone(), version.generation),
                Entry::Object(Box::new(version.clone())),
            ),
        };
    });
    let (kept, next) = page.cut(entries.into_iter(), |(place, _)| place.clone());
    let mut json = json!({ "kind": "storage#objects" });
    if let Some(next) = next {
        json["nextPageToken"] = json!(next);
    }
    let (mut prefixes, mut items) = (Vec::new(), Vec::new());
    for ((name, _), entry) in kept {
        match entry {
            Entry::Prefix => prefixes.push(name),
            Entry::Object(version) => items.push(version.resource(&call.base, bucket)),
        }
    }
    if !prefixes.is_empty() {
        json["prefixes"] = json!(prefixes);
    }
    if !items.is_empty() {
        json["items"] = json!(items);
    }
    Ok(json)
}

/// `true` or `false`, as Google and as Python write them.
fn flag(params: &mut Params, name: &str) -> Done<bool> {
    match params.text(name)?.as_deref() {
        None | Some("false" | "False") => Ok(false),
        Some("true" | "True") => Ok(true),
        Some(other) => Err(crate::problem::Problem::bad_parameter(name, other)),
    }
}
