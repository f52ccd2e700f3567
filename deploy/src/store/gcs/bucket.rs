//! The bucket itself: what it should be, what is wrong with one, and the calls that make and mend
//! it.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Gcs;
use super::control::{self, number};
use super::fault::Done;
use super::http::{Call, segment};
use crate::store::{ErrorKind, Result, StoreError, with_tries};

mod flaws;
mod wanted;

pub use flaws::{Effect, Flaw, flaws};
pub use wanted::{APP_LABEL, NewBucket, SOFT_DELETE, STATES_KEPT, rules};

/// What an `engr` that deploys must be allowed to do in the bucket.
pub const DEPLOYER_PERMISSIONS: [&str; 5] = [
    "storage.objects.get",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.list",
    "storage.buckets.get",
];

/// A bucket's settings, as far as they matter here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bucket {
    /// Where it is: a region, or `US`, `EU`, `ASIA`.
    pub location: String,
    /// The number of its settings' version.
    #[serde(deserialize_with = "number")]
    pub metageneration: u64,
    /// Whether older generations are kept.
    pub versioning: Switch,
    /// Who may see it.
    pub iam_configuration: IamConfiguration,
    /// What is removed by itself.
    pub lifecycle: Lifecycle,
    /// How long what was removed can be brought back.
    pub soft_delete_policy: Option<Retention>,
    /// How long nothing may be overwritten or removed.
    pub retention_policy: Option<Retention>,
    /// Whether new objects may not be overwritten or removed until somebody lets go of them.
    pub default_event_based_hold: bool,
    /// Names and values of the owner's choice.
    pub labels: BTreeMap<String, String>,
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switch {
    /// On.
    pub enabled: bool,
}

/// Who may see a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IamConfiguration {
    /// One policy for the whole bucket, and no lists at single objects.
    pub uniform_bucket_level_access: Switch,
    /// `enforced`, or `inherited` from the project.
    pub public_access_prevention: String,
}

/// What is removed by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifecycle {
    /// The rules.
    pub rule: Vec<Rule>,
}

/// One rule of a lifecycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What is done.
    pub action: RuleAction,
    /// With which objects: all that is named must hold.
    pub condition: Condition,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleAction {
    /// `Delete`, or another that is not ours.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Which objects a rule is about. Conditions that are not named here are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Live ones, or those that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_live: Option<bool>,
    /// With at least so many newer generations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_newer_versions: Option<u32>,
    /// Not live for at least so many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_since_noncurrent_time: Option<u32>,
    /// Whose names begin with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches_prefix: Vec<String>,
    /// Anything else that somebody has set.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// For how long something holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// In seconds. 0: not at all.
    #[serde(rename = "retentionDurationSeconds", alias = "retentionPeriod")]
    #[serde(deserialize_with = "number")]
    pub seconds: u64,
    /// It can never be shortened.
    pub is_locked: bool,
}

/// What of a bucket's settings is wanted otherwise. Nothing that is not named is changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// Whether older generations are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versioning: Option<Switch>,
    /// What is removed by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Who may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam_configuration: Option<serde_json::Value>,
}

impl Patch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Names that the service takes, as it documents them: 3 to 63 characters, small letters, digits,
/// `-`, `_` and `.`, a letter or digit at both ends. Names with a `.` are of domains, whose owner
/// the service wants proved, and are left out.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> std::result::Result<(), String> {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let is_outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let why = if !(3..=63).contains(&name.len()) {
        "it must have 3 to 63 characters"
    } else if !name.chars().all(is_inner) {
        "it may have small letters, digits, - and _ only"
    } else if !name.starts_with(is_outer) || !name.ends_with(is_outer) {
        "it must begin and end with a letter or a digit"
    } else if name.starts_with("goog") || name.contains("google") {
        "Google keeps names with its own for itself"
    } else {
        return Ok(());
    };
    Err(format!("{name:?} cannot be a bucket's name: {why}"))
}

impl Gcs {
    fn bucket_path(&self) -> String {
        format!("b/{}", segment(&self.bucket))
    }

    /// The bucket's settings; `None` when there is no such bucket.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when it is somebody else's.
    pub async fn bucket(&self) -> Result<Option<Bucket>> {
        let look = async || {
            let looked = self.ask(Call::new(Method::GET, self.bucket_path())).await;
            self.done("look at", "the bucket", looked)
        };
        match with_tries(look).await {
            Ok(bucket) => Ok(Some(bucket)),
            Err(StoreError { kind: ErrorKind::NotFound | ErrorKind::NoBucket, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the bucket.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when there is one of that name, whose ever it is.
    pub async fn create(&self, new: &NewBucket) -> Result<Bucket> {
        let call = || {
            let call = Call::new(Method::POST, "b").query("project", &new.project);
            call.body(&new.to_json(&self.bucket))
        };
        with_tries(async || self.made("create", call()).await).await
    }

    /// Changes the bucket's settings, if they are still those of `seen`.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when somebody has changed them since.
    pub async fn patch(&self, patch: &Patch, seen: &Bucket) -> Result<Bucket> {
        let call = || {
            let call = Call::new(Method::PATCH, self.bucket_path());
            call.query("ifMetagenerationMatch", seen.metageneration).body(&json!(patch))
        };
        with_tries(async || self.made("change", call()).await).await
    }

    async fn made(&self, operation: &'static str, call: Done<Call<'_>>) -> Result<Bucket> {
        let made = match call {
            Ok(call) => self.ask(call).await,
            Err(fault) => Err(fault),
        };
        self.done(operation, "the bucket", made)
    }

    /// Removes the bucket, which must hold nothing any more.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when it does.
    pub async fn remove(&self) -> Result<()> {
        let removed = self.call(Call::new(Method::DELETE, self.bucket_path())).await;
        self.done("remove", "the bucket", removed.map(drop))
    }

    /// Removes every generation of every object, and the bucket. What the service's soft delete
    /// keeps can be brought back for as long as that holds.
    ///
    /// # Errors
    /// What the service says. What is gone by then stays gone.
    pub async fn remove_with_all(&self) -> Result<()> {
        let all = control::everything(self).await;
        for (name, generation) in self.done("list", "", all)? {
            let erased = async || {
                self.done("erase", &name, control::erase_any(self, &name, generation).await)
            };
            match with_tries(erased).await {
                // Somebody else removes it too.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        with_tries(async || self.remove().await).await
    }

    /// Which of these permissions the caller has in the bucket.
    ///
    /// # Errors
    /// What the service says.
    pub async fn permitted(&self, permissions: &[&str]) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            permissions: Vec<String>,
        }
        let path = format!("{}/iam/testPermissions", self.bucket_path());
        let ask = async || {
            let call = Call::new(Method::GET, &path);
            let call = permissions.iter().fold(call, |call, name| call.query("permissions", name));
            let answer = self.ask::<Answer>(call).await;
            self.done("ask for permissions in", "the bucket", answer)
        };
        Ok(with_tries(ask).await?.permissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_the_service_documents_them() {
        for good in ["abc", "my-project-hello", "a_b", "0-9", &"x".repeat(63)] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", "ab", "Abc", "a.b.c", "-abc", "abc-", "googly", "my-google-app", "a/b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name(&"x".repeat(64)).is_err());
    }

    #[test]
    fn settings_are_read_as_the_service_writes_them() {
        let bucket: Bucket = serde_json::from_value(json!({
            "kind": "storage#bucket", "id": "b", "name": "b", "projectNumber": "123",
            "location": "US-CENTRAL1", "metageneration": "7", "etag": "CAc=",
            "versioning": {"enabled": true},
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": true, "lockedTime": "2027-01-01T00:00:00Z"},
                "publicAccessPrevention": "enforced"
            },
            "softDeletePolicy": {"retentionDurationSeconds": "604800", "effectiveTime": "x"},
            "retentionPolicy": {"retentionPeriod": "60", "isLocked": true, "effectiveTime": "x"},
            "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 3}}]},
            "labels": {"engineer-app": "hello"}
        }))
        .unwrap();
        assert_eq!(bucket.metageneration, 7);
        assert!(
            bucket.versioning.enabled
                && bucket.iam_configuration.uniform_bucket_level_access.enabled
        );
        assert_eq!(bucket.soft_delete_policy.unwrap().seconds, 604_800);
        let retention = bucket.retention_policy.unwrap();
        assert!((retention.seconds, retention.is_locked) == (60, true));
        assert_eq!(bucket.lifecycle.rule[0].condition.other["age"], 3);
    }
}
