//! The calls on buckets.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::facts::Facts;
use super::settings::Settings;
use crate::answer::Answer;
use crate::call::Call;
use crate::paging;
use crate::params::Params;
use crate::problem::{Done, Problem};
use crate::service::Service;

/// `POST /storage/v1/b`
pub(crate) async fn insert(service: &Service, mut call: Call) -> Done<Value> {
    let project = call.params.filled("project")?.ok_or_else(|| Problem::required("project"))?;
    projection(&mut call.params)?;
    std::mem::take(&mut call.params).finish()?;
    let mut json = call.json()?;
    let mut text = |name: &str| match json.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(other) => Err(Problem::bad_parameter(name, &other.to_string())),
    };
    let name = text("name")?.ok_or_else(|| Problem::required("name"))?;
    let location = text("location")?.unwrap_or_else(|| "US".to_owned()).to_uppercase();
    let storage_class = text("storageClass")?.unwrap_or_else(|| "STANDARD".to_owned());
    if !["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"].contains(&storage_class.as_str()) {
        return Err(Problem::bad_parameter("storageClass", &storage_class));
    }
    let facts = Facts {
        project,
        location,
        storage_class,
        created: call.now,
        updated: call.now,
        metageneration: 1,
        settings: Settings::parse(json)?,
    };
    let bucket = service.buckets.create(&name, &facts).await?;
    Ok(bucket.facts().resource(&call.base, &name))
}

/// `GET /storage/v1/b/BUCKET`
pub(crate) fn get(service: &Service, mut call: Call, name: &str) -> Done<Value> {
    projection(&mut call.params)?;
    let expected = metageneration(&mut call.params)?;
    std::mem::take(&mut call.params).finish()?;
    let facts = service.buckets.get(name)?.facts();
    check(expected, &facts, true)?;
    Ok(facts.resource(&call.base, name))
}

/// `PATCH /storage/v1/b/BUCKET`
pub(crate) fn patch(service: &Service, mut call: Call, name: &str) -> Done<Value> {
    projection(&mut call.params)?;
    let expected = metageneration(&mut call.params)?;
    std::mem::take(&mut call.params).finish()?;
    let json = call.json()?;
    let facts = service.buckets.get(name)?.change_facts(|facts| {
        check(expected, facts, false)?;
        let settings = facts.settings.patched(json)?;
        let metageneration = facts.metageneration + 1;
        Ok(Facts { settings, metageneration, updated: call.now, ..facts.clone() })
    })?;
    Ok(facts.resource(&call.base, name))
}

/// `DELETE /storage/v1/b/BUCKET`
pub(crate) async fn delete(service: &Service, mut call: Call, name: &str) -> Done<Answer> {
    let expected = metageneration(&mut call.params)?;
    std::mem::take(&mut call.params).finish()?;
    service.buckets.remove(name, |facts| check(expected, facts, false)).await?;
    Ok(Answer::empty(204))
}

/// `GET /storage/v1/b`
pub(crate) fn list(service: &Service, mut call: Call) -> Done<Value> {
    let project = call.params.filled("project")?.ok_or_else(|| Problem::required("project"))?;
    let prefix = call.params.filled("prefix")?.unwrap_or_default();
    let page = paging::Page::take(&mut call.params)?;
    projection(&mut call.params)?;
    std::mem::take(&mut call.params).finish()?;
    let buckets = service
        .buckets
        .all()
        .into_iter()
        .filter(|bucket| bucket.name.starts_with(&prefix) && bucket.facts().project == project);
    let (kept, next) = page.cut(buckets, |bucket| (bucket.name.clone(), 0));
    let items: Vec<Value> =
        kept.iter().map(|bucket| bucket.facts().resource(&call.base, &bucket.name)).collect();
    let mut json = json!({ "kind": "storage#buckets" });
    if !items.is_empty() {
        json["items"] = json!(items);
    }
    if let Some(next) = next {
        json["nextPageToken"] = json!(next);
    }
    Ok(json)
}

/// `GET /storage/v1/b/BUCKET/iam/testPermissions`
pub(crate) fn test_permissions(service: &Service, mut call: Call, name: &str) -> Done<Value> {
    let asked = call.params.all("permissions");
    std::mem::take(&mut call.params).finish()?;
    service.buckets.get(name)?;
    if asked.is_empty() {
        return Err(Problem::required("permissions"));
    }
    let mut seen = HashSet::new();
    let held = asked.into_iter().filter(|permission| {
        seen.insert(permission.clone()) && service.tokens.allows(name, permission)
    });
    let held: Vec<String> = held.collect();
    let mut json = json!({ "kind": "storage#testIamPermissionsResponse" });
    if !held.is_empty() {
        json["permissions"] = json!(held);
    }
    Ok(json)
}

/// Takes `projection`. Both give the same here: no access lists are kept.
pub(crate) fn projection(params: &mut Params) -> Done<()> {
    match params.text("projection")?.as_deref() {
        None | Some("noAcl" | "full") => Ok(()),
        Some(other) => Err(Problem::bad_parameter("projection", other)),
    }
}

type Metageneration = (Option<u64>, Option<u64>);

fn metageneration(params: &mut Params) -> Done<Metageneration> {
    Ok((params.parsed("ifMetagenerationMatch")?, params.parsed("ifMetagenerationNotMatch")?))
}

fn check((is, is_not): Metageneration, facts: &Facts, reads: bool) -> Done<()> {
    if is.is_some_and(|is| is != facts.metageneration) {
        return Err(Problem::precondition());
    }
    match is_not {
        Some(is_not) if is_not == facts.metageneration && reads => Err(Problem::not_modified()),
        Some(is_not) if is_not == facts.metageneration => Err(Problem::precondition()),
        _ => Ok(()),
    }
}
