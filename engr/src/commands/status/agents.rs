//! What is shown of the agents, where they matter. Pure.

use std::collections::BTreeSet;

use deploy::Timestamp;
use deploy::agent_rollout::AgentStanding;

use super::snapshot::{InstanceStatus, Snapshot};
use crate::output::when;

/// Whether the agents differ, or one is named for them.
pub(super) fn matter(snapshot: &Snapshot) -> bool {
    let known = snapshot.instances.iter().filter(|one| one.agent_version.is_some());
    let kinds: BTreeSet<_> =
        known.map(|one| (one.agent_version.clone(), one.agent_digest)).collect();
    snapshot.agent.is_some() || kinds.len() > 1
}

/// Which agent an instance runs, and how far it is with the wanted one where that is another.
pub(super) fn cell(snapshot: &Snapshot, one: &InstanceStatus) -> String {
    let Some(version) = &one.agent_version else { return "-".to_owned() };
    let same = snapshot.instances.iter().filter(|other| other.agent_version == one.agent_version);
    let digests: BTreeSet<_> = same.map(|other| other.agent_digest).collect();
    let digest = one.agent_digest.filter(|_| digests.len() > 1);
    let digest = digest.map(|digest| format!(" {}", &digest.short()[..6])).unwrap_or_default();
    let standing = match &one.agent_standing {
        Some(AgentStanding::Underway(phase)) => format!(" ({})", phase.word()),
        Some(AgentStanding::Bad(_)) => " (the wanted one is bad)".to_owned(),
        Some(AgentStanding::Halted) => " (halted)".to_owned(),
        Some(AgentStanding::Unable { .. }) => " (cannot update)".to_owned(),
        Some(AgentStanding::Good | AgentStanding::Behind | AgentStanding::Silent) | None => {
            String::new()
        }
    };
    format!("{version}{digest}{standing}")
}

/// Which agent is wanted, while it does not run everywhere.
pub(super) fn line(snapshot: &Snapshot, now: Timestamp) -> Option<String> {
    let agent = snapshot.agent.as_ref()?;
    let all = snapshot.instances.len();
    let is_good = |one: &&InstanceStatus| one.agent_standing == Some(AgentStanding::Good);
    let good = snapshot.instances.iter().filter(is_good).count();
    let message = agent.message.as_deref().and_then(|message| message.lines().next());
    let message = message.map(|message| format!(" ({message})")).unwrap_or_default();
    (good < all).then(|| {
        let at = when::clock(agent.at, now);
        format!(
            "agentd is to be {}, by {} at {at}{message}: {good} of {all} run it",
            agent.shown(),
            agent.by
        )
    })
}

/// Why the wanted agent does not run, where it was tried.
pub(super) fn bad(snapshot: &Snapshot) -> Vec<String> {
    let line = |one: &InstanceStatus| match &one.agent_standing {
        Some(AgentStanding::Bad(Some(bad))) => Some(format!(
            "{} has marked agentd {} ({}) bad: {}",
            one.name,
            bad.version,
            bad.digest.short(),
            bad.reason
        )),
        _ => None,
    };
    snapshot.instances.iter().filter_map(line).collect()
}
