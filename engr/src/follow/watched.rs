//! The fleet, as it is looked at again and again.

use std::time::{Duration, Instant};

use deploy::Timestamp;
use deploy::publish::load;
use deploy::release::Release;
use deploy::reports::Reports;
use deploy::rollout::{Order, Rules, Stage};

use super::Fleet;
use super::judge::{Seen, UNCONDUCTED_AFTER};
use super::view::InstanceView;
use crate::failure::CommandResult;
use crate::fleet::Instance;
use crate::publish::load_failure;
use crate::rollout::{Heard, read_progress};

/// How often it is looked which instances there are, whether their agents run, and what is wanted.
const LIST_EVERY: Duration = Duration::from_millis(500);

/// The fleet as it was looked at last.
pub(super) struct Watched<'a> {
    app: &'a str,
    release: &'a Release,
    fleet: &'a Fleet<'a>,
    began: Instant,
    listed: Option<Listed>,
    reports: Reports,
    heard: Heard,
    /// Since when all instances have ended and nobody conducts.
    unconducted: Option<Instant>,
}

struct Listed {
    at: Instant,
    instances: Vec<Instance>,
    order: Option<Order>,
    newer: Option<u64>,
}

impl<'a> Watched<'a> {
    /// Nothing was looked at yet.
    pub(super) fn new(app: &'a str, release: &'a Release, fleet: &'a Fleet<'a>) -> Self {
        Self {
            app,
            release,
            fleet,
            began: Instant::now(),
            listed: None,
            reports: Reports::default(),
            heard: Heard::default(),
            unconducted: None,
        }
    }

    /// What the fleet says of the release, and where each instance stands.
    pub(super) async fn look(&mut self) -> CommandResult<(Seen, Vec<InstanceView>)> {
        if self.listed.as_ref().is_none_or(|listed| listed.at.elapsed() >= LIST_EVERY) {
            self.listed = Some(self.list().await?);
        }
        // In this order: what instances say is at least as new as what was concluded from it.
        let progress = read_progress(self.fleet.store).await?;
        self.reports.refresh(self.fleet.store).await?;
        let Some(Listed { instances, order, newer, .. }) = &self.listed else {
            return Ok(Default::default());
        };
        let progress = progress.filter(|progress| progress.release == self.release.id);
        let mut seen = Seen { progress, order: order.clone(), newer: *newer, unconducted: false };
        let now = self.began.elapsed();
        let reports = &self.reports;
        self.heard.update(now, instances.iter().map(|one| (&*one.name, reports.get(&one.name))));
        let views = self.views(&seen, now);
        let has_ended = views.iter().all(|view| view.standing.has_ended());
        self.unconducted = match has_ended && seen.progress.is_none() {
            true => self.unconducted.or_else(|| Some(Instant::now())),
            false => None,
        };
        let since = self.unconducted.map(|since| since.elapsed());
        seen.unconducted = since.is_some_and(|since| since >= UNCONDUCTED_AFTER);
        Ok((seen, views))
    }

    fn views(&self, seen: &Seen, now: Duration) -> Vec<InstanceView> {
        let Some(Listed { instances, .. }) = &self.listed else { return Vec::new() };
        let rules = self.release.rollout.as_ref().map(|plan| &plan.rules);
        let stale_after = rules.map_or(Rules::default().stale_after, |rules| rules.stale_after);
        let rolls = seen.stage().is_none_or(Stage::is_underway);
        let wall = Timestamp::now();
        let view = |one: &Instance| {
            let report = self.reports.get(&one.name);
            let view = InstanceView::new(one, report, self.release.number, None)?;
            // After its end nobody has to say again that it is good.
            let is_awaited = rolls || !view.standing.has_ended();
            let silent = self.heard.silence(&one.name, now, wall, stale_after.0, is_awaited);
            Some(InstanceView { silent, ..view })
        };
        instances.iter().filter_map(view).collect()
    }

    async fn list(&self) -> CommandResult<Listed> {
        let Fleet { store, provider } = self.fleet;
        let state = load(*store, self.app).await.map_err(load_failure)?.state;
        let newest = state.release.as_ref().filter(|newest| newest.id != self.release.id);
        Ok(Listed {
            at: Instant::now(),
            instances: provider.instances().await?,
            newer: newest.map(|newest| newest.number),
            order: state.order.filter(|order| order.release == self.release.id),
        })
    }
}
