//! `state.json`, and the pure rules by which one state follows another.
//!
//! Every function here takes a state and gives the next, or says why there is none. Nothing is
//! written: [`crate::publish`] does that, by compare-and-set on the generation that was read.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Digest;
use crate::claim::{CLAIM_LIFE, Claim};
use crate::desired_agent::DesiredAgent;
use crate::id::Id;
use crate::lock::Lock;
use crate::prune::Pruned;
use crate::release::{Artifact, Draft, Release};
use crate::rollout::{self, Base, Order, Progress, Stage, Verb};

#[cfg(test)]
mod tests;

/// The layout that this program writes. It changes only when an old reader would go wrong.
pub const SCHEMA: u32 = 1;

/// The desired state of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// Whose state it is.
    pub app: String,
    /// Names the attempt that wrote this state: after a lost answer the writer reads back and
    /// knows by it whether its write came through.
    pub attempt: Id,
    /// What should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// An environment that the next deploy takes along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_environment: Option<Digest>,
    /// Who is deploying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// Nothing is to be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// The agent that the fleet is to run. None: nobody has named one, and each instance runs what it
    /// was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<DesiredAgent>,
    /// The last prune, if there ever was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// Where the current release's rollout leads back to. None: there is nothing before it that was
    /// good for the whole fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// What somebody wants of the current release's rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Who wrote this state. The next one carries another, or an older program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// Numbers up to this one are taken, though this state does not show by whom: set when states
    /// were lost to damage that may have held releases.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub numbers_taken: u64,
    /// What a newer `engr` wrote and this one does not know: kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Who took a step from one state to the next: what the step was follows from the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Author {
    /// Who, `user@host`.
    pub by: String,
    /// When, by that one's clock.
    pub at: Timestamp,
    /// The claim that it was done under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<Id>,
}

impl Author {
    fn new(by: &str, at: Timestamp) -> Option<Self> {
        Some(Self { by: by.to_owned(), at, under: None })
    }

    /// The holder of `claim`, under it.
    fn under(claim: &Claim, at: Timestamp) -> Option<Self> {
        Some(Self { by: claim.by.clone(), at, under: Some(claim.id.clone()) })
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why there is no next state.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Nothing is to be published.
    #[error("{} has locked the app since {}: {}", .0.by, .0.since, .0.message)]
    Locked(Box<Lock>),
    /// Somebody else is deploying.
    #[error("{} has been deploying since {}", .0.by, .0.since)]
    Claimed(Box<Claim>),
    /// The claim to be renewed or published under is gone: expired and taken, or broken by hand.
    #[error("the claim was taken away{}", by_whom(.0))]
    ClaimLost(Option<Box<Claim>>),
    /// The current release is not the one that the caller expects.
    #[error("the current release is {}, not v{expected}", shown(.current))]
    NotCurrent {
        /// `--if-current`.
        expected: u64,
        /// What is current.
        current: Option<u64>,
    },
}

fn by_whom(claim: &Option<Box<Claim>>) -> String {
    claim.as_ref().map(|claim| format!(", {} is deploying now", claim.by)).unwrap_or_default()
}

fn shown(number: &Option<u64>) -> String {
    number.map_or("none".to_owned(), |number| format!("v{number}"))
}

impl State {
    /// The state of an app that has no release yet.
    pub fn new(app: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA,
            app: app.into(),
            attempt: Id::fixed("none"),
            release: None,
            staged_environment: None,
            claim: None,
            lock: None,
            agent: None,
            pruned: None,
            base: None,
            order: None,
            author: None,
            numbers_taken: 0,
            other: Map::new(),
        }
    }

    /// Parses an object's bytes.
    ///
    /// # Errors
    /// When they are no state, or one of a newer schema.
    pub fn from_object(data: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let form = |cause| StateError::Form { cause };
        let Schema { schema } = serde_json::from_slice(data).map_err(form)?;
        if schema > SCHEMA {
            return Err(StateError::Newer { found: schema });
        }
        serde_json::from_slice(data).map_err(form)
    }

    /// The bytes of the object.
    pub fn to_object(&self) -> Vec<u8> {
        let mut data = serde_json::to_vec_pretty(self).expect("a state serializes");
        data.push(b'\n');
        data
    }

    /// The current release's number.
    pub fn current(&self) -> Option<u64> {
        self.release.as_ref().map(|release| release.number)
    }

    /// The claim that binds others now.
    pub fn live_claim(&self, now: Timestamp) -> Option<&Claim> {
        self.claim.as_ref().filter(|claim| claim.is_live(now))
    }

    /// The lock that binds now.
    pub fn live_lock(&self, now: Timestamp) -> Option<&Lock> {
        self.lock.as_ref().filter(|lock| lock.is_live(now))
    }

    /// Whether something may be published, or prepared for it.
    ///
    /// # Errors
    /// [`Refused::Locked`] while a lock binds.
    pub fn unfrozen(&self, now: Timestamp) -> Result<(), Refused> {
        match self.live_lock(now) {
            Some(lock) => Err(Refused::Locked(Box::new(lock.clone()))),
            None => Ok(()),
        }
    }

    /// The claim is taken by `claim`.
    ///
    /// # Errors
    /// [`Refused::Locked`] while a lock binds, and [`Refused::Claimed`] while another's claim lives.
    pub fn claimed(self, claim: Claim, now: Timestamp) -> Result<Self, Refused> {
        self.unfrozen(now)?;
        match self.live_claim(now) {
            Some(other) if other.id != claim.id => Err(Refused::Claimed(Box::new(other.clone()))),
            _ => Ok(Self { author: Author::under(&claim, now), claim: Some(claim), ..self }),
        }
    }

    /// The claim `id` lives on from `now`, and names `artifact` if one is given.
    ///
    /// # Errors
    /// [`Refused::ClaimLost`] when it is no longer there, and [`Refused::Locked`] when a lock was set
    /// meanwhile: what the claim is for would be refused.
    pub fn renewed(
        self,
        id: &Id,
        artifact: Option<Artifact>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        self.unfrozen(now)?;
        match &self.claim {
            Some(claim) if claim.id == *id => {
                let artifact = artifact.or(claim.artifact);
                let claim = Claim { expires: now + CLAIM_LIFE, artifact, ..claim.clone() };
                Ok(Self { author: Author::under(&claim, now), claim: Some(claim), ..self })
            }
            other => Err(Refused::ClaimLost(other.clone().map(Box::new))),
        }
    }

    /// The claim `id` is given up; anybody else's is left alone.
    pub fn unclaimed(self, id: &Id, now: Timestamp) -> Self {
        match &self.claim {
            Some(claim) if claim.id == *id => {
                Self { author: Author::under(claim, now), claim: None, ..self }
            }
            _ => self,
        }
    }

    /// From now on nothing is published, in place of an earlier lock. A claim stays: its holder, who
    /// cannot publish any more, gives it up or lets it expire.
    pub fn locked(self, lock: Lock, now: Timestamp) -> Self {
        Self { author: Author::new(&lock.by, now), lock: Some(lock), ..self }
    }

    /// Whoever's claim and lock they are, they are gone: `by` removes them.
    pub fn unlocked(self, by: &str, now: Timestamp) -> Self {
        Self { claim: None, lock: None, author: Author::new(by, now), ..self }
    }

    /// A prune begins under the claim `id`, that keeps the releases from `from` on.
    ///
    /// # Errors
    /// Those of [`Self::renewed`].
    pub fn prune_begun(self, id: &Id, from: u64, now: Timestamp) -> Result<Self, Refused> {
        let state = self.renewed(id, None, now)?;
        let before = state.pruned.clone().unwrap_or_default();
        let from = if before.unfinished { from.max(before.from) } else { from };
        let pruned = Some(Pruned { count: before.count + 1, from, unfinished: true });
        Ok(Self { pruned, ..state })
    }

    /// The prune under the claim `id` has removed all that it meant to, and the claim has ended.
    ///
    /// # Errors
    /// Those of [`Self::renewed`].
    pub fn prune_ended(self, id: &Id, now: Timestamp) -> Result<Self, Refused> {
        let state = self.renewed(id, None, now)?;
        let pruned = state.pruned.clone().map(|pruned| Pruned { unfinished: false, ..pruned });
        Ok(Self { pruned, claim: None, ..state })
    }

    /// Set while a prune may still remove what is found in the bucket: it keeps what the releases
    /// from this number on have.
    pub fn prune_unfinished(&self) -> Option<u64> {
        self.pruned.as_ref().filter(|pruned| pruned.unfinished).map(|pruned| pruned.from)
    }

    /// `environment` waits for the next deploy, as `by` wants it; with none, nothing waits any
    /// longer.
    ///
    /// # Errors
    /// [`Refused::Locked`] while a lock binds, and [`Refused::Claimed`]: a deploy under way would
    /// lose its publish to this write.
    pub fn staged(
        self,
        environment: Option<Digest>,
        by: &str,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        self.unfrozen(now)?;
        if let Some(claim) = self.live_claim(now) {
            return Err(Refused::Claimed(Box::new(claim.clone())));
        }
        Ok(Self { staged_environment: environment, author: Author::new(by, now), ..self })
    }

    /// The base is what a rollout of the next release leads back to, as far as `progress`, what the
    /// fleet says of the current one, shows it.
    pub fn based(self, progress: Option<&Progress>) -> Self {
        let Some(current) = &self.release else { return self };
        let progress = progress.filter(|progress| progress.release == current.id);
        let is_aborted =
            rollout::course::order_of(&self).is_some_and(|order| order.verb == Verb::Abort);
        let stage = progress.map(|progress| progress.stage);
        let base = match stage {
            // An older `engr` has published it, and nobody has conducted it.
            None if current.rollout.is_none() => {
                Some(Base { release: current.clone(), reverted: BTreeSet::new() })
            }
            // An order that comes after the end is not carried out.
            Some(Stage::Done) => Some(Base { release: current.clone(), reverted: BTreeSet::new() }),
            stage if stage.is_some_and(Stage::is_taken_back) || is_aborted => {
                self.base.clone().map(|mut base| {
                    base.reverted.insert(current.number);
                    base
                })
            }
            Some(Stage::Watching) => {
                Some(Base { release: current.clone(), reverted: BTreeSet::new() })
            }
            _ => self.base.clone(),
        };
        Self { base, ..self }
    }

    /// The same, where the instances' own word may be ahead of their conductor's: `good` is the release
    /// that is well on all of them, if one is.
    pub fn based_on(self, progress: Option<&Progress>, good: Option<u64>) -> Self {
        let Some(current) = &self.release else { return self };
        let stage = progress.filter(|progress| progress.release == current.id);
        let is_taken_back = stage.is_some_and(|progress| progress.stage.is_taken_back());
        let is_aborted =
            rollout::course::order_of(&self).is_some_and(|order| order.verb == Verb::Abort);
        match good == Some(current.number) && !is_taken_back && !is_aborted {
            true => {
                let base = Base { release: current.clone(), reverted: BTreeSet::new() };
                Self { base: Some(base), ..self }
            }
            false => self.based(progress),
        }
    }

    /// `verb` is what `by` wants of the current release's rollout.
    ///
    /// # Errors
    /// [`Refused::NotCurrent`] when another release than `number` is current.
    pub fn ordered(
        self,
        verb: Verb,
        number: u64,
        by: &str,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let Some(release) = self.release.as_ref().filter(|release| release.number == number) else {
            return Err(Refused::NotCurrent { expected: number, current: self.current() });
        };
        let order = Order {
            id: Id::random(),
            release: release.id.clone(),
            verb,
            by: by.to_owned(),
            at: now,
        };
        Ok(Self { order: Some(order), author: Author::new(by, now), ..self })
    }

    /// The next release is current, and the claim has ended.
    ///
    /// `under` is the claim to publish under; without one nobody else's may live. A staged
    /// environment ends with the release that has it, which is the caller's to take from
    /// [`Self::staged_environment`]; any other release leaves it staged.
    ///
    /// # Errors
    /// [`Refused::Locked`], [`Refused::ClaimLost`] or [`Refused::Claimed`], and
    /// [`Refused::NotCurrent`] when `if_current` names another release than the current one.
    pub fn published(
        self,
        draft: Draft,
        under: Option<&Id>,
        if_current: Option<u64>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        self.unfrozen(now)?;
        match (under, &self.claim) {
            (Some(id), Some(claim)) if claim.id == *id => {}
            (Some(_), other) => {
                return Err(Refused::ClaimLost(other.clone().map(Box::new)));
            }
            (None, Some(claim)) if claim.is_live(now) => {
                return Err(Refused::Claimed(Box::new(claim.clone())));
            }
            (None, _) => {}
        }
        let current = self.current();
        if let Some(expected) = if_current.filter(|expected| Some(*expected) != current) {
            return Err(Refused::NotCurrent { expected, current });
        }
        let takes_staged = draft.environment == self.staged_environment;
        let release = Release {
            number: current.unwrap_or(0).max(self.numbers_taken) + 1,
            id: draft.id,
            published: now,
            by: draft.by,
            kind: draft.kind,
            message: draft.message,
            source: draft.source,
            artifact: draft.artifact,
            environment: draft.environment,
            settings: draft.settings,
            rollout: Some(draft.rollout),
        };
        let staged_environment = self.staged_environment.filter(|_| !takes_staged);
        let author = Some(Author { by: release.by.clone(), at: now, under: under.cloned() });
        Ok(Self {
            release: Some(release),
            claim: None,
            order: None,
            staged_environment,
            author,
            ..self
        })
    }
}

/// Why bytes are no state that this program can use.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A newer `engr` wrote it, in a way that this one would misread.
    #[error("state.json has schema {found}, and this program knows schemas up to {SCHEMA}")]
    Newer {
        /// Its schema.
        found: u32,
    },
    /// It is no state.
    #[error("state.json cannot be read")]
    Form {
        /// What the parser says.
        #[source]
        cause: serde_json::Error,
    },
}
