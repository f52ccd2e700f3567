//! What a client sets on a bucket, checked; kept as the JSON that it is.

use serde_json::{Map, Value};

use super::lifecycle;
use crate::problem::{Done, Problem};

/// How long deleted objects can be brought back when nobody says otherwise.
const SOFT_DELETE_SECS: u64 = 604_800;

/// A bucket's settings: each key is one that `check` knows.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Settings(Map<String, Value>);

impl Settings {
    /// Reads a new bucket's settings.
    pub(crate) fn parse(json: Map<String, Value>) -> Done<Self> {
        let mut settings = Self(Map::new());
        settings.merge(json)?;
        Ok(settings)
    }

    /// The settings with a client's changes; `null` removes.
    pub(crate) fn patched(&self, json: Map<String, Value>) -> Done<Self> {
        let mut settings = self.clone();
        settings.merge(json)?;
        Ok(settings)
    }

    fn merge(&mut self, json: Map<String, Value>) -> Done<()> {
        merge(&mut self.0, json);
        self.0.iter_mut().try_for_each(|(name, value)| check(name, value))
    }

    /// What was set, in the form of the answer.
    pub(crate) fn json(&self) -> &Map<String, Value> {
        &self.0
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |value, name| value.get(name))
    }

    pub(crate) fn versioning(&self) -> bool {
        self.at(&["versioning", "enabled"]).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn uniform_access(&self) -> bool {
        let path = ["iamConfiguration", "uniformBucketLevelAccess", "enabled"];
        self.at(&path).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn public_access_prevention(&self) -> &str {
        let path = ["iamConfiguration", "publicAccessPrevention"];
        self.at(&path).and_then(Value::as_str).unwrap_or("inherited")
    }

    pub(crate) fn soft_delete_secs(&self) -> u64 {
        let path = ["softDeletePolicy", "retentionDurationSeconds"];
        self.at(&path).and_then(number).unwrap_or(SOFT_DELETE_SECS)
    }

    /// How long an object must stay before it may be overwritten or deleted.
    pub(crate) fn retention_secs(&self) -> Option<u64> {
        self.at(&["retentionPolicy", "retentionPeriod"]).and_then(number)
    }

    pub(crate) fn default_event_based_hold(&self) -> bool {
        self.at(&["defaultEventBasedHold"]).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn lifecycle(&self) -> Done<Vec<lifecycle::Rule>> {
        self.at(&["lifecycle"]).map_or(Ok(Vec::new()), lifecycle::rules)
    }
}

/// RFC 7396 over what is there.
fn merge(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        match value {
            Value::Null => drop(under.remove(&name)),
            Value::Object(value) => {
                let entry = under.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if !entry.is_object() {
                    *entry = Value::Object(Map::new());
                }
                if let Value::Object(entry) = entry {
                    merge(entry, value);
                }
            }
            value => drop(under.insert(name, value)),
        }
    }
}

/// Checks one setting, and takes out what only Google sets: clients send it back with the rest.
fn check(name: &str, value: &mut Value) -> Done<()> {
    let told = value.to_string();
    let good = match name {
        "labels" => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
        "defaultEventBasedHold" => value.is_boolean(),
        "versioning" => only(value, &["enabled"], &[])? && flag(value, "enabled"),
        "iamConfiguration" => check_access(value)?,
        "softDeletePolicy" => {
            only(value, &["retentionDurationSeconds"], &["effectiveTime"])?
                && value.get("retentionDurationSeconds").is_none_or(|secs| {
                    // Off, or from a week to 90 days.
                    number(secs).is_some_and(|secs| {
                        secs == 0 || (SOFT_DELETE_SECS..=7_776_000).contains(&secs)
                    })
                })
        }
        "retentionPolicy" => {
            only(value, &["retentionPeriod"], &["effectiveTime", "isLocked"])?
                && value.get("retentionPeriod").and_then(number).is_some()
        }
        "lifecycle" => lifecycle::rules(value).map(|_| true)?,
        _ => return Err(Problem::unknown(format_args!("the field {name} of a bucket"))),
    };
    if good { Ok(()) } else { Err(Problem::bad_parameter(name, &told)) }
}

fn check_access(value: &mut Value) -> Done<bool> {
    let known = ["uniformBucketLevelAccess", "publicAccessPrevention"];
    // The old name of the first.
    let mut good = only(value, &known, &["bucketPolicyOnly"])?;
    if let Some(uniform) = value.get_mut(known[0]) {
        good &= only(uniform, &["enabled"], &["lockedTime"])? && flag(uniform, "enabled");
    }
    let prevention = value.get(known[1]);
    Ok(good
        && prevention.is_none_or(|value| matches!(value.as_str(), Some("inherited" | "enforced"))))
}

/// Whether `value` is an object. Fails for a key that is neither known nor Google's own.
fn only(value: &mut Value, known: &[&str], googles: &[&str]) -> Done<bool> {
    let Some(map) = value.as_object_mut() else { return Ok(false) };
    map.retain(|name, _| !googles.contains(&name.as_str()));
    match map.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(true),
        Some(name) => Err(Problem::unknown(format_args!("the field {name} of a bucket"))),
    }
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).is_none_or(Value::is_boolean)
}

/// Google takes 64-bit numbers as text too.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: Value) -> Done<Settings> {
        Settings::parse(value.as_object().unwrap().clone())
    }

    #[test]
    fn reads_what_we_set() {
        let settings = parse(json!({
            "versioning": {"enabled": true},
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true, "lockedTime": "x"},
                "publicAccessPrevention": "enforced"},
            "softDeletePolicy": {"retentionDurationSeconds": "0"},
            "retentionPolicy": {"retentionPeriod": 60},
            "labels": {"a": "b"},
        }));
        let settings = settings.unwrap();
        assert!(settings.versioning() && settings.uniform_access());
        assert_eq!(settings.public_access_prevention(), "enforced");
        assert_eq!((settings.soft_delete_secs(), settings.retention_secs()), (0, Some(60)));

        let patch = json!({"versioning": null, "labels": {"a": null, "c": "d"},
            "retentionPolicy": null});
        let patched = settings.patched(patch.as_object().unwrap().clone()).unwrap();
        assert!(!patched.versioning() && patched.uniform_access());
        assert_eq!(patched.retention_secs(), None);
        assert_eq!(patched.json()["labels"], json!({"c": "d"}));
        assert_eq!(parse(json!({})).unwrap().soft_delete_secs(), 604_800);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for bad in [
            json!({"cors": []}),
            json!({"versioning": {"enabled": "yes"}}),
            json!({"versioning": {"on": true}}),
            json!({"versioning": true}),
            json!({"iamConfiguration": {"publicAccessPrevention": "maybe"}}),
            json!({"softDeletePolicy": {"retentionDurationSeconds": 5}}),
            json!({"retentionPolicy": {}}),
            json!({"labels": {"a": 1}}),
            json!({"lifecycle": {"rule": [{"action": {"type": "SetStorageClass"}}]}}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
