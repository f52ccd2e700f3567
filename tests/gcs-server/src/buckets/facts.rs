//! What is known of a bucket itself, in a file that is replaced whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use deploy::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::Settings;
use crate::objects::{etag, time};

/// All names that a bucket's JSON can have, and a listing's around it.
pub(crate) const FIELDS: [&str; 23] = [
    "kind",
    "id",
    "selfLink",
    "name",
    "projectNumber",
    "metageneration",
    "location",
    "locationType",
    "storageClass",
    "etag",
    "timeCreated",
    "updated",
    "iamConfiguration",
    "softDeletePolicy",
    "versioning",
    "labels",
    "lifecycle",
    "retentionPolicy",
    "defaultEventBasedHold",
    "items",
    "nextPageToken",
    "acl",
    "rpo",
];

const FILE: &str = "bucket.json";

/// How long after it was turned on uniform access can be turned off again.
const UNIFORM_ACCESS_LOCKS_AFTER_SECS: i64 = 90 * 24 * 60 * 60;

/// A bucket's own facts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) project: String,
    pub(crate) location: String,
    pub(crate) storage_class: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) metageneration: u64,
    pub(crate) settings: Settings,
}

impl Facts {
    /// Reads those of the bucket in `folder`.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
    }

    /// Puts them in the place of those that are there.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let aside = folder.join("bucket.json.new");
        let mut file = File::create(&aside)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(aside, folder.join(FILE))
    }

    /// What is added to a number of the folder's, so that it looks like Google's, and a bucket
    /// that is made again after it was deleted never gives one a second time.
    pub(crate) fn generation_base(&self) -> u64 {
        self.created.as_microsecond().unsigned_abs()
    }

    /// The bucket's JSON.
    pub(crate) fn resource(&self, base: &str, name: &str) -> Value {
        let settings = &self.settings;
        let mut json = json!({
            "kind": "storage#bucket",
            "selfLink": format!("{base}/storage/v1/b/{name}"),
            "id": name,
            "name": name,
            "projectNumber": "0",
            "metageneration": self.metageneration.to_string(),
            "location": self.location,
            "locationType": location_type(&self.location),
            "storageClass": self.storage_class,
            "etag": etag(0, self.metageneration),
            "timeCreated": time(self.created),
            "updated": time(self.updated),
        });
        for (key, value) in settings.json() {
            json[key] = value.clone();
        }
        json["iamConfiguration"] = self.access();
        json["softDeletePolicy"] = json!({
            "retentionDurationSeconds": settings.soft_delete_secs().to_string(),
            "effectiveTime": time(self.created),
        });
        if let Some(secs) = settings.retention_secs() {
            let policy = json!({ "retentionPeriod": secs.to_string(),
                "effectiveTime": time(self.created) });
            json["retentionPolicy"] = policy;
        }
        json
    }

    fn access(&self) -> Value {
        let mut uniform = json!({ "enabled": self.settings.uniform_access() });
        let locks = self.created.as_second() + UNIFORM_ACCESS_LOCKS_AFTER_SECS;
        if self.settings.uniform_access()
            && let Ok(locks) = Timestamp::from_second(locks)
        {
            uniform["lockedTime"] = json!(time(locks));
        }
        json!({
            "bucketPolicyOnly": uniform,
            "uniformBucketLevelAccess": uniform,
            "publicAccessPrevention": self.settings.public_access_prevention(),
        })
    }
}

fn location_type(location: &str) -> &'static str {
    match location {
        "US" | "EU" | "ASIA" => "multi-region",
        location if location.contains('-') => "region",
        _ => "dual-region",
    }
}
