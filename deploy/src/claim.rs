//! The claim: who is deploying, and since when. The lock, the doorbell and the head start in one.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::release::Artifact;

/// How long a claim lives when nobody renews it. A dead laptop blocks nobody for longer.
pub const CLAIM_LIFE: Duration = Duration::from_secs(30);

/// How often a deployer renews its claim. Three tries fit in a life, and GCS takes one write a
/// second to one object.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);

/// A deployer's word in `state.json` that it is about to publish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Claim {
    /// Tells this claim from any other of the same deployer.
    pub id: Id,
    /// Who, `user@host`.
    pub by: String,
    /// Since when, by the deployer's clock.
    pub since: Timestamp,
    /// From then on it binds nobody.
    pub expires: Timestamp,
    /// The artifact that will be published, once it is in the bucket: agents fetch it meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
}

impl Claim {
    /// A new claim of `by`.
    pub fn new(id: Id, by: String, now: Timestamp) -> Self {
        Self { id, by, since: now, expires: now + CLAIM_LIFE, artifact: None }
    }

    /// Whether it still binds others.
    ///
    /// A claim can never last longer than its life from `now`: a deployer whose clock runs ahead
    /// must not block the others for hours.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires && self.expires <= now + CLAIM_LIFE * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;

    #[test]
    fn a_claim_binds_for_its_life_and_no_longer() {
        let claim = Claim::new(Id::fixed("c"), "a@b".to_owned(), at(0));
        assert!(claim.is_live(at(0)) && claim.is_live(at(29)));
        assert!(!claim.is_live(at(30)) && !claim.is_live(at(1_000_000)));
    }

    /// The claimant's clock runs ahead, or this one behind.
    #[test]
    fn a_claim_from_the_future_binds_no_longer_than_two_lives() {
        let ahead = |seconds| Claim::new(Id::fixed("c"), "a@b".to_owned(), at(seconds));
        assert!(ahead(30).is_live(at(0)));
        assert!(!ahead(31).is_live(at(0)));
        let bound = (0..4_000).filter(|now| ahead(3_600).is_live(at(*now))).count();
        assert_eq!(bound, 60);
    }
}
