//! An object as JSON, and as a download's headers.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use deploy::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::record::Record;
use crate::answer::Answer;

/// What a name may hold in a path without being encoded.
const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// All names that an object's JSON can have, and a listing's around it.
pub(crate) const FIELDS: [&str; 32] = [
    "kind",
    "id",
    "selfLink",
    "mediaLink",
    "name",
    "bucket",
    "generation",
    "metageneration",
    "contentType",
    "contentLanguage",
    "contentDisposition",
    "contentEncoding",
    "cacheControl",
    "storageClass",
    "size",
    "md5Hash",
    "crc32c",
    "etag",
    "timeCreated",
    "updated",
    "timeStorageClassUpdated",
    "timeFinalized",
    "timeDeleted",
    "eventBasedHold",
    "temporaryHold",
    "metadata",
    "retentionExpirationTime",
    "acl",
    "owner",
    "items",
    "prefixes",
    "nextPageToken",
];

/// One generation of an object: all that its JSON is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) record: Record,
    /// Since when it is not live any more.
    pub(crate) noncurrent: Option<Timestamp>,
}

/// Milliseconds, as Google writes times.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Google's etag: base64 of the two numbers as a protocol buffer.
pub(crate) fn etag(generation: u64, metageneration: u64) -> String {
    let mut bytes = Vec::new();
    for (tag, mut number) in [(0x08, generation), (0x10, metageneration)] {
        if number == 0 {
            continue;
        }
        bytes.push(tag);
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    BASE64_STANDARD.encode(bytes)
}

impl Version {
    /// Its JSON.
    pub(crate) fn resource(&self, base: &str, bucket: &str) -> Value {
        let Self { name, generation, record, noncurrent } = self;
        let path = format!("storage/v1/b/{bucket}/o/{}", utf8_percent_encode(name, IN_PATHS));
        let mut json = json!({
            "kind": "storage#object",
            "id": format!("{bucket}/{name}/{generation}"),
            "selfLink": format!("{base}/{path}"),
            "mediaLink": format!("{base}/download/{path}?generation={generation}&alt=media"),
            "name": name,
            "bucket": bucket,
            "generation": generation.to_string(),
            "metageneration": record.metageneration.to_string(),
            "storageClass": record.storage_class,
            "size": record.size.to_string(),
            "md5Hash": record.checksums.md5,
            "crc32c": record.checksums.crc32c,
            "etag": etag(*generation, record.metageneration),
            "timeCreated": time(record.created),
            "updated": time(record.updated),
            "timeStorageClassUpdated": time(record.created),
            "timeFinalized": time(record.created),
        });
        for (name, value) in &record.texts {
            json[name] = json!(value);
        }
        if !record.metadata.is_empty() {
            json["metadata"] = json!(record.metadata);
        }
        if record.event_based_hold {
            json["eventBasedHold"] = json!(true);
        }
        if let Some(noncurrent) = noncurrent {
            json["timeDeleted"] = json!(time(*noncurrent));
        }
        json
    }

    /// A download's headers.
    pub(crate) fn headers(&self, answer: Answer) -> Answer {
        let record = &self.record;
        let content_type = record.texts.get("contentType");
        let mut answer = answer
            .with("content-type", content_type.map_or("application/octet-stream", String::as_str))
            .with("etag", etag(self.generation, record.metageneration))
            .with("x-goog-generation", self.generation.to_string())
            .with("x-goog-metageneration", record.metageneration.to_string())
            .with("x-goog-hash", record.checksums.header())
            .with("x-goog-stored-content-length", record.size.to_string())
            .with("x-goog-stored-content-encoding", "identity")
            .with("x-goog-storage-class", &record.storage_class)
            .with("accept-ranges", "bytes");
        let texts = [
            ("contentLanguage", "content-language"),
            ("contentDisposition", "content-disposition"),
            ("cacheControl", "cache-control"),
        ];
        for (name, header) in texts {
            if let Some(value) = record.texts.get(name) {
                answer = answer.with(header, value);
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_look_like_googles() {
        // One that Google gave.
        assert_eq!(etag(1_628_622_319_315_950, 1), "CO7Xw/aSp/ICEAE=");
        assert_eq!(etag(0, 1), "EAE=");
    }

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }
}
