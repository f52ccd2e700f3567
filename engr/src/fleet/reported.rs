//! Instances that nobody here makes: those that report to the app's bucket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deploy::Timestamp;
use deploy::layout;
use deploy::report::{Phase, Report};
use deploy::store::{ErrorKind, Expect, Store, with_tries};

use super::{Change, Instance, Provider, Told};
use crate::failure::{CommandResult, Failure};
use crate::output::when;
use deploy::reports::Reports;

/// An instance writes at least every five minutes; one that has not for so long is down.
const SILENT_AFTER: Duration = Duration::from_secs(11 * 60);

/// The instances of a Google Cloud project, as they speak for themselves.
#[derive(Debug)]
pub struct ReportedFleet {
    app: String,
    project: String,
    store: Arc<dyn Store>,
}

impl ReportedFleet {
    /// The instances that report to `store`.
    pub fn new(app: &str, project: &str, store: Arc<dyn Store>) -> Self {
        Self { app: app.to_owned(), project: project.to_owned(), store }
    }

    /// Machines of Compute Engine are not made yet.
    fn cannot(&self, what: &str) -> Failure {
        let Self { app, project, .. } = self;
        Failure::usage(format!(
            "this version of engr does not {what} machines, and {app} runs in project {project}"
        ))
        .hint("start `agentd launch` on each machine by its own means")
        .hint(format!("or run {app} here: `engr {app} config:set project local`"))
    }
}

fn is_heard(report: &Report, now: Timestamp) -> bool {
    when::between(report.written, now) < SILENT_AFTER
}

#[async_trait(?Send)]
impl Provider for ReportedFleet {
    async fn instances(&self) -> CommandResult<Vec<Instance>> {
        let mut reports = Reports::default();
        reports.refresh(&*self.store).await?;
        let now = Timestamp::now();
        let instance = |(name, report): (&str, &Report)| Instance {
            name: name.to_owned(),
            agent_pid: is_heard(report, now).then_some(report.agent.pid),
            addresses: report.addresses.iter().filter_map(|text| text.parse().ok()).collect(),
        };
        Ok(reports.iter().map(instance).collect())
    }

    fn addresses(&self) -> Vec<String> {
        Vec::new()
    }

    async fn plan(&self) -> CommandResult<Vec<Change>> {
        Ok(Vec::new())
    }

    async fn apply(&self, _: Told<'_>) -> CommandResult<()> {
        Err(self.cannot("make"))
    }

    /// Those that have ended are forgotten; one that runs is in the way.
    async fn destroy(&self, told: Told<'_>) -> CommandResult<()> {
        let mut reports = Reports::default();
        reports.refresh(&*self.store).await?;
        let now = Timestamp::now();
        let runs = |report: &Report| is_heard(report, now) && report.phase != Phase::Stopping;
        if reports.iter().any(|(_, report)| runs(report)) {
            return Err(self.cannot("remove"));
        }
        for (name, _) in reports.iter() {
            let object = layout::instance(name);
            match with_tries(async || self.store.delete(&object, Expect::Any).await).await {
                Err(error) if error.kind != ErrorKind::NotFound => return Err(error.into()),
                _ => told(&Change::Remove(name.to_owned())),
            }
        }
        Ok(())
    }

    fn how_to_make(&self) -> String {
        format!(
            "start `agentd launch` on machines of {}: they take it from the bucket",
            self.project
        )
    }
}
