//! The state in the bucket, and the agents that go by it.

use std::collections::BTreeMap;

use deploy::Timestamp;
use deploy::agent_rollout::AgentStanding;
use deploy::desired_agent::DesiredAgent;
use deploy::publish::load;
use deploy::report::Report;
use deploy::state::State;

use super::finding::Finding;
use crate::context::AppContext;
use crate::failure::CommandResult;
use crate::output::when;
use crate::publish::{holder, load_failure};
use deploy::reports::Reports;

/// Looks at the state and the fleet.
pub async fn look(app: &AppContext) -> Vec<Finding> {
    match try_look(app).await {
        Ok(findings) => findings,
        Err(failure) if failure.is_missing_bucket() => Vec::new(),
        Err(failure) => vec![Finding::failed("state", &failure)],
    }
}

async fn try_look(app: &AppContext) -> CommandResult<Vec<Finding>> {
    let store = app.store()?;
    let loaded = load(&*store, &app.name).await.map_err(load_failure)?;
    let now = Timestamp::now();
    let mut findings = vec![state(&loaded.state, now)];
    if loaded.damage.is_some() {
        findings.push(Finding::weak(
            "state",
            "the newest generation of state.json is damaged",
            Some("the next publish makes it whole".to_owned()),
        ));
    }
    let mut reports = Reports::default();
    reports.refresh(&*store).await?;
    findings.extend(agents(loaded.state.agent.as_ref(), reports.iter()));
    Ok(findings)
}

fn state(state: &State, now: Timestamp) -> Finding {
    let release =
        state.current().map_or("no release yet".to_owned(), |number| format!("v{number}"));
    match state.live_claim(now) {
        Some(claim) => Finding::good("state", format!("{release}; {}", holder(claim, now))),
        None => Finding::good("state", release),
    }
}

/// Which versions there are, where the one that is wanted does not run, and whose view of the bucket
/// is old.
fn agents<'a>(
    wanted: Option<&DesiredAgent>,
    reports: impl Iterator<Item = (&'a str, &'a Report)>,
) -> Vec<Finding> {
    const WHAT: &str = "agents";
    let own = env!("CARGO_PKG_VERSION");
    let mut versions = BTreeMap::<&str, usize>::new();
    let (mut stale, mut others) = (Vec::new(), Vec::new());
    for (name, report) in reports {
        others.extend(wanted.and_then(|wanted| other(wanted, name, report)));
        *versions.entry(&report.agent.version).or_default() += 1;
        if let Some(age) = report.old_view() {
            stale.push(format!("{name} ({})", when::length(age)));
        }
    }
    let listed = versions.iter().map(|(version, count)| format!("{count} × agentd {version}"));
    let listed = listed.collect::<Vec<_>>().join(", ");
    // Where one is named, it is that one that counts.
    let is_mixed = wanted.is_none() && versions.keys().any(|version| *version != own);
    let mut findings = vec![match (versions.is_empty(), is_mixed) {
        (true, _) => Finding::good(WHAT, "none has reported yet"),
        (false, false) => Finding::good(WHAT, listed),
        (false, true) => {
            let remedy = "bring the fleet's agents to engr's version: `engr <app> agent:update`";
            Finding::weak(WHAT, format!("{listed}; engr is {own}"), Some(remedy.to_owned()))
        }
    }];
    if let Some(wanted) = wanted.filter(|_| !others.is_empty()) {
        let text = format!("{} does not run everywhere: {}", wanted.shown(), others.join("; "));
        let remedy = "try it again with `engr <app> agent:update --retry`, or take it back with \
                      `engr <app> agent:rollback`";
        findings.push(Finding::weak(WHAT, text, Some(remedy.to_owned())));
    }
    if !stale.is_empty() {
        let text = format!("these had not heard from the bucket for long: {}", stale.join(", "));
        findings.push(Finding::weak(WHAT, text, Some("see their logs".to_owned())));
    }
    findings
}

/// What an instance says that does not run the agent that is wanted.
fn other(wanted: &DesiredAgent, name: &str, report: &Report) -> Option<String> {
    Some(match AgentStanding::of(wanted, Some(report)) {
        AgentStanding::Good | AgentStanding::Silent => return None,
        AgentStanding::Bad(bad) => {
            let reason = bad.map(|bad| format!(" ({})", bad.reason)).unwrap_or_default();
            format!("{name} has marked it bad{reason}")
        }
        AgentStanding::Halted => format!("{name} does not try it"),
        AgentStanding::Unable { version } => {
            format!("{name} runs {version} and cannot update itself")
        }
        AgentStanding::Behind => format!("{name} has not seen it"),
        AgentStanding::Underway(phase) => format!("{name} is {}", phase.word()),
    })
}
