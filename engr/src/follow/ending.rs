//! How a rollout that was followed ended, for people and for programs.

use std::time::Duration;

use deploy::rollout::{Stage, Verdict};

use super::Followed;
use super::judge::Seen;
use super::view::InstanceView;
use crate::failure::Exit;
use crate::output::events::{Event, Outcome, ResultEvent};
use crate::output::{Output, Style, print_problem, round, when};

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every instance has ended.
    Verdict(Verdict),
    /// The rollout goes no further, and where it has switched it stays.
    Halted,
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
    /// What the fleet said of it last.
    pub seen: Seen,
    /// The fleet as it was looked at last.
    pub views: Vec<InstanceView>,
}

/// Tells of a release that is published and not followed.
pub fn detached(output: &Output, followed: &Followed<'_>) -> Exit {
    let (app, number) = (followed.app, followed.release.number);
    output.line(format_args!(
        "v{number} is published, and the fleet goes on by itself: follow it with `engr {app} wait \
         v{number}`"
    ));
    undo_line(output, followed);
    let seen = Seen::default();
    let ended = Ended { followed, end: End::Interrupted, seen, views: Vec::new() };
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
        let rules = self.followed.release.rollout.as_ref().map(|plan| &plan.rules);
        let watched = rules.filter(|_| self.is_watched()).map(|rules| rules.watch_for);
        if let Some(watched) = watched {
            let more = "more by the fleet; safe to leave";
            output.line(format_args!("{} for {watched} {more}", name("watched")));
        }
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

    /// Whether the fleet looks after the release still, and may take it back.
    fn is_watched(&self) -> bool {
        let rules = self.followed.release.rollout.as_ref().map(|plan| &plan.rules);
        let is_over = self.seen.newer.is_some() || self.seen.stage() == Some(Stage::Done);
        rules.is_some_and(|rules| !rules.watch_for.0.is_zero()) && !is_over
    }

    /// The exit code and the word for it.
    fn exit(&self) -> (Exit, Outcome) {
        match self.end {
            End::Verdict(Verdict::Done) => (Exit::Done, Outcome::Done),
            End::Verdict(Verdict::Failed) => (Exit::ReleaseFailed, Outcome::Failed),
            // Somebody may serve it still.
            End::Verdict(Verdict::Reverted) if self.absent().next().is_some() => {
                (Exit::Mixed, Outcome::Reverted)
            }
            End::Verdict(Verdict::Reverted) => (Exit::ReleaseFailed, Outcome::Reverted),
            End::Halted => (Exit::Mixed, Outcome::Halted),
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
            stage: self.seen.progress.as_ref().map(|progress| progress.stage.word()),
            halt: self.seen.progress.as_ref().and_then(|progress| progress.halt.clone()),
            superseded_by: match self.end {
                End::Verdict(Verdict::Superseded { by }) => Some(by),
                _ => None,
            },
            undo: undo.clone(),
            ..ResultEvent::default()
        }
    }
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
#[path = "ending_tests.rs"]
mod tests;
