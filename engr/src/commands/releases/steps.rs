//! The steps that are no releases. Pure.

use std::borrow::Cow;

use deploy::Timestamp;
use deploy::claim::Claim;
use deploy::desired_agent::DesiredAgent;
use deploy::history::{Ended, History, Step, What};
use deploy::lock::Lock;
use deploy::rollout::Verb;
use serde::Serialize;

use crate::output::when;

/// The steps, the newest first: the last claim's end too, which nobody had to write.
pub(super) fn newest_first(
    history: &History,
    now: Timestamp,
) -> impl Iterator<Item = Cow<'_, Step>> {
    let expired = history.newest().and_then(|state| state.claim.clone());
    let expired = expired.filter(|claim| !claim.is_live(now)).zip(history.steps.last());
    let expired = expired.map(|(claim, last)| Step {
        generation: last.generation,
        by: Some(claim.by.clone()),
        at: Some(claim.expires),
        what: What::ClaimEnded { claim, how: Ended::Expired },
    });
    expired.map(Cow::Owned).into_iter().chain(history.steps.iter().rev().map(Cow::Borrowed))
}

/// A step in the columns of the releases.
pub(super) fn row(step: &Step, now: Timestamp) -> [String; 9] {
    let [release, commit, outcome] = [""; 3].map(str::to_owned);
    let at = step.at.map_or_else(unknown, |at| when::clock(at, now));
    let by = step.by.clone().unwrap_or_else(unknown);
    let artifact = match &step.what {
        What::Claimed { claim, .. } => claim.artifact.map(|artifact| artifact.digest.short()),
        _ => None,
    };
    let (what, message) = (word(&step.what).replace('-', " "), message(step, now));
    let artifact = artifact.unwrap_or_default();
    [String::new(), release, at, by, what, commit, artifact, outcome, message]
}

fn unknown() -> String {
    "-".to_owned()
}

/// What was done, as JSON has it; people read it with spaces.
fn word(what: &What) -> &'static str {
    match what {
        What::Claimed { .. } => "claimed",
        What::ClaimEnded { how: Ended::GivenUp, .. } => "claim-given-up",
        What::ClaimEnded { how: Ended::Expired, .. } => "claim-expired",
        What::ClaimEnded { how: Ended::Broken, .. } => "claim-broken",
        What::ClaimEnded { how: Ended::Unknown, .. } => "claim-ended",
        What::Published { .. } => "published",
        What::Staged => "staged",
        What::Unstaged => "unstaged",
        What::PruneBegun { .. } => "prune-begun",
        What::PruneEnded => "prune-ended",
        What::Ordered { verb: Verb::Pause, .. } => "paused",
        What::Ordered { verb: Verb::Resume, .. } => "resumed",
        What::Ordered { verb: Verb::Abort, .. } => "aborted",
        What::Ordered { verb: Verb::Unknown, .. } => "ordered",
        What::AgentNamed { agent } if agent.rollback => "agent-rollback",
        What::AgentNamed { .. } => "agent-set",
        What::Locked { .. } => "locked",
        What::Unlocked { .. } => "unlocked",
    }
}

fn message(step: &Step, now: Timestamp) -> String {
    match &step.what {
        What::Claimed { renewals: 0, .. } => String::new(),
        What::Claimed { renewals: 1, .. } => "renewed once".to_owned(),
        What::Claimed { renewals, .. } => format!("renewed {renewals} times"),
        What::ClaimEnded { claim, how } => {
            let whose = match how {
                Ended::Broken | Ended::Unknown => format!("{}'s, ", claim.by),
                Ended::GivenUp | Ended::Expired => String::new(),
            };
            format!("{whose}held since {}", when::clock(claim.since, now))
        }
        What::Staged => "an environment, for the next deploy".to_owned(),
        What::Unstaged => "no environment waits any longer".to_owned(),
        What::PruneBegun { from: 0 } => "keeps all releases".to_owned(),
        What::PruneBegun { from } => format!("keeps the releases from v{from} on"),
        What::PruneEnded => String::new(),
        What::AgentNamed { agent } => {
            let message = agent.message.as_deref().and_then(|message| message.lines().next());
            let message = message.map(|message| format!(": {message}")).unwrap_or_default();
            format!("{}{message}", agent.shown())
        }
        What::Locked { lock, replaces } => {
            let replaces = if *replaces { ", in another's place" } else { "" };
            let until = lock.until.map(|until| format!("until {}", when::clock(until, now)));
            let until = until.unwrap_or_else(|| "with no end".to_owned());
            format!("{until}{replaces}: {}", lock.message.lines().next().unwrap_or_default())
        }
        What::Unlocked { lock } => {
            format!("{}'s, held since {}", lock.by, when::clock(lock.since, now))
        }
        What::Published { release } | What::Ordered { release, .. } => format!("v{release}"),
    }
}

/// One step of `releases --all --json`.
#[derive(Debug, Serialize)]
pub(super) struct StepLine<'a> {
    step: &'static str,
    at: Option<Timestamp>,
    by: Option<Cow<'a, str>>,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<ClaimLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<LockLine>,
    /// As `state.json` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<DesiredAgent>,
}

#[derive(Debug, Serialize)]
struct LockLine {
    by: String,
    since: Timestamp,
    message: String,
    until: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct ClaimLine {
    by: String,
    since: Timestamp,
    expires: Timestamp,
    artifact: Option<deploy::Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewals: Option<u32>,
}

/// The newest steps, as JSON has them.
pub(super) fn lines(history: &History, now: Timestamp, shown: usize) -> Vec<StepLine<'_>> {
    newest_first(history, now).take(shown).map(line).collect()
}

fn line(step: Cow<'_, Step>) -> StepLine<'_> {
    let claim = match &step.what {
        What::Claimed { claim, renewals } => Some(claim_line(claim, Some(*renewals))),
        What::ClaimEnded { claim, .. } => Some(claim_line(claim, None)),
        _ => None,
    };
    let lock = match &step.what {
        What::Locked { lock, .. } | What::Unlocked { lock } => Some(lock_line(lock)),
        _ => None,
    };
    let release = match &step.what {
        What::Published { release } | What::Ordered { release, .. } => Some(*release),
        _ => None,
    };
    let agent = match &step.what {
        What::AgentNamed { agent } => Some(agent.clone()),
        _ => None,
    };
    StepLine {
        step: word(&step.what),
        at: step.at,
        generation: step.generation.0,
        release,
        claim,
        lock,
        agent,
        by: match step {
            Cow::Borrowed(step) => step.by.as_deref().map(Cow::Borrowed),
            Cow::Owned(step) => step.by.map(Cow::Owned),
        },
    }
}

fn lock_line(lock: &Lock) -> LockLine {
    let Lock { by, since, message, until } = lock.clone();
    LockLine { by, since, message, until }
}

fn claim_line(claim: &Claim, renewals: Option<u32>) -> ClaimLine {
    ClaimLine {
        by: claim.by.clone(),
        since: claim.since,
        expires: claim.expires,
        artifact: claim.artifact.map(|artifact| artifact.digest),
        renewals,
    }
}
