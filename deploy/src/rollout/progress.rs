//! The object `fleet/rollout`: how far the newest release is. Written by the conductor alone, by
//! compare-and-set on its generation. And what `state.json` says of a rollout, which people write.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::rules::Plan;
use crate::Digest;
use crate::id::Id;
use crate::release::Release;
use crate::report::Failure;

/// How far one release is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// Which release.
    pub release: Id,
    /// Its number.
    pub number: u64,
    /// What is under way.
    pub stage: Stage,
    /// Who may switch.
    pub mark: Mark,
    /// How long it has been in this stage with nothing amiss, in milliseconds, as conductors have
    /// counted it. None: something was, when it was looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady_ms: Option<u64>,
    /// How often the app was started again on the instances that are watched, when that was counted
    /// last: one more, and it was not steady.
    #[serde(default)]
    pub restarts: u64,
    /// Instances whose failures count no longer, as somebody has said to go on in spite of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forgiven: BTreeSet<String>,
    /// The last [`Order`] that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Id>,
    /// Why it goes no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
    /// Who conducts.
    pub conductor: Lease,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The first instances switch, and are watched.
    Canary,
    /// The others switch.
    Rolling,
    /// All have switched, and are watched.
    Watching,
    /// It serves everywhere.
    Done,
    /// It goes no further, and those that have switched stay.
    Halted,
    /// It has failed, and those that have switched go back, so many at a time: where versions do not
    /// overlap, as that costs capacity. [`Progress::mark`] says who may.
    Reverting,
    /// It goes no further, and all are back at the release before, or on their way there.
    Reverted,
    /// What a newer agent says, and this program does not know.
    #[serde(other)]
    Unknown,
}

impl Stage {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Rolling => "rolling",
            Self::Watching => "watching",
            Self::Done => "done",
            Self::Halted => "halted",
            Self::Reverting => "reverting",
            Self::Reverted => "reverted",
            Self::Unknown => "unknown",
        }
    }

    /// Whether somebody must conduct it further.
    pub fn is_underway(self) -> bool {
        matches!(self, Self::Canary | Self::Rolling | Self::Watching | Self::Reverting)
    }

    /// Whether it is to run nowhere any more.
    pub fn is_taken_back(self) -> bool {
        matches!(self, Self::Reverting | Self::Reverted)
    }

    /// Whether all instances have taken the release, and it was good wherever it was looked at.
    pub fn is_proven(self) -> bool {
        matches!(self, Self::Watching | Self::Done)
    }
}

/// Who may switch, by the place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// Nobody.
    None,
    /// Whoever's [`crate::desired_agent::order_key`] is not higher.
    UpTo(Digest),
    /// Everybody.
    All,
}

impl Mark {
    /// Whether the one with this key may switch.
    pub fn lets(self, key: &Digest) -> bool {
        match self {
            Self::None => false,
            Self::UpTo(mark) => *key <= mark,
            Self::All => true,
        }
    }
}

/// Who conducts. It is alive as long as the beat goes on: nobody's clock is compared with another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease {
    /// The instance.
    pub by: String,
    /// The life of its agent.
    pub life: Id,
    /// Counts the writes of all conductors.
    pub beat: u64,
}

/// A conductor writes at least so often.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);

/// Where nothing was written for so long, by the watch of whoever sees it, another may conduct.
pub const LEASE: Duration = Duration::from_secs(15);

/// Why a rollout goes no further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Halt {
    /// When, by the conductor's clock.
    pub at: Timestamp,
    /// What happened, for people.
    pub message: String,
    /// The first instance that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// How it failed there, with the app's last lines, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Who has called it off, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What somebody wants of the current release's rollout. It stands in `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Order {
    /// Tells it from any other.
    pub id: Id,
    /// Of which release's.
    pub release: Id,
    /// What.
    pub verb: Verb,
    /// Who, `user@host`.
    pub by: String,
    /// When, by that one's clock.
    pub at: Timestamp,
}

/// What can be wanted of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Nobody begins to switch.
    Pause,
    /// It goes on, and what has failed until now does not count.
    Resume,
    /// All go back to the release before.
    Abort,
    /// What a newer `engr` says, and this program does not know.
    #[serde(other)]
    Unknown,
}

/// Where a rollout leads back to: the newest release that was good for the whole fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Base {
    /// It.
    pub release: Release,
    /// The numbers of the releases after it that were taken back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reverted: BTreeSet<u64>,
}

impl Progress {
    /// The first word on `release`, by `conductor`.
    pub fn begin(release: &Release, plan: &Plan, conductor: Lease) -> Self {
        let (stage, mark) = match plan.now {
            true => (Stage::Rolling, Mark::All),
            false => (Stage::Canary, Mark::None),
        };
        Self {
            release: release.id.clone(),
            number: release.number,
            stage,
            mark,
            steady_ms: None,
            restarts: 0,
            forgiven: BTreeSet::new(),
            order: None,
            halt: None,
            conductor,
        }
    }

    /// In place of one that cannot be read: of no release, so that another may be written over it.
    pub fn damaged() -> Self {
        Self {
            release: Id::fixed(""),
            number: 0,
            stage: Stage::Unknown,
            mark: Mark::None,
            steady_ms: None,
            restarts: 0,
            forgiven: BTreeSet::new(),
            order: None,
            halt: None,
            conductor: Lease { by: String::new(), life: Id::fixed(""), beat: 0 },
        }
    }

    /// Whether it says that the same is to be done: all but who conducts, and for how long nothing
    /// was amiss.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { steady_ms, conductor, .. } = other.clone();
        Self { steady_ms, conductor, restarts: other.restarts, ..self.clone() } == *other
    }

    /// Whether nothing comes after it as long as nobody orders it.
    pub fn has_ended(&self, order: Option<&Order>) -> bool {
        let order = order.filter(|order| self.order.as_ref() != Some(&order.id));
        match (self.stage, order.map(|order| order.verb)) {
            (Stage::Halted, Some(Verb::Resume | Verb::Abort)) => false,
            (stage, _) => !stage.is_underway(),
        }
    }

    /// Parses an object's bytes.
    ///
    /// # Errors
    /// When they are no rollout.
    pub fn from_object(data: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(data)
    }

    /// The bytes of the object.
    pub fn to_object(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a rollout serializes")
    }
}
