//! Follows a release's way through the fleet, by what the instances report.
//!
//! [`mod@view`] decides what is told and [`ending`] how it ends, both without I/O; this file polls the
//! bucket and the provider, and draws.

mod ending;
mod view;

use std::time::{Duration, Instant};

use deploy::release::Release;
use deploy::report::Report;
use deploy::rollout::{Standing, Verdict, verdict};
use deploy::store::Store;

use crate::failure::CommandResult;
use crate::fleet::{Instance, Provider};
use crate::interrupt::Interrupt;
use crate::output::events::Event;
use crate::output::{Live, Output, Style};
use deploy::reports::Reports;

use ending::{End, Ended};
pub use ending::{detached, of};
use view::{InstanceView, Tracker};

/// How long a rollout is followed unless `--wait-timeout` says otherwise.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How often the reports are listed.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// How often the provider is asked which instances there are and whether their agents run.
const LIST_EVERY: Duration = Duration::from_millis(500);

/// What is followed.
#[derive(Debug)]
pub struct Followed<'a> {
    /// The app.
    pub app: &'a str,
    /// The release.
    pub release: &'a Release,
    /// The command that goes back. None: it is the first.
    pub undo: Option<String>,
    /// When the whole command began.
    pub began: Instant,
    /// Where the app is reached.
    pub addresses: Vec<String>,
    /// How a fleet without instances gets some.
    pub how_to_make: String,
}

/// Where it goes.
pub struct Fleet<'a> {
    /// The app's bucket.
    pub store: &'a dyn Store,
    /// Its instances.
    pub provider: &'a dyn Provider,
}

/// Follows until every instance has ended, `timeout` has passed, or somebody interrupts; tells how
/// it ended, and gives the exit code for it.
pub async fn follow(
    output: &Output,
    followed: &Followed<'_>,
    fleet: &Fleet<'_>,
    timeout: Duration,
    interrupt: &Interrupt,
) -> CommandResult {
    let began = Instant::now();
    let mut watched = Watched::new(fleet);
    let mut tracker = Tracker::new(followed.app, followed.release);
    let mut live = Live::new(output);
    // Where writes are far between and each list is paid for, there is less to see.
    let poll_every = POLL_EVERY.max(fleet.store.write_interval() / 4);
    let end = loop {
        let views = watched.look(followed.release.number).await.map_err(|failure| {
            failure.hint(format_args!(
                "v{} is published, and its rollout goes on: `engr {} status --watch`",
                followed.release.number, followed.app
            ))
        })?;
        for told in tracker.step(&views) {
            output.event(&Event::Instance(&told.event));
            if let Some(line) = told.line {
                live.line(line);
            }
        }
        live.draw(lines(&views, began.elapsed()));
        let end = match verdict(views.iter().map(|view| &view.standing)) {
            Verdict::Underway if began.elapsed() >= timeout => End::TimedOut(timeout),
            Verdict::Underway => {
                tokio::select! {
                    () = interrupt.raised() => End::Interrupted,
                    () = tokio::time::sleep(poll_every) => continue,
                }
            }
            verdict => End::Verdict(verdict),
        };
        break Ended { followed, end, views };
    };
    drop(live);
    Ok(ending::tell(output, &end, began.elapsed()))
}

/// The fleet as it was looked at last.
struct Watched<'a> {
    fleet: &'a Fleet<'a>,
    instances: Vec<Instance>,
    listed: Option<Instant>,
    reports: Reports,
}

impl<'a> Watched<'a> {
    fn new(fleet: &'a Fleet<'a>) -> Self {
        Self { fleet, instances: Vec::new(), listed: None, reports: Reports::default() }
    }

    async fn look(&mut self, release: u64) -> CommandResult<Vec<InstanceView>> {
        if self.listed.is_none_or(|listed| listed.elapsed() >= LIST_EVERY) {
            self.instances = self.fleet.provider.instances().await?;
            self.listed = Some(Instant::now());
        }
        self.reports.refresh(self.fleet.store).await?;
        Ok(self
            .instances
            .iter()
            .map(|one| view(one, self.reports.get(&one.name), release))
            .collect())
    }
}

fn view(instance: &Instance, report: Option<&Report>, release: u64) -> InstanceView {
    InstanceView {
        name: instance.name.clone(),
        standing: Standing::of(release, report),
        down: instance.agent_pid.is_none(),
        serving: report.and_then(|report| report.serving.as_ref()).map(|version| version.release),
    }
}

/// What is drawn over while the rollout goes on.
fn lines(views: &[InstanceView], elapsed: Duration) -> Vec<String> {
    let switched = views.iter().filter(|view| view.switched().is_some()).count();
    let seconds = elapsed.as_secs();
    let head = format!("rollout   {switched} of {} switched, {seconds} s", views.len());
    let underway = views.iter().filter(|view| !view.standing.has_ended());
    let underway = underway.map(|view| format!("          {}  {}", view.name, view.phase()));
    std::iter::once(head).chain(underway).map(|line| Style::Dim.paint(line)).collect()
}
