//! Makes room in a bucket: older states go, and the artifacts and environments that none of the
//! kept ones names. Of the agents, those stay that the newest few wishes name
//! ([`crate::desired_agent::AGENTS_KEPT`]): a state is kept for its release, not for its agent.
//!
//! ```text
//!   claim ──▶ look ──▶ mark ──▶ delete, erase objects ──▶ erase states ──▶ end: unmark, unclaim
//!              │         │             │
//!              │         │             └── each expects the generation that was listed
//!              │         └── compare-and-set: from here on every publisher sees the prune
//!              └── a state to be kept cannot be read: nothing is removed
//! ```
//!
//! # Why nothing that is needed goes
//!
//! A publisher finds that the bucket has an artifact, and then publishes a state that names it. A
//! prune between the two, or one that was held up (a laptop that slept, a call that hung) and goes
//! on after them, must not take it away. The claim alone cannot see to that: it ends by itself, and
//! commands without a build check and publish without one. So the state has a mark,
//! [`Pruned`], and three rules follow from it:
//!
//! 1. *What was checked before a prune is checked again after it.* A publisher that names what it
//!    found in the bucket publishes only if the mark is the one that it saw before it looked; a
//!    claimed publisher need not compare, for a mark is set under the pruner's own claim alone.
//! 2. *While a prune is unfinished, what is found is not trusted.* Who has the bytes writes them
//!    again ([`crate::publish::put_once`]), which makes a new generation, and a removal that is late
//!    expects the old one. Who has none names only what the prune keeps: what the release has that
//!    is current, or one from [`Pruned::from`] on; and no agent but the current one.
//! 3. *An unfinished prune is gone on with, not begun anew.* The next one removes at least what the
//!    last one meant to, so nothing comes to be trusted that the last one may still remove.
//!
//! Where the newest state is damaged its mark is lost with it, and so is the prune's claim, which stops
//! it; only what it had under way by then is not held back.
//!
//! A prune that dies leaves its mark, and that costs an upload or two until the next one. Objects go
//! before the states that name them: so the next one finds again what was deleted and not erased. An
//! upload that no state ever named is not found again; its bytes stay, where the prune died between
//! those two calls.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::history;
use crate::store::{ErrorKind, Expect, Generation, Result, Store, StoreError, with_tries};
use crate::{layout, state::State};

mod plan;
#[cfg(test)]
mod tests;

pub use plan::{Doomed, Plan, Unreadable, plan};

/// How many objects are being removed at a time.
const REMOVALS_MAX: usize = 16;

/// The mark of the last prune.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pruned {
    /// How many were begun.
    pub count: u64,
    /// It keeps the releases from this number on.
    pub from: u64,
    /// It may still remove something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

/// One generation of the state.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Which.
    pub generation: Generation,
    /// The state, if it can be read.
    pub state: Option<State>,
    /// Its size in bytes.
    pub size: u64,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What a state names is not known.
    #[error(transparent)]
    Unreadable(Unreadable),
}

/// Works out what a prune that keeps the newest `keep` releases removes now. Nothing is written.
///
/// # Errors
/// When the store fails, or a state that is to be kept cannot be read.
pub async fn look(store: &dyn Store, keep: usize) -> std::result::Result<Plan, LookError> {
    // In this order: what is uploaded and named after the states were read is not listed as one
    // that they do not name, unless it was there before; and for that there is the mark.
    let mut listed = Vec::new();
    for prefix in layout::CONTENT {
        listed.extend(with_tries(async || store.list(prefix).await).await?);
    }
    let mut states = Vec::new();
    history::each(store, |generation, state, size| {
        states.push(Kept { generation, state, size });
    })
    .await?;
    plan(&states, &listed, keep).map_err(LookError::Unreadable)
}

/// Carries the plan out, which was made and marked under the claim.
///
/// # Errors
/// What the store fails with. What was removed by then is gone; the next prune goes on.
pub async fn remove(store: &dyn Store, plan: &Plan) -> Result<()> {
    let objects = stream::iter(&plan.objects).map(|doomed| remove_object(store, doomed));
    objects.buffer_unordered(REMOVALS_MAX).try_for_each(async |()| Ok(())).await?;
    // Oldest first, so that what is kept of the history has no gaps.
    for (generation, _) in &plan.states {
        erase(store, layout::STATE, *generation).await?;
    }
    Ok(())
}

async fn remove_object(store: &dyn Store, doomed: &Doomed) -> Result<()> {
    let name = &doomed.name;
    if let Some(live) = doomed.live {
        let delete = async || store.delete(name, Expect::Generation(live)).await;
        match with_tries(delete).await {
            Ok(()) => {}
            // Its answer was lost, or somebody has written it again: it is needed.
            Err(error) if matches!(error.kind, ErrorKind::Lost | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    for generation in with_tries(async || store.versions(name).await).await? {
        erase(store, name, generation).await?;
    }
    Ok(())
}

/// Erases a generation, unless it is gone or live again in a new one's place.
async fn erase(store: &dyn Store, name: &str, generation: Generation) -> Result<()> {
    match with_tries(async || store.erase(name, generation).await).await {
        Err(error) if !matches!(error.kind, ErrorKind::Lost | ErrorKind::NotFound) => Err(error),
        _ => Ok(()),
    }
}
