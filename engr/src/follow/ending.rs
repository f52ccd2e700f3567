//! How a rollout that was followed ended, for people and for programs.

use std::time::Duration;

use deploy::report::{Failure, Stage};
use deploy::rollout::{Standing, Verdict};

use super::Followed;
use super::view::InstanceView;
use crate::failure::Exit;
use crate::output::events::{Event, Outcome, ResultEvent};
use crate::output::{Output, Style, print_problem, round, when};

/// Of how many failed instances the last lines are shown.
const SHOWN_MAX: usize = 5;

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every instance has ended.
    Verdict(Verdict),
    /// This long was waited.
    TimedOut(Duration),
    /// Ctrl-C.
    Interrupted,
}

/// A rollout that is followed no longer.
#[derive(Debug)]
pub struct Ended<'a> {
    /// What was followed.
    pub followed: &'a Followed<'a>,
    /// Why it ended.
    pub end: End,
    /// The fleet as it was looked at last.
    pub views: Vec<InstanceView>,
}

/// Tells of a release that is published and not followed.
pub fn detached(output: &Output, followed: &Followed<'_>) -> Exit {
    let (app, number) = (followed.app, followed.release.number);
    output
        .line(format_args!("v{number} is published; see how it fares: engr {app} status --watch"));
    undo_line(output, followed);
    let ended = Ended { followed, end: End::Interrupted, views: Vec::new() };
    let result = ResultEvent { outcome: Outcome::Detached, exit_code: 0, ..ended.result() };
    output.event(&Event::Result(&result));
    Exit::Done
}

/// Tells how it ended, and gives the exit code for it. `took` is the rollout's part.
pub fn tell(output: &Output, ended: &Ended<'_>, took: Duration) -> Exit {
    let (exit, outcome) = ended.exit();
    let (message, hints) = ended.message(took);
    output.event(&Event::Phase {
        phase: "rollout",
        detail: message.clone(),
        seconds: round(took.as_secs_f64()),
    });
    let result = ResultEvent { outcome, exit_code: exit as u8, ..ended.result() };
    if exit == Exit::Done {
        ended.tell_success(output, &message, took);
        output.event(&Event::Result(&result));
        return exit;
    }
    for line in ended.last_lines() {
        output.line(line);
    }
    if !output.is_json() {
        print_problem(&message, &hints);
    }
    output.event(&Event::Result(&ResultEvent { error: Some(message), hints, ..result }));
    exit
}

fn undo_line(output: &Output, followed: &Followed<'_>) {
    if let Some(undo) = &followed.undo {
        output.line(format_args!("{} {undo}", name("undo")));
    }
}

fn name(name: &str) -> String {
    Style::Bold.paint(format_args!("{name:<9}"))
}

impl Ended<'_> {
    fn tell_success(&self, output: &Output, message: &str, took: Duration) {
        let dim = |took| Style::Dim.paint(when::length(took));
        let rollout = Style::Green.paint(message);
        output.line(format_args!("{} {rollout}  {}", name("rollout"), dim(took)));
        let total = when::length(self.followed.began.elapsed());
        let switch = self.to_last_switch().map_or_else(String::new, |took| {
            format!(", {} from the publish to the last switch", when::length(took))
        });
        output.line(format_args!("{} {total}{switch}", name("total")));
        for address in &self.followed.addresses {
            output.line(format_args!("{} {address}", name("address")));
        }
        undo_line(output, self.followed);
    }

    /// The exit code and the word for it.
    fn exit(&self) -> (Exit, Outcome) {
        match self.end {
            End::Verdict(Verdict::Done) => (Exit::Done, Outcome::Done),
            End::Verdict(Verdict::Failed) => (Exit::ReleaseFailed, Outcome::Failed),
            End::Verdict(Verdict::Reverted) => (Exit::ReleaseFailed, Outcome::Reverted),
            End::Verdict(Verdict::Mixed) => (Exit::Mixed, Outcome::Mixed),
            // Published, and served by nobody: no success.
            End::Verdict(Verdict::NoInstances) => (Exit::ReleaseFailed, Outcome::NoInstances),
            End::Verdict(Verdict::Superseded { .. }) => (Exit::Lost, Outcome::Superseded),
            End::TimedOut(_) | End::Verdict(Verdict::Underway) => {
                (Exit::TimedOut, Outcome::Timeout)
            }
            End::Interrupted => (Exit::Interrupted, Outcome::Interrupted),
        }
    }

    /// The last sentence, and what to do next.
    fn message(&self, took: Duration) -> (String, Vec<String>) {
        let (app, number) = (self.followed.app, self.followed.release.number);
        let all = self.views.len();
        let back = || vec![format!("come back with `engr {app} status --watch`")];
        match self.end {
            End::Verdict(Verdict::Done) => {
                (format!("v{number} serves on {}", of(all, all)), Vec::new())
            }
            End::Verdict(Verdict::Failed) => (
                format!("v{number} failed on {}; {}", of(all, all), self.serving_on()),
                vec![match self.failures().any(|(_, failure)| has_run(failure)) {
                    true => {
                        format!("see more of its lines with `engr {app} logs --release v{number}`")
                    }
                    false => format!("the agents' lines say more: `engr {app} logs`"),
                }],
            ),
            End::Verdict(Verdict::Mixed) => {
                let undo = self.followed.undo.iter();
                let failed = self.failures().count();
                let message = format!(
                    "v{number} failed on {} and serves on the rest; there, {}",
                    of(failed, all),
                    self.serving_on()
                );
                (message, undo.map(|undo| format!("go back with `{undo}`")).collect())
            }
            End::Verdict(Verdict::Reverted) => {
                let failed = self.failures().count();
                let message = format!(
                    "v{number} failed on {}, and was taken back everywhere; {}",
                    of(failed, all),
                    self.serving_on()
                );
                (message, Vec::new())
            }
            End::Verdict(Verdict::NoInstances) => (
                format!("v{number} is published, and {app} has no instance to run it"),
                vec![self.followed.how_to_make.clone()],
            ),
            End::Verdict(Verdict::Superseded { by }) => {
                (format!("v{by} took the place of v{number} before it had ended"), back())
            }
            End::TimedOut(_) | End::Verdict(Verdict::Underway) => {
                let took = when::length(took);
                let missing = self.missing().join("; ");
                let message = format!(
                    "v{number} has not ended after {took}, and its rollout goes on: {missing}"
                );
                (message, back())
            }
            End::Interrupted => {
                (format!("safe to leave: the rollout of v{number} goes on"), back())
            }
        }
    }

    /// What the instances that failed serve instead.
    fn serving_on(&self) -> String {
        let failed = self.views.iter().filter(|view| matches!(view.standing, Standing::Failed(_)));
        let mut serving: Vec<u64> = failed.filter_map(|view| view.serving).collect();
        serving.sort_unstable();
        serving.dedup();
        match &serving[..] {
            [] => "nothing serves in its place".to_owned(),
            [one] => format!("v{one} serves on"),
            many => {
                let names: Vec<_> = many.iter().map(|number| format!("v{number}")).collect();
                format!("{} serve on", names.join(" and "))
            }
        }
    }

    /// The instances that have not ended, and what they do.
    fn missing(&self) -> Vec<String> {
        let underway = self.views.iter().filter(|view| !view.standing.has_ended());
        let does = |view: &InstanceView| match view.phase() {
            "down" => format!("{}'s agent does not run", view.name),
            "silent" => format!("{} has not reported", view.name),
            "behind" => format!("{} has not seen it", view.name),
            phase => format!("{} is {phase}", view.name),
        };
        underway.map(does).collect()
    }

    fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.views.iter().filter_map(|view| match &view.standing {
            Standing::Failed(failure) => Some((view.name.as_str(), failure)),
            _ => None,
        })
    }

    /// What the app wrote last on each failed instance. Why it failed was told as it happened.
    fn last_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, failure) in self.failures().take(SHOWN_MAX) {
            if !has_run(failure) {
                continue;
            }
            let what = if failure.last_lines.is_empty() { "no output" } else { "last lines" };
            lines.push(Style::Bold.paint(format_args!("{name}, {what}")));
            lines.extend(failure.last_lines.iter().map(|line| format!("  │ {line}")));
        }
        let more = self.failures().count().saturating_sub(SHOWN_MAX);
        if more > 0 {
            lines.push(format!("… and {more} more"));
        }
        lines
    }

    fn to_last_switch(&self) -> Option<Duration> {
        let last = self.views.iter().filter_map(InstanceView::switched).max()?;
        Some(when::between(self.followed.release.published, last))
    }

    /// What is in every result, however it ended.
    fn result(&self) -> ResultEvent {
        let Followed { release, undo, began, addresses, .. } = self.followed;
        let seconds = |took: Duration| round(took.as_secs_f64());
        ResultEvent {
            release: Some(release.number),
            artifact: Some(release.artifact.digest),
            address: addresses.first().cloned(),
            addresses: addresses.clone(),
            seconds: Some(seconds(began.elapsed())),
            publish_to_last_switch_seconds: self.to_last_switch().map(seconds),
            instances: self.views.iter().map(|view| view.event(release)).collect(),
            superseded_by: match self.end {
                End::Verdict(Verdict::Superseded { by }) => Some(by),
                _ => None,
            },
            undo: undo.clone(),
            ..ResultEvent::default()
        }
    }
}

/// Whether the release came so far that it could say something.
fn has_run(failure: &Failure) -> bool {
    failure.stage != Stage::Fetch
}

/// `2 of 3 instances`, `all 3 instances`, `1 instance`.
pub fn of(some: usize, all: usize) -> String {
    match (some, all) {
        (1, 1) => "1 instance".to_owned(),
        (some, all) if some == all => format!("all {all} instances"),
        _ => format!("{some} of {all} instances"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use deploy::report::Phase;

    use super::super::view::tests::{at, failure, release, view};
    use super::*;

    fn said(end: End, views: Vec<InstanceView>) -> (Exit, Outcome, String, Vec<String>) {
        let release = release(7);
        let followed = Followed {
            app: "hello",
            release: &release,
            undo: Some("engr hello rollback v6".into()),
            began: Instant::now(),
            addresses: Vec::new(),
            how_to_make: "make them with `engr hello sync`".into(),
        };
        let ended = Ended { followed: &followed, end, views };
        let ((exit, outcome), (message, hints)) =
            (ended.exit(), ended.message(Duration::from_secs(900)));
        (exit, outcome, message, hints)
    }

    fn done() -> Standing {
        Standing::Done { switched: at("2026-11-22T10:00:00.210Z"), note: None }
    }

    #[test]
    fn the_last_switch_counts() {
        let (release, later) = (release(7), at("2026-11-22T10:00:01.5Z"));
        let followed = Followed {
            app: "hello",
            release: &release,
            undo: None,
            began: Instant::now(),
            addresses: vec!["http://127.0.0.1:8080".into()],
            how_to_make: "make them with `engr hello sync`".into(),
        };
        let views = vec![
            view("hello-1", Standing::Done { switched: later, note: None }),
            view("hello-2", done()),
        ];
        let result =
            Ended { followed: &followed, end: End::Verdict(Verdict::Done), views }.result();
        assert_eq!(result.publish_to_last_switch_seconds, Some(1.5));
        assert_eq!(result.address.as_deref(), Some("http://127.0.0.1:8080"));
    }

    #[test]
    fn a_failed_release_says_what_serves_on() {
        let fail = || view("hello-1", Standing::Failed(failure(Stage::Ready)));
        let (exit, outcome, message, _) = said(End::Verdict(Verdict::Failed), vec![fail(), fail()]);
        assert_eq!((exit, outcome), (Exit::ReleaseFailed, Outcome::Failed));
        assert_eq!(message, "v7 failed on all 2 instances; v6 serves on");
        let first = InstanceView { serving: None, ..fail() };
        let (.., message, _) = said(End::Verdict(Verdict::Failed), vec![first]);
        assert_eq!(message, "v7 failed on 1 instance; nothing serves in its place");
        let (exit, _, message, hints) =
            said(End::Verdict(Verdict::Mixed), vec![fail(), view("hello-2", done())]);
        assert_eq!(exit, Exit::Mixed);
        assert_eq!(
            message,
            "v7 failed on 1 of 2 instances and serves on the rest; there, v6 serves on"
        );
        assert_eq!(hints, ["go back with `engr hello rollback v6`"]);
    }

    #[test]
    fn who_is_sent_to_the_lines_finds_some() {
        let hints = |stage| {
            let failed = view("hello-1", Standing::Failed(failure(stage)));
            said(End::Verdict(Verdict::Failed), vec![failed]).3
        };
        let of_the_release = "see more of its lines with `engr hello logs --release v7`";
        assert_eq!(hints(Stage::Ready), [of_the_release]);
        assert_eq!(hints(Stage::Fetch), ["the agents' lines say more: `engr hello logs`"]);
    }

    #[test]
    fn none_of_none_is_no_success() {
        let (exit, outcome, message, _) = said(End::Verdict(Verdict::NoInstances), Vec::new());
        assert_eq!((exit, outcome), (Exit::ReleaseFailed, Outcome::NoInstances));
        assert_eq!(message, "v7 is published, and hello has no instance to run it");
    }

    #[test]
    fn who_leaves_early_learns_what_goes_on() {
        let mut dead = view("hello-2", Standing::Behind);
        dead.down = true;
        let views = || {
            vec![
                view("hello-1", done()),
                dead.clone(),
                view("hello-3", Standing::Underway(Phase::Fetching)),
            ]
        };
        let (exit, _, message, hints) = said(End::TimedOut(Duration::from_secs(900)), views());
        assert_eq!(exit, Exit::TimedOut);
        assert_eq!(
            message,
            "v7 has not ended after 15m 0s, and its rollout goes on: hello-2's agent does not run; \
             hello-3 is fetching"
        );
        assert_eq!(hints, ["come back with `engr hello status --watch`"]);
        let (exit, _, message, _) = said(End::Interrupted, views());
        assert_eq!(exit, Exit::Interrupted);
        assert_eq!(message, "safe to leave: the rollout of v7 goes on");
        let (exit, outcome, message, _) =
            said(End::Verdict(Verdict::Superseded { by: 8 }), views());
        assert_eq!((exit, outcome), (Exit::Lost, Outcome::Superseded));
        assert_eq!(message, "v8 took the place of v7 before it had ended");
    }
}
