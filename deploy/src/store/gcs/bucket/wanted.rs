//! What a bucket of ours should be. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Condition, Rule, RuleAction};
use crate::layout;

/// At least so many of the newest generations of `state.json` are kept.
pub const STATES_KEPT: u32 = 100;

/// And all of so many days: a claim and its renewals are generations too, so that a hundred may be
/// the work of a morning.
const STATE_DAYS: u32 = 90;

/// What instances say of themselves is overwritten every few minutes; the past of it is of no use.
const FLEET_DAYS: u32 = 1;

/// Artifacts, environments and agents that are no longer live were pruned, or healed.
const PRUNED_DAYS: u32 = 7;

/// How long what was removed can be brought back: the service's own default.
pub const SOFT_DELETE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The label that says whose bucket it is.
pub const APP_LABEL: &str = "engineer-app";

/// A bucket to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBucket {
    /// The project that pays for it.
    pub project: String,
    /// The app that it is for.
    pub app: String,
    /// A region, or `US`, `EU`, `ASIA`.
    pub location: String,
}

impl NewBucket {
    /// The bucket named `name`, as the JSON API wants it.
    pub fn to_json(&self, name: &str) -> Value {
        json!({
            "name": name,
            "location": self.location,
            "storageClass": "STANDARD",
            "versioning": {"enabled": true},
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": true},
                "publicAccessPrevention": "enforced",
            },
            "softDeletePolicy": {"retentionDurationSeconds": SOFT_DELETE.as_secs().to_string()},
            "lifecycle": {"rule": rules()},
            "labels": {APP_LABEL: self.app},
        })
    }
}

/// What the bucket may remove by itself: nothing that is live, and no state of the newest
/// [`STATES_KEPT`]. Artifacts are pruned by hand, never by their age, as a kept state may name them.
pub fn rules() -> Vec<Rule> {
    let delete = |condition| Rule { action: RuleAction { kind: "Delete".to_owned() }, condition };
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    vec![
        delete(Condition {
            is_live: Some(false),
            num_newer_versions: Some(STATES_KEPT),
            days_since_noncurrent_time: Some(STATE_DAYS),
            matches_prefix: names(&[layout::STATE]),
            ..Condition::default()
        }),
        delete(Condition {
            is_live: Some(false),
            days_since_noncurrent_time: Some(FLEET_DAYS),
            matches_prefix: names(&[layout::FLEET]),
            ..Condition::default()
        }),
        delete(Condition {
            is_live: Some(false),
            days_since_noncurrent_time: Some(PRUNED_DAYS),
            matches_prefix: names(&[layout::ARTIFACTS, layout::ENVIRONMENTS, layout::AGENTS]),
            ..Condition::default()
        }),
    ]
}
