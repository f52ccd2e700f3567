//! What is told of each instance on its way to an agent. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use deploy::agent_rollout::AgentStanding;
use deploy::report::UpdatePhase;

use crate::output::events::AgentInstanceEvent;
use crate::output::{Style, round, when};

/// An instance as it was looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AgentView {
    pub(super) name: String,
    pub(super) standing: AgentStanding,
    /// Its agent does not run.
    pub(super) down: bool,
    /// Of the agent that runs.
    pub(super) version: Option<String>,
}

impl AgentView {
    /// The word for where it stands; see `output::events`.
    pub(super) fn phase(&self) -> &'static str {
        match &self.standing {
            AgentStanding::Good => "good",
            AgentStanding::Bad(_) => "bad",
            AgentStanding::Halted => "halted",
            AgentStanding::Unable { .. } => "unable",
            _ if self.down => "down",
            AgentStanding::Silent => "silent",
            AgentStanding::Behind => "behind",
            AgentStanding::Underway(phase) => phase.word(),
        }
    }

    /// Why the wanted agent does not run there.
    pub(super) fn reason(&self) -> Option<String> {
        match &self.standing {
            AgentStanding::Bad(bad) => Some(match bad {
                Some(bad) => bad.reason.clone(),
                None => "it does not say why".to_owned(),
            }),
            AgentStanding::Halted => Some("it was bad where it was tried first".to_owned()),
            AgentStanding::Unable { version } => {
                Some(format!("its agent, {version}, cannot update itself"))
            }
            AgentStanding::Silent
            | AgentStanding::Behind
            | AgentStanding::Underway(_)
            | AgentStanding::Good => None,
        }
    }

    /// The same for a program.
    pub(super) fn event(&self, since_named: Duration) -> AgentInstanceEvent {
        AgentInstanceEvent {
            name: self.name.clone(),
            phase: self.phase(),
            seconds: round(since_named.as_secs_f64()),
            version: self.version.clone(),
            reason: self.reason(),
        }
    }

    fn line(&self, app: &str, since_named: Duration) -> Option<String> {
        let what = match (&self.standing, self.reason()) {
            (AgentStanding::Good, _) => {
                let version = self.version.as_deref().unwrap_or("it");
                let took = when::length(since_named);
                Style::Green.paint(format_args!("runs {version} after {took}"))
            }
            (AgentStanding::Bad(_), Some(reason)) => {
                Style::Red.paint(format_args!("has marked it bad: {reason}"))
            }
            (AgentStanding::Halted, Some(reason)) => {
                Style::Yellow.paint(format_args!("does not try it: {reason}"))
            }
            (_, Some(reason)) => Style::Yellow.paint(reason),
            _ if self.phase() == "down" => {
                let text = format!("its agent does not run; `engr {app} sync` starts it");
                Style::Yellow.paint(text)
            }
            (AgentStanding::Underway(UpdatePhase::Trial), _) => "tries it".to_owned(),
            _ => return None,
        };
        Some(format!("{:<9} {}  {what}", "", self.name))
    }
}

/// Something that is new.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    /// For a program.
    pub(super) event: AgentInstanceEvent,
    /// For people, where they care.
    pub(super) line: Option<String>,
}

/// Remembers what was told: each instance's phase.
#[derive(Debug, Default)]
pub(super) struct Tracker(BTreeMap<String, &'static str>);

impl Tracker {
    /// What is new with these instances.
    pub(super) fn step(
        &mut self,
        app: &str,
        views: &[AgentView],
        since_named: Duration,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        for view in views {
            if self.0.insert(view.name.clone(), view.phase()) != Some(view.phase()) {
                let line = view.line(app, since_named);
                told.push(Told { event: view.event(since_named), line });
            }
        }
        told
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::commands::agent) fn view(name: &str, standing: AgentStanding) -> AgentView {
        let version = Some("0.2.0".to_owned());
        AgentView { name: name.to_owned(), standing, down: false, version }
    }

    #[test]
    fn each_step_that_matters_is_told_once() {
        let mut tracker = Tracker::default();
        let mut lines = |standing: AgentStanding, down: bool| {
            let views = [AgentView { down, ..view("hello-1", standing) }];
            let told = tracker.step("hello", &views, Duration::from_millis(2_100));
            let lines = told.into_iter().map(|told| told.line);
            lines.map(|line| line.map(|line| line.trim().to_owned())).collect::<Vec<_>>()
        };
        let line = |text: &str| vec![Some(text.to_owned())];
        let underway = AgentStanding::Underway;
        assert_eq!(lines(AgentStanding::Behind, false), [None]);
        assert_eq!(lines(AgentStanding::Behind, false), Vec::<Option<String>>::new());
        let down = line("hello-1  its agent does not run; `engr hello sync` starts it");
        assert_eq!(lines(AgentStanding::Behind, true), down);
        assert_eq!(lines(underway(UpdatePhase::Waiting), false), [None]);
        assert_eq!(lines(underway(UpdatePhase::Trial), false), line("hello-1  tries it"));
        let halted = line("hello-1  does not try it: it was bad where it was tried first");
        assert_eq!(lines(AgentStanding::Halted, false), halted);
        let unable = AgentStanding::Unable { version: "0.1.0".to_owned() };
        assert_eq!(lines(unable, false), line("hello-1  its agent, 0.1.0, cannot update itself"));
        assert_eq!(lines(AgentStanding::Good, false), line("hello-1  runs 0.2.0 after 2.1 s"));
    }
}
