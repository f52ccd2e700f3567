//! Which `agentd` the fleet is to run: named in `state.json`, by hand, as a release is.
//!
//! A [`DesiredAgent`] names one binary for each architecture; the bytes lie at
//! [`crate::layout::agent`]. Where it names none, an instance is to run the binary that it was made
//! with: so the first update of all can be taken back, too. Each instance goes by itself, one at a
//! time, in an order that all of them work out alike ([`order_key`]); how far it is it reports as an
//! [`crate::report::AgentUpdate`].
//!
//! Another's claim does not stop a change of the agent: instances change their agent only while no
//! switch is under way, what a deploy publishes does not depend on it, and its claim stays as it is.
//! A lock does stop it, as it stops all that changes what runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::id::Id;
use crate::state::{Author, Refused, State};

/// How many of the newest [`DesiredAgent`]s keep their binaries when a bucket is pruned.
pub const AGENTS_KEPT: usize = 5;

/// The architecture of this program, as [`DesiredAgent::binaries`] calls it.
pub const OWN_ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// Stands before its version in the bytes of every `agentd`, and a `;` behind it: so the version is
/// known where the program cannot be run, and that it is an `agentd` at all.
pub const VERSION_MARK: &str = "engineer-agentd-version:";

/// The agent that the fleet is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DesiredAgent {
    /// Tells it from any other, of the same binaries too.
    pub id: Id,
    /// Who wants it, `user@host`.
    pub by: String,
    /// Since when, by that one's clock.
    pub at: Timestamp,
    /// What that one says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// It goes back to binaries that were named before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
    /// An instance that has marked one of the binaries bad is to try it once more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// By architecture, `amd64` or `arm64`. None for one: what each instance was made with.
    pub binaries: BTreeMap<String, AgentBinary>,
}

/// One executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentBinary {
    /// Its SHA-256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its version, as `agentd --version` has it.
    pub version: String,
}

/// Who wants another agent, and why: all but which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// See [`DesiredAgent::id`].
    pub id: Id,
    /// See [`DesiredAgent::by`].
    pub by: String,
    /// See [`DesiredAgent::message`].
    pub message: Option<String>,
    /// See [`DesiredAgent::retry`].
    pub retry: bool,
}

impl DesiredAgent {
    /// What people read: `0.2.0 (3f9c01ab77de)` for each architecture, or `what each was made with`.
    pub fn shown(&self) -> String {
        if self.binaries.is_empty() {
            return "what each instance was made with".to_owned();
        }
        let shown = |(arch, binary): (&String, &AgentBinary)| {
            format!("{} for {arch} ({})", binary.version, binary.digest.short())
        };
        self.binaries.iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}

impl State {
    /// The instances of `arch` are to run `binary`; those of other architectures what they were to
    /// run before.
    ///
    /// # Errors
    /// [`Refused::Locked`] while a lock binds.
    pub fn agent_set(
        self,
        arch: &str,
        binary: AgentBinary,
        wish: Wish,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let mut binaries =
            self.agent.as_ref().map(|agent| agent.binaries.clone()).unwrap_or_default();
        binaries.insert(arch.to_owned(), binary);
        self.with_agent(binaries, wish, false, now)
    }

    /// All instances are to run `binaries`, as they were to once before.
    ///
    /// # Errors
    /// [`Refused::Locked`] while a lock binds.
    pub fn agent_rolled_back(
        self,
        binaries: BTreeMap<String, AgentBinary>,
        wish: Wish,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        self.with_agent(binaries, wish, true, now)
    }

    fn with_agent(
        self,
        binaries: BTreeMap<String, AgentBinary>,
        wish: Wish,
        rollback: bool,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        self.unfrozen(now)?;
        let Wish { id, by, message, retry } = wish;
        let author = Some(Author { by: by.clone(), at: now, under: None });
        let agent = DesiredAgent { id, by, at: now, message, rollback, retry, binaries };
        Ok(Self { agent: Some(agent), author, ..self })
    }
}

/// Where `instance` stands in the order in which the fleet goes to the agent `id`: the lowest goes
/// first, and is the canary. Another update has another order, so that it is not always the same
/// instance that is put at risk.
pub fn order_key(id: &Id, instance: &str) -> Digest {
    Digest::of(format!("{id}\n{instance}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Claim;
    use crate::fixtures::{at, draft, wish};
    use crate::lock::Lock;

    fn binary(content: &str) -> AgentBinary {
        let digest = Digest::of(content.as_bytes());
        AgentBinary { digest, size: content.len() as u64, version: content.to_owned() }
    }

    #[test]
    fn an_agent_is_set_for_one_architecture_and_the_others_stay() {
        let state = State::new("app").agent_set("amd64", binary("1"), wish("a"), at(1)).unwrap();
        let state = state.agent_set("arm64", binary("2"), wish("b"), at(2)).unwrap();
        let state = state.agent_set("amd64", binary("3"), wish("c"), at(3)).unwrap();
        let agent = state.agent.clone().unwrap();
        assert_eq!((&agent.id, agent.at, agent.rollback), (&Id::fixed("c"), at(3), false));
        let versions: Vec<_> = agent.binaries.iter().map(|(a, b)| (&**a, &*b.version)).collect();
        assert_eq!(versions, [("amd64", "3"), ("arm64", "2")]);
        assert_eq!(
            state.author.as_ref().map(|author| (&*author.by, author.at)),
            Some(("c", at(3)))
        );
        assert_eq!(State::from_object(&state.to_object()).unwrap(), state);
    }

    #[test]
    fn a_rollback_names_what_was_named_before() {
        let first = State::new("app").agent_set("amd64", binary("1"), wish("a"), at(1)).unwrap();
        let before = first.agent.clone().unwrap().binaries;
        let state = first.agent_set("amd64", binary("2"), wish("b"), at(2)).unwrap();
        let back = state.agent_rolled_back(before.clone(), wish("c"), at(3)).unwrap();
        let agent = back.agent.clone().unwrap();
        assert_eq!((agent.rollback, &agent.binaries), (true, &before));
        assert!(agent.shown().starts_with("1 for amd64 ("), "{}", agent.shown());
        let none = back.agent_rolled_back(BTreeMap::new(), wish("d"), at(4)).unwrap();
        assert_eq!(none.agent.unwrap().shown(), "what each instance was made with");
    }

    #[test]
    fn a_lock_stops_it_and_a_claim_does_not() {
        let lock = Lock { by: "b".into(), since: at(0), message: "why".into(), until: None };
        let locked = State::new("app").locked(lock, at(0));
        let refused = locked.clone().agent_set("amd64", binary("1"), wish("a"), at(1));
        assert!(matches!(refused, Err(Refused::Locked(_))));
        let refused = locked.agent_rolled_back(BTreeMap::new(), wish("a"), at(1));
        assert!(matches!(refused, Err(Refused::Locked(_))));

        let own = Id::fixed("c");
        let claim = Claim::new(own.clone(), "c@laptop".into(), at(0));
        let state = State::new("app").claimed(claim.clone(), at(0)).unwrap();
        let state = state.agent_set("amd64", binary("1"), wish("a"), at(1)).unwrap();
        assert_eq!(state.claim, Some(claim), "its holder goes on");
        let state = state.published(draft("one", "c@laptop"), Some(&own), None, at(2)).unwrap();
        assert_eq!(state.agent.map(|agent| agent.id), Some(Id::fixed("a")), "a release keeps it");
    }

    /// A program that does not know of agents keeps what names them: as [`State::other`].
    #[test]
    fn an_older_program_keeps_it() {
        #[derive(Serialize, Deserialize)]
        struct Older {
            schema: u32,
            #[serde(flatten)]
            other: serde_json::Map<String, serde_json::Value>,
        }
        let state = State::new("app").agent_set("amd64", binary("1"), wish("a"), at(1)).unwrap();
        let older: Older = serde_json::from_slice(&state.to_object()).unwrap();
        let kept = State::from_object(&serde_json::to_vec(&older).unwrap()).unwrap();
        assert_eq!(kept.agent, state.agent);
    }

    /// And a newer one may say more of an agent than this one knows.
    #[test]
    fn what_is_not_known_is_passed_over() {
        let newer = br#"{"schema": 1, "app": "app", "attempt": "1", "agent": {"id": "a", "by": "b",
            "at": "2026-01-01T00:00:00Z", "waves": 3, "binaries": {"riscv64": {"digest":
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size": 0,
            "version": "9", "signed": true}}}}"#;
        let agent = State::from_object(newer).unwrap().agent.unwrap();
        assert_eq!(agent.binaries.get(OWN_ARCH), None);
    }

    #[test]
    fn every_update_has_an_order_of_its_own() {
        let first = |id: &str| {
            let names = ["app-1", "app-2", "app-3", "app-4"];
            names.into_iter().min_by_key(|name| order_key(&Id::fixed(id), name)).unwrap()
        };
        let canaries: std::collections::BTreeSet<_> =
            (0..50).map(|id| first(&id.to_string())).collect();
        assert_eq!(canaries.len(), 4);
    }
}
