//! Follows an agent's way through the fleet, by what the instances report.

use std::time::{Duration, Instant};

use deploy::Timestamp;
use deploy::agent_rollout::{AgentStanding, AgentVerdict, agent_verdict};
use deploy::desired_agent::DesiredAgent;
use deploy::reports::Reports;

use super::ending::{self, End, Ended};
use super::view::{AgentView, Tracker};
use crate::failure::CommandResult;
use crate::fleet::Instance;
use crate::follow::WAIT_TIMEOUT;
use crate::output::events::Event;
use crate::output::{Live, Style, when};
use crate::publish::Publisher;

/// How often the reports are listed: an instance takes seconds.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// How often it is looked which instances there are, and whether this agent is still wanted.
const LIST_EVERY: Duration = Duration::from_secs(1);

/// Follows until every instance has ended, the time-out has passed, or somebody interrupts; tells how
/// it ended, and gives the exit code for it.
pub(super) async fn follow(publisher: &Publisher<'_>, agent: &DesiredAgent) -> CommandResult {
    let (output, app) = (publisher.output, &publisher.app.name);
    let began = Instant::now();
    let timeout = publisher.args.follow.wait_timeout.map_or(WAIT_TIMEOUT, |span| span.0);
    let (mut tracker, mut live) = (Tracker::default(), Live::new(output));
    let mut watched = Watched { publisher, agent, seen: None, reports: Reports::default() };
    let poll_every = POLL_EVERY.max(publisher.store.write_interval() / 4);
    let (end, views) = loop {
        let looked = watched.look().await.map_err(|failure| {
            failure.hint(format_args!(
                "it is named, and the instances go on: `engr {app} status --watch`"
            ))
        });
        let (views, is_wanted) = looked?;
        let since_named = when::between(agent.at, Timestamp::now());
        for told in tracker.step(app, &views, since_named) {
            output.event(&Event::AgentInstance(&told.event));
            if let Some(line) = told.line {
                live.line(line);
            }
        }
        live.draw(lines(&views, began.elapsed()));
        let end = match agent_verdict(views.iter().map(|view| &view.standing)) {
            _ if !is_wanted => End::Superseded,
            AgentVerdict::Underway if began.elapsed() >= timeout => End::TimedOut(timeout),
            AgentVerdict::Underway => {
                tokio::select! {
                    () = publisher.interrupt.raised() => End::Interrupted,
                    () = tokio::time::sleep(poll_every) => continue,
                }
            }
            verdict => End::Verdict(verdict),
        };
        break (end, views);
    };
    drop(live);
    let how_to_make = publisher.fleet.how_to_make();
    let ended = Ended { app, agent, arch: publisher.app.config.arch(), end, views, how_to_make };
    Ok(ending::tell(output, &ended, publisher.began.elapsed()))
}

/// The fleet, and what is wanted of it.
struct Watched<'a> {
    publisher: &'a Publisher<'a>,
    agent: &'a DesiredAgent,
    /// When it was looked at last, which instances there were, and whether the agent was wanted.
    seen: Option<(Instant, Vec<Instance>, bool)>,
    reports: Reports,
}

impl Watched<'_> {
    async fn look(&mut self) -> CommandResult<(Vec<AgentView>, bool)> {
        let (instances, is_wanted) = match self.seen.take() {
            Some((at, instances, is_wanted)) if at.elapsed() < LIST_EVERY => {
                self.seen = Some((at, instances.clone(), is_wanted));
                (instances, is_wanted)
            }
            _ => {
                let instances = self.publisher.fleet.instances().await?;
                let newest = self.publisher.state().await?.agent;
                let is_wanted = newest.is_some_and(|newest| newest.id == self.agent.id);
                self.seen = Some((Instant::now(), instances.clone(), is_wanted));
                (instances, is_wanted)
            }
        };
        self.reports.refresh(&*self.publisher.store).await?;
        let view = |one: &Instance| {
            let report = self.reports.get(&one.name);
            AgentView {
                name: one.name.clone(),
                standing: AgentStanding::of(self.agent, report),
                down: one.agent_pid.is_none(),
                version: report.map(|report| report.agent.version.clone()),
            }
        };
        Ok((instances.iter().map(view).collect(), is_wanted))
    }
}

/// What is drawn over while it goes on.
fn lines(views: &[AgentView], elapsed: Duration) -> Vec<String> {
    let good = views.iter().filter(|view| view.standing == AgentStanding::Good).count();
    let seconds = elapsed.as_secs();
    let head = format!("rollout   {good} of {} run it, {seconds} s", views.len());
    let underway = views.iter().filter(|view| !view.standing.has_ended());
    let underway = underway.map(|view| format!("          {}  {}", view.name, view.phase()));
    std::iter::once(head).chain(underway).map(|line| Style::Dim.paint(line)).collect()
}
