//! How an agent's rollout that was followed ended, for people and for programs.

use std::time::Duration;

use deploy::Timestamp;
use deploy::agent_rollout::{AgentStanding, AgentVerdict};
use deploy::desired_agent::DesiredAgent;

use super::view::AgentView;
use crate::config::Arch;
use crate::failure::Exit;
use crate::follow::of;
use crate::output::events::{Event, Outcome, ResultEvent};
use crate::output::{Output, Style, print_problem, round, when};

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every instance has ended.
    Verdict(AgentVerdict),
    /// Another agent was named.
    Superseded,
    /// This long was waited.
    TimedOut(Duration),
    /// Ctrl-C.
    Interrupted,
}

/// A rollout that is followed no longer.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub(super) app: &'a str,
    pub(super) agent: &'a DesiredAgent,
    /// The fleet's.
    pub(super) arch: Arch,
    pub(super) end: End,
    /// The fleet as it was looked at last.
    pub(super) views: Vec<AgentView>,
    /// How a fleet without instances gets some.
    pub(super) how_to_make: String,
}

/// Tells how it ended, and gives the exit code for it. `took` is the command's time.
pub(super) fn tell(output: &Output, ended: &Ended<'_>, took: Duration) -> Exit {
    let (exit, outcome) = ended.exit();
    let (message, hints) = ended.message();
    let seconds = round(took.as_secs_f64());
    output.event(&Event::Phase { phase: "rollout", detail: message.clone(), seconds });
    let since_named = when::between(ended.agent.at, Timestamp::now());
    let result = ResultEvent {
        outcome,
        exit_code: exit as u8,
        seconds: Some(seconds),
        agent: Some(ended.agent.clone()),
        agents: ended.views.iter().map(|view| view.event(since_named)).collect(),
        undo: Some(ended.undo()),
        ..ResultEvent::default()
    };
    if exit == Exit::Done {
        let name = |name: &str| Style::Bold.paint(format_args!("{name:<9}"));
        let (message, took) = (Style::Green.paint(&message), Style::Dim.paint(when::length(took)));
        output.line(format_args!("{} {message}  {took}", name("rollout")));
        output.line(format_args!("{} {}", name("undo"), ended.undo()));
        output.event(&Event::Result(&result));
        return exit;
    }
    if !output.is_json() {
        print_problem(&message, &hints);
    }
    output.event(&Event::Result(&ResultEvent { error: Some(message), hints, ..result }));
    exit
}

impl Ended<'_> {
    fn undo(&self) -> String {
        format!("engr {} agent:rollback", self.app)
    }

    fn exit(&self) -> (Exit, Outcome) {
        match self.end {
            End::Verdict(AgentVerdict::Done) => (Exit::Done, Outcome::Done),
            End::Verdict(AgentVerdict::Failed) => (Exit::ReleaseFailed, Outcome::Failed),
            End::Verdict(AgentVerdict::Mixed) => (Exit::Mixed, Outcome::Mixed),
            End::Verdict(AgentVerdict::NoInstances) => (Exit::ReleaseFailed, Outcome::NoInstances),
            End::Superseded => (Exit::Lost, Outcome::Superseded),
            End::TimedOut(_) | End::Verdict(AgentVerdict::Underway) => {
                (Exit::TimedOut, Outcome::Timeout)
            }
            End::Interrupted => (Exit::Interrupted, Outcome::Interrupted),
        }
    }

    /// `agentd 0.2.0`, or what it is where none is named.
    fn agent(&self) -> String {
        let binary = self.agent.binaries.get(self.arch.name());
        binary.map_or_else(
            || "the agentd that each was made with".to_owned(),
            |binary| format!("agentd {}", binary.version),
        )
    }

    /// The last sentence, and what to do next.
    fn message(&self) -> (String, Vec<String>) {
        let (app, agent, all) = (self.app, self.agent(), self.views.len());
        let good = self.views.iter().filter(|view| view.standing == AgentStanding::Good).count();
        let back = || vec![format!("come back with `engr {app} status --watch`")];
        let take_back = format!("take it back with `{}`", self.undo());
        match self.end {
            End::Verdict(AgentVerdict::Done) => {
                (format!("{agent} runs on {}", of(all, all)), Vec::new())
            }
            End::Verdict(AgentVerdict::Failed) => {
                let message = format!("{agent} runs on none of {all}: the agents before it run on");
                (message, vec![format!("the agents' lines say more: `engr {app} logs`"), take_back])
            }
            End::Verdict(AgentVerdict::Mixed) => {
                let message = format!(
                    "{agent} runs on {}: on the others the agents before it run on",
                    of(good, all)
                );
                (message, vec![take_back])
            }
            End::Verdict(AgentVerdict::NoInstances) => (
                format!("{agent} is named, and {app} has no instance to run it"),
                vec![self.how_to_make.clone()],
            ),
            End::Superseded => {
                (format!("another agent took the place of {agent} before it had ended"), back())
            }
            End::TimedOut(_) | End::Verdict(AgentVerdict::Underway) => {
                let took = match self.end {
                    End::TimedOut(took) => took,
                    _ => Duration::ZERO,
                };
                let (took, missing) = (when::length(took), self.missing().join(", "));
                let message = format!(
                    "{agent} does not run everywhere after {took}; instances go on: {missing}"
                );
                (message, back())
            }
            End::Interrupted => (format!("safe to leave: the instances go on to {agent}"), back()),
        }
    }

    /// The instances that have not ended, and what they do.
    fn missing(&self) -> Vec<String> {
        let underway = self.views.iter().filter(|view| !view.standing.has_ended());
        underway.map(|view| format!("{} is {}", view.name, view.phase())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use deploy::Digest;
    use deploy::desired_agent::AgentBinary;
    use deploy::id::Id;
    use deploy::report::UpdatePhase;

    use super::super::view::tests::view;
    use super::*;

    fn said(end: End, standings: &[AgentStanding]) -> (Exit, String) {
        let digest = Digest::of(b"2");
        let binary = AgentBinary { digest, size: 1, version: "0.2.0".to_owned() };
        let agent = DesiredAgent {
            id: Id::fixed("w"),
            by: "a@b".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            message: None,
            rollback: false,
            retry: false,
            binaries: BTreeMap::from([("amd64".to_owned(), binary)]),
        };
        let named = |(index, standing): (usize, &AgentStanding)| {
            view(&format!("hello-{}", index + 1), standing.clone())
        };
        let ended = Ended {
            app: "hello",
            agent: &agent,
            arch: Arch::Amd64,
            end,
            views: standings.iter().enumerate().map(named).collect(),
            how_to_make: "make them with `engr hello sync`".to_owned(),
        };
        (ended.exit().0, ended.message().0)
    }

    #[test]
    fn each_end_has_its_code_and_its_words() {
        use AgentStanding::{Bad, Good, Halted, Underway};
        let verdict = |verdict, standings: &[AgentStanding]| said(End::Verdict(verdict), standings);
        let (exit, message) = verdict(AgentVerdict::Done, &[Good, Good]);
        assert_eq!((exit, &*message), (Exit::Done, "agentd 0.2.0 runs on all 2 instances"));
        let (exit, message) = verdict(AgentVerdict::Failed, &[Bad(None), Halted]);
        let none = "agentd 0.2.0 runs on none of 2: the agents before it run on";
        assert_eq!((exit, &*message), (Exit::ReleaseFailed, none));
        let (exit, message) = verdict(AgentVerdict::Mixed, &[Good, Bad(None)]);
        let some =
            "agentd 0.2.0 runs on 1 of 2 instances: on the others the agents before it run on";
        assert_eq!((exit, &*message), (Exit::Mixed, some));
        let (exit, message) = verdict(AgentVerdict::NoInstances, &[]);
        let nobody = "agentd 0.2.0 is named, and hello has no instance to run it";
        assert_eq!((exit, &*message), (Exit::ReleaseFailed, nobody));
        let trial = Underway(UpdatePhase::Trial);
        let (exit, message) = said(End::TimedOut(Duration::from_secs(60)), &[Good, trial]);
        let late =
            "agentd 0.2.0 does not run everywhere after 1m 0s; instances go on: hello-2 is trial";
        assert_eq!((exit, &*message), (Exit::TimedOut, late));
        assert_eq!(said(End::Superseded, &[Good]).0, Exit::Lost);
        assert_eq!(said(End::Interrupted, &[Good]).0, Exit::Interrupted);
    }
}
