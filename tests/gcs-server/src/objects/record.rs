//! What is kept of a generation beside its bytes.

use std::collections::BTreeMap;

use deploy::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checksums::{Checksums, Claimed};
use crate::problem::{Done, Problem};

/// A generation's facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) size: u64,
    pub(crate) checksums: Checksums,
    pub(crate) metageneration: u64,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) storage_class: String,
    pub(crate) event_based_hold: bool,
    pub(crate) texts: Texts,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// The facts that a client sets and changes as it likes, by their names in JSON.
pub(crate) type Texts = BTreeMap<String, String>;

const TEXTS: [&str; 4] = ["contentType", "contentLanguage", "contentDisposition", "cacheControl"];

/// What a client says of an object that it is about to write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) name: Option<String>,
    pub(crate) texts: Texts,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) claimed: Claimed,
}

impl Draft {
    /// Reads the metadata that comes with an upload to this bucket.
    pub(crate) fn parse(mut json: Map<String, Value>, bucket: &str) -> Done<Self> {
        let mut draft = Self {
            name: text(&mut json, "name")?,
            metadata: metadata(&mut json)?
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            claimed: Claimed {
                crc32c: text(&mut json, "crc32c")?,
                md5: text(&mut json, "md5Hash")?,
            },
            texts: Texts::new(),
        };
        for name in TEXTS {
            draft.texts.extend(text(&mut json, name)?.map(|value| (name.to_owned(), value)));
        }
        match text(&mut json, "bucket")? {
            Some(other) if other != bucket => {
                let message = format!("Value '{other}' in content does not agree with '{bucket}'.");
                return Err(Problem::invalid(message));
            }
            _ => {}
        }
        match text(&mut json, "storageClass")? {
            Some(class) if class != "STANDARD" => {
                return Err(Problem::unknown(format_args!("the storage class {class}")));
            }
            _ => {}
        }
        refuse_rest(&json)?;
        Ok(draft)
    }

    /// Makes the record of the bytes that came, if they are those that the client meant.
    pub(crate) fn record(
        &self,
        bytes: &[u8],
        event_based_hold: bool,
        now: Timestamp,
    ) -> Done<Record> {
        let checksums = Checksums::of(bytes);
        self.claimed.check(&checksums)?;
        Ok(Record {
            size: bytes.len() as u64,
            checksums,
            metageneration: 1,
            created: now,
            updated: now,
            storage_class: "STANDARD".to_owned(),
            event_based_hold,
            texts: self.texts.clone(),
            metadata: self.metadata.clone(),
        })
    }
}

impl Record {
    /// The record with a client's changes; `null` removes.
    pub(crate) fn patched(&self, mut json: Map<String, Value>, now: Timestamp) -> Done<Self> {
        let mut record = self.clone();
        record.metageneration += 1;
        record.updated = now;
        match json.remove("metadata") {
            None => {}
            Some(Value::Null) => record.metadata.clear(),
            Some(value) => {
                let mut wrapped = Map::from_iter([("metadata".to_owned(), value)]);
                for (name, value) in metadata(&mut wrapped)?.unwrap_or_default() {
                    match value {
                        Some(value) => record.metadata.insert(name, value),
                        None => record.metadata.remove(&name),
                    };
                }
            }
        }
        for name in TEXTS {
            match json.remove(name) {
                None => {}
                Some(Value::Null) => drop(record.texts.remove(name)),
                Some(Value::String(value)) => drop(record.texts.insert(name.to_owned(), value)),
                Some(other) => return Err(Problem::bad_parameter(name, &other.to_string())),
            }
        }
        match json.remove("eventBasedHold") {
            None => {}
            Some(Value::Bool(held)) => record.event_based_hold = held,
            Some(other) => {
                return Err(Problem::bad_parameter("eventBasedHold", &other.to_string()));
            }
        }
        refuse_rest(&json)?;
        Ok(record)
    }
}

fn text(json: &mut Map<String, Value>, name: &str) -> Done<Option<String>> {
    match json.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(other) => Err(Problem::bad_parameter(name, &other.to_string())),
    }
}

fn metadata(json: &mut Map<String, Value>) -> Done<Option<BTreeMap<String, Option<String>>>> {
    let Some(value) = json.remove("metadata") else { return Ok(None) };
    let told = value.to_string();
    serde_json::from_value(value).map_err(|_| Problem::bad_parameter("metadata", &told))
}

/// Refuses fields that nobody has taken.
pub(crate) fn refuse_rest(json: &Map<String, Value>) -> Done<()> {
    match json.keys().next() {
        None => Ok(()),
        Some(name) => Err(Problem::unknown(format_args!("the field {name} of this call's body"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_draft_takes_what_it_knows_and_refuses_the_rest() {
        let draft = object(json!({"name": "a", "bucket": "b", "contentType": "text/plain",
            "metadata": {"x": "1"}, "crc32c": "AAAAAA=="}));
        let draft = Draft::parse(draft, "b").unwrap();
        assert_eq!(draft.name.as_deref(), Some("a"));
        let record = draft.record(b"", false, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(record.texts["contentType"], "text/plain");
        assert_eq!(record.metadata["x"], "1");
        assert!(draft.record(b"other", false, Timestamp::UNIX_EPOCH).is_err());
        for bad in [
            json!({"acl": []}),
            json!({"bucket": "c"}),
            json!({"name": 1}),
            json!({"metadata": {"x": 1}}),
            json!({"temporaryHold": true}),
            json!({"contentEncoding": "gzip"}),
            json!({"storageClass": "ARCHIVE"}),
        ] {
            assert!(Draft::parse(object(bad.clone()), "b").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_patch_changes_removes_and_counts() {
        let draft = object(json!({"contentType": "a/b", "metadata": {"x": "1", "y": "2"}}));
        let draft = Draft::parse(draft, "b").unwrap();
        let record = draft.record(b"", true, Timestamp::UNIX_EPOCH).unwrap();
        let patch = json!({"contentType": null, "metadata": {"x": null, "z": "3"},
            "eventBasedHold": false, "cacheControl": "no-store"});
        let patched = record.patched(object(patch), Timestamp::MAX).unwrap();
        assert_eq!(patched.metageneration, 2);
        assert_eq!(patched.texts, Texts::from([("cacheControl".into(), "no-store".into())]));
        let left = [("y".to_owned(), "2".to_owned()), ("z".to_owned(), "3".to_owned())];
        assert_eq!(patched.metadata, BTreeMap::from(left));
        assert!(!patched.event_based_hold);
        let cleared = patched.patched(object(json!({"metadata": null})), Timestamp::MAX).unwrap();
        assert!(cleared.metadata.is_empty());
        assert!(record.patched(object(json!({"size": "3"})), Timestamp::MAX).is_err());
    }
}
