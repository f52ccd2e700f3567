//! Instances that nobody here makes: those that report to the app's bucket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deploy::Timestamp;
use deploy::report::Report;
use deploy::store::Store;

use super::{Change, Instance, Provider, Told};
use crate::failure::{CommandResult, Failure};
use crate::follow::Reports;
use crate::output::when;

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
        .hint("start `agentd run` on each machine by its own means")
        .hint(format!("or run {app} here: `engr {app} config:set project local`"))
    }
}

#[async_trait(?Send)]
impl Provider for ReportedFleet {
    async fn instances(&self) -> CommandResult<Vec<Instance>> {
        let mut reports = Reports::default();
        reports.refresh(&*self.store).await?;
        let now = Timestamp::now();
        let instance = |(name, report): (&str, &Report)| Instance {
            name: name.to_owned(),
            agent_pid: (when::between(report.written, now) < SILENT_AFTER)
                .then_some(report.agent.pid),
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

    async fn destroy(&self, _: Told<'_>) -> CommandResult<()> {
        match self.instances().await?.is_empty() {
            true => Ok(()),
            false => Err(self.cannot("remove")),
        }
    }
}
