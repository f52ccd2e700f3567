//! A bucket's lifecycle rules: which versions they delete.

use deploy::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::objects::Version;
use crate::problem::{Done, Problem};

const DAY_SECS: i64 = 24 * 60 * 60;

/// A rule that deletes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    action: Action,
    condition: Condition,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Action {
    Delete,
}

/// All that is given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    age: Option<i64>,
    days_since_noncurrent_time: Option<i64>,
    is_live: Option<bool>,
    num_newer_versions: Option<usize>,
    matches_prefix: Option<Vec<String>>,
    matches_suffix: Option<Vec<String>>,
}

/// Reads the value of a bucket's `lifecycle`.
pub(crate) fn rules(lifecycle: &Value) -> Done<Vec<Rule>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Lifecycle {
        #[serde(default)]
        rule: Vec<Rule>,
    }
    let read: Result<Lifecycle, _> = serde_json::from_value(lifecycle.clone());
    let rules = read
        .map_err(|error| Problem::unknown(format_args!("these lifecycle rules: {error}")))?
        .rule;
    if rules.iter().any(|rule| rule.condition.is_empty()) {
        return Err(Problem::invalid("A lifecycle rule must have at least one condition."));
    }
    Ok(rules)
}

impl Rule {
    /// Whether it deletes `version`, of which there are `newer` newer ones.
    pub(crate) fn deletes(&self, version: &Version, newer: usize, now: Timestamp) -> bool {
        let Self { action: Action::Delete, condition } = self;
        let days = |since: Timestamp| now.duration_since(since).as_secs() / DAY_SECS;
        let of_name = |given: &Option<Vec<String>>, fits: fn(&str, &str) -> bool| {
            given.as_ref().is_none_or(|given| given.iter().any(|part| fits(&version.name, part)))
        };
        condition.age.is_none_or(|age| days(version.record.created) >= age)
            && condition
                .days_since_noncurrent_time
                .is_none_or(|limit| version.noncurrent.is_some_and(|since| days(since) >= limit))
            && condition.is_live.is_none_or(|live| version.noncurrent.is_none() == live)
            && condition.num_newer_versions.is_none_or(|limit| newer >= limit)
            && of_name(&condition.matches_prefix, |name, part| name.starts_with(part))
            && of_name(&condition.matches_suffix, |name, part| name.ends_with(part))
    }
}

impl Condition {
    fn is_empty(&self) -> bool {
        self.age.is_none()
            && self.days_since_noncurrent_time.is_none()
            && self.is_live.is_none()
            && self.num_newer_versions.is_none()
            && self.matches_prefix.is_none()
            && self.matches_suffix.is_none()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::Draft;

    fn at_day(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY_SECS).unwrap()
    }

    fn version(name: &str, noncurrent: Option<i64>) -> Version {
        let record = Draft::default().record(b"", false, at_day(0)).unwrap();
        let noncurrent = noncurrent.map(at_day);
        Version { name: name.to_owned(), generation: 1, record, noncurrent }
    }

    fn deletes(condition: Value, version: &Version, newer: usize) -> bool {
        let lifecycle = json!({"rule": [{"action": {"type": "Delete"}, "condition": condition}]});
        rules(&lifecycle).unwrap()[0].deletes(version, newer, at_day(10))
    }

    #[test]
    fn each_condition_is_kept() {
        let (live, old) = (version("state.json", None), version("state.json", Some(4)));
        assert!(deletes(json!({"age": 10}), &live, 0));
        assert!(!deletes(json!({"age": 11}), &live, 0));
        assert!(deletes(json!({"isLive": true}), &live, 0));
        assert!(!deletes(json!({"isLive": false}), &live, 0));
        assert!(deletes(json!({"numNewerVersions": 100}), &old, 100));
        assert!(!deletes(json!({"numNewerVersions": 100}), &old, 99));
        assert!(deletes(json!({"daysSinceNoncurrentTime": 6}), &old, 1));
        assert!(!deletes(json!({"daysSinceNoncurrentTime": 7}), &old, 1));
        assert!(!deletes(json!({"daysSinceNoncurrentTime": 0}), &live, 0));
        assert!(deletes(json!({"matchesPrefix": ["x", "st"]}), &live, 0));
        assert!(!deletes(json!({"matchesPrefix": ["x"]}), &live, 0));
        assert!(deletes(json!({"matchesSuffix": [".json"]}), &live, 0));
        assert!(!deletes(json!({"age": 0, "matchesSuffix": [".txt"]}), &live, 0));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for rule in [
            json!({"action": {"type": "Delete"}, "condition": {}}),
            json!({"action": {"type": "Delete"}, "condition": {"createdBefore": "2020-01-01"}}),
            json!({"action": {"type": "SetStorageClass"}, "condition": {"age": 1}}),
            json!({"action": {"type": "Delete"}}),
        ] {
            assert!(rules(&json!({"rule": [rule]})).is_err(), "{rule}");
        }
        assert!(rules(&json!({})).unwrap().is_empty());
    }
}
