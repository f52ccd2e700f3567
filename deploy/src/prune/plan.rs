//! What goes and what stays. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Kept;
use crate::Digest;
use crate::desired_agent::AGENTS_KEPT;
use crate::layout;
use crate::state::State;
use crate::store::{Generation, Stat};

/// What a prune removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The releases from this number on are kept; 0: all of them.
    pub from: u64,
    /// How many releases that are.
    pub kept: usize,
    /// Generations of `state.json`, oldest first, with their sizes.
    pub states: Vec<(Generation, u64)>,
    /// Objects that no kept state names, by name.
    pub objects: Vec<Doomed>,
    /// A prune that did not come to its end is gone on with.
    pub goes_on: bool,
}

/// An object that goes, with all its generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Its name.
    pub name: String,
    /// What is live; none where an earlier prune may have left older generations.
    pub live: Option<Generation>,
    /// The size of what is live.
    pub size: u64,
}

/// A state that is to be kept cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "generation {0} of state.json cannot be read, so nobody knows which artifacts and environments \
     it names"
)]
pub struct Unreadable(pub Generation);

impl Plan {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty() && self.live(|_| true).0 == 0 && !self.goes_on
    }

    /// Whether nothing goes that `state` names: the newest one, when the prune is marked in it.
    pub fn spares(&self, state: &State) -> bool {
        let mut named = named(state);
        named.extend(agents(state));
        !self.objects.iter().any(|doomed| named.contains(&doomed.name))
    }

    /// How many live artifacts go, and how large they are.
    pub fn artifacts(&self) -> (usize, u64) {
        self.live(|name| name.starts_with(layout::ARTIFACTS))
    }

    /// How many live environments go, and how large they are.
    pub fn environments(&self) -> (usize, u64) {
        self.live(|name| name.starts_with(layout::ENVIRONMENTS))
    }

    /// How many live agents go, and how large they are.
    pub fn agents(&self) -> (usize, u64) {
        self.live(|name| name.starts_with(layout::AGENTS))
    }

    /// How many bytes all that is known to go has.
    pub fn bytes(&self) -> u64 {
        self.live(|_| true).1 + self.states.iter().map(|(_, size)| size).sum::<u64>()
    }

    fn live(&self, counts: impl Fn(&str) -> bool) -> (usize, u64) {
        let live = self.objects.iter().filter(|one| one.live.is_some() && counts(&one.name));
        live.fold((0, 0), |(count, size), one| (count + 1, size + one.size))
    }
}

/// Works out what goes when the newest `keep` releases stay, from all states, oldest first, and the
/// live objects.
///
/// # Errors
/// When a state that stays cannot be read. One that goes need not be.
pub fn plan(states: &[Kept], listed: &[Stat], keep: usize) -> Result<Plan, Unreadable> {
    let unfinished = states.iter().rev().find_map(|kept| kept.state.as_ref());
    let unfinished = unfinished.and_then(|state| state.pruned.clone()).filter(|p| p.unfinished);
    let from = oldest_kept(states, keep).max(unfinished.as_ref().map_or(0, |pruned| pruned.from));
    let stays = |kept: &Kept| kept.state.as_ref().and_then(State::current) >= Some(from);
    let first = if from == 0 { 0 } else { states.iter().position(stays).unwrap_or(0) };
    let (go, stay) = states.split_at(first);

    let mut needed: BTreeSet<String> = agents_kept(stay).collect();
    let mut releases = BTreeSet::new();
    for kept in stay {
        let state = kept.state.as_ref().ok_or(Unreadable(kept.generation))?;
        needed.extend(named(state));
        releases.extend(state.current());
    }
    let ours = listed.iter().filter(|stat| digest(&stat.name).is_some());
    let ours = ours.map(|stat| (stat.name.clone(), Some(stat)));
    // Of those that are not live older generations may be left.
    let named_once =
        |state: &State| named(state).into_iter().chain(agents(state)).collect::<Vec<_>>();
    let gone = states.iter().filter_map(|kept| kept.state.as_ref()).flat_map(named_once);
    let mut objects: BTreeMap<String, Option<&Stat>> = gone.map(|name| (name, None)).collect();
    objects.extend(ours);
    objects.retain(|name, _| !is_needed(name, &needed));
    let doomed = objects.into_iter().map(|(name, stat)| Doomed {
        name,
        live: stat.map(|stat| stat.generation),
        size: stat.map_or(0, |stat| stat.size),
    });
    Ok(Plan {
        from,
        kept: releases.len(),
        states: go.iter().map(|kept| (kept.generation, kept.size)).collect(),
        objects: doomed.collect(),
        goes_on: unfinished.is_some(),
    })
}

/// The number of the oldest of the newest `keep` releases; 0 where there are no more.
fn oldest_kept(states: &[Kept], keep: usize) -> u64 {
    let numbers = states.iter().filter_map(|kept| kept.state.as_ref()?.current());
    let numbers: BTreeSet<u64> = numbers.collect();
    match numbers.len() > keep.max(1) {
        true => numbers.iter().rev().nth(keep.max(1) - 1).copied().unwrap_or(0),
        false => 0,
    }
}

/// The binaries that the newest [`AGENTS_KEPT`] wishes in these states name. There are more states
/// than that which name some, as every deploy makes one.
fn agents_kept(stay: &[Kept]) -> impl Iterator<Item = String> {
    let mut wishes = Vec::new();
    for state in stay.iter().rev().filter_map(|kept| kept.state.as_ref()) {
        if let Some(agent) = &state.agent
            && !wishes.contains(&&agent.id)
            && wishes.len() < AGENTS_KEPT
        {
            wishes.push(&agent.id);
        }
    }
    let states = stay.iter().filter_map(|kept| kept.state.as_ref());
    let is_kept =
        move |state: &&State| state.agent.as_ref().is_some_and(|agent| wishes.contains(&&agent.id));
    states.filter(is_kept).flat_map(agents)
}

/// The agents that a state names.
fn agents(state: &State) -> Vec<String> {
    let binaries = state.agent.iter().flat_map(|agent| agent.binaries.values());
    binaries.map(|binary| layout::agent(&binary.digest)).collect()
}

/// The objects of the app that a state names: all but the agents.
fn named(state: &State) -> Vec<String> {
    let base = state.base.iter().map(|base| &base.release);
    let release = state.release.iter().chain(base).flat_map(crate::release::Release::objects);
    let claimed = state.claim.as_ref().and_then(|claim| claim.artifact);
    let claimed = claimed.map(|artifact| layout::artifact(&artifact.digest));
    let staged = state.staged_environment.as_ref().map(layout::environment);
    release.chain(claimed).chain(staged).collect()
}

/// What belongs to an artifact, a delta to it say, goes and stays with it.
fn is_needed(name: &str, needed: &BTreeSet<String>) -> bool {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    needed.contains(stem)
}

/// The digest that names an artifact, an environment or an agent. Objects of other names are left alone: they
/// are none of this program's.
fn digest(name: &str) -> Option<Digest> {
    let prefixes = layout::CONTENT;
    let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    rest.split_once('.').map_or(rest, |(stem, _)| stem).parse().ok()
}
