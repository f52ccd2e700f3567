//! The state in the bucket, and the agents that go by it.

use std::collections::BTreeMap;

use deploy::Timestamp;
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
    findings.extend(agents(reports.iter()));
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

/// Which versions there are, and whose view of the bucket is old.
fn agents<'a>(reports: impl Iterator<Item = (&'a str, &'a Report)>) -> Vec<Finding> {
    const WHAT: &str = "agents";
    let own = env!("CARGO_PKG_VERSION");
    let mut versions = BTreeMap::<&str, usize>::new();
    let mut stale = Vec::new();
    for (name, report) in reports {
        *versions.entry(&report.agent.version).or_default() += 1;
        if let Some(age) = report.old_view() {
            stale.push(format!("{name} ({})", when::length(age)));
        }
    }
    let listed = versions.iter().map(|(version, count)| format!("{count} × agentd {version}"));
    let listed = listed.collect::<Vec<_>>().join(", ");
    let is_mixed = versions.keys().any(|version| *version != own);
    let mut findings = vec![match (versions.is_empty(), is_mixed) {
        (true, _) => Finding::good(WHAT, "none has reported yet"),
        (false, false) => Finding::good(WHAT, listed),
        (false, true) => {
            let remedy = "bring engr and the fleet's agents to one version";
            Finding::weak(WHAT, format!("{listed}; engr is {own}"), Some(remedy.to_owned()))
        }
    }];
    if !stale.is_empty() {
        let text = format!("these had not heard from the bucket for long: {}", stale.join(", "));
        findings.push(Finding::weak(WHAT, text, Some("see their logs".to_owned())));
    }
    findings
}
