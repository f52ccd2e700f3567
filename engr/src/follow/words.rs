//! What is said of a rollout that was followed to its end: the last sentence, what to do next, and why it
//! failed. Pure.

use std::time::Duration;

use deploy::report::{self, Failure};
use deploy::rollout::{Standing, Verdict};

use super::ending::{End, Ended, of};
use super::view::InstanceView;
use crate::output::{Style, when};
use crate::rollout::{last_lines, what_became};

/// Of how many failed instances the last lines are shown.
const SHOWN_MAX: usize = 5;

impl Ended<'_> {
    /// The last sentence, and what to do next.
    pub(super) fn message(&self, took: Duration) -> (String, Vec<String>) {
        let (app, number) = (self.followed.app, self.followed.release.number);
        let all = self.views.len();
        let back = || vec![format!("come back with `engr {app} wait v{number}`")];
        match self.end {
            End::Verdict(Verdict::Done) => {
                (format!("v{number} serves on {}", of(all, all)), Vec::new())
            }
            End::Verdict(Verdict::Failed) => (
                format!("v{number} failed on {}; {}", of(all, all), self.serving_on()),
                vec![self.where_lines_are()],
            ),
            End::Verdict(Verdict::Mixed) => self.mixed(),
            End::Verdict(Verdict::Reverted) => self.reverted(),
            End::Halted => self.halted(),
            End::Verdict(Verdict::NoInstances) => (
                format!("v{number} is published, and {app} has no instance to run it"),
                vec![self.followed.how_to_make.clone()],
            ),
            End::Verdict(Verdict::Superseded { by }) => (
                format!("v{by} took the place of v{number} before it had ended"),
                vec![format!("follow that with `engr {app} wait v{by}`")],
            ),
            End::TimedOut(_) | End::Verdict(Verdict::Underway) => {
                let took = when::length(took);
                let underway = self.underway().join("; ");
                let message = format!(
                    "v{number} has not ended after {took}, and its rollout goes on: {underway}"
                );
                (message, back())
            }
            End::Interrupted => {
                (format!("safe to leave: the rollout of v{number} goes on"), back())
            }
        }
    }

    /// It serves on some, and the fleet is done with it.
    fn mixed(&self) -> (String, Vec<String>) {
        let (app, number, all) =
            (self.followed.app, self.followed.release.number, self.views.len());
        let failed = self.failures().count();
        let missing: Vec<_> = self.views.iter().filter_map(InstanceView::missing).collect();
        let mut hints = Vec::new();
        if self.absent().next().is_some() {
            let it = "who is away comes to the newest release by itself when it is back";
            hints.push(format!("{it}: `engr {app} status`"));
        }
        let undo = self.followed.undo.iter().map(|undo| format!("go back with `{undo}`"));
        hints.extend(undo);
        let message = match (failed, missing.is_empty()) {
            (0, _) => {
                let good = self.views.iter().filter(|view| view.is_good()).count();
                format!("v{number} serves on {}: {}", of(good, all), missing.join("; "))
            }
            (_, true) => format!(
                "v{number} failed on {} and serves on the rest; there, {}",
                of(failed, all),
                self.serving_on()
            ),
            (_, false) => format!(
                "v{number} failed on {}, where {}; {}",
                of(failed, all),
                self.serving_on(),
                missing.join("; ")
            ),
        };
        (message, hints)
    }

    /// The fleet has taken it back.
    fn reverted(&self) -> (String, Vec<String>) {
        let (app, release) = (self.followed.app, self.followed.release);
        let progress = self.seen.progress.as_ref();
        let what = progress.and_then(|progress| what_became(app, release, progress, None));
        let what = what.unwrap_or_else(|| {
            let failed = of(self.failures().count(), self.views.len());
            format!("v{} failed on {failed}, and was taken back everywhere", release.number)
        });
        let absent: Vec<_> = self.absent().filter_map(InstanceView::missing).collect();
        let absent = match absent.is_empty() {
            true => String::new(),
            false => format!("; {}", absent.join("; ")),
        };
        let mut hints = Vec::new();
        if self.failure_lines().next().is_some() {
            hints.push(self.where_lines_are());
        }
        hints.push(format!(
            "what runs stays until the next release: `engr {app} deploy`, or `engr {app} rollback vN`"
        ));
        (format!("{what}; {}{absent}", self.serving_on()), hints)
    }

    /// The fleet goes no further, and waits for somebody.
    fn halted(&self) -> (String, Vec<String>) {
        let (app, release) = (self.followed.app, self.followed.release);
        let progress = self.seen.progress.as_ref();
        let what = progress.and_then(|progress| what_became(app, release, progress, None));
        let what = what.unwrap_or_else(|| format!("v{} was halted", release.number));
        let on = |view: &&InstanceView| view.serving == Some(release.number);
        let (serves, all) = (self.views.iter().filter(on).count(), self.views.len());
        let mut hints =
            vec![format!("go on, whatever has failed until now, with `engr {app} resume`")];
        if let Some(undo) = &self.followed.undo {
            hints.push(format!("take it back with `engr {app} abort`, or go back with `{undo}`"));
        }
        (format!("{what}; it serves on {serves} of {all}"), hints)
    }

    /// Where to read why it failed.
    fn where_lines_are(&self) -> String {
        let (app, number) = (self.followed.app, self.followed.release.number);
        match self.failure_lines().any(|(_, failure)| has_run(failure)) {
            true => format!("see more of its lines with `engr {app} logs --release v{number}`"),
            false => format!("the agents' lines say more: `engr {app} logs`"),
        }
    }

    /// Those of whom nobody knows what they run by now.
    pub(super) fn absent(&self) -> impl Iterator<Item = &InstanceView> {
        self.views.iter().filter(|view| !view.is_live() && view.missing().is_some())
    }

    /// What the instances that failed serve instead.
    fn serving_on(&self) -> String {
        let not_on = |view: &&InstanceView| {
            matches!(view.standing, Standing::Failed(_) | Standing::Reverted)
        };
        let not_on = self.views.iter().filter(not_on);
        let mut serving: Vec<u64> = not_on.filter_map(|view| view.serving).collect();
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

    /// The instances that have not ended, and what they do; who holds the rollout, if somebody does.
    fn underway(&self) -> Vec<String> {
        let underway = self.views.iter().filter(|view| !view.standing.has_ended());
        let does = |view: &InstanceView| match view.phase() {
            "down" | "stale" => view.missing().unwrap_or_default(),
            "waiting" => format!("{} waits for its turn", view.name),
            "silent" => format!("{} has not reported", view.name),
            "behind" => format!("{} has not seen it", view.name),
            phase => format!("{} is {phase}", view.name),
        };
        let paused = self.seen.paused().map(|order| format!("{} has paused it", order.by));
        let all: Vec<_> = paused.into_iter().chain(underway.map(does)).collect();
        match all.is_empty() {
            true => vec!["the fleet has not come to an end with it".to_owned()],
            false => all,
        }
    }

    fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.views.iter().filter_map(|view| match &view.standing {
            Standing::Failed(failure) => Some((view.name.as_str(), failure)),
            _ => None,
        })
    }

    /// All failures that something is known of: of an instance that had switched, and has gone back
    /// since, its conductor keeps it.
    fn failure_lines(&self) -> impl Iterator<Item = (&str, &Failure)> {
        let halt = self.seen.progress.as_ref().and_then(|progress| progress.halt.as_ref());
        let kept = halt.and_then(|halt| halt.instance.as_deref().zip(halt.failure.as_ref()));
        let is_new = move |(name, _): &(&str, _)| self.failures().all(|(other, _)| other != *name);
        kept.into_iter().filter(is_new).chain(self.failures())
    }

    /// What the app wrote last on each failed instance. Why it failed was told as it happened.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, failure) in self.failure_lines().take(SHOWN_MAX) {
            if !has_run(failure) {
                continue;
            }
            let mut all = last_lines(name, failure);
            all[0] = Style::Bold.paint(&all[0]);
            lines.append(&mut all);
        }
        let more = self.failure_lines().count().saturating_sub(SHOWN_MAX);
        if more > 0 {
            lines.push(format!("… and {more} more"));
        }
        lines
    }
}

/// Whether the release came so far that it could say something.
fn has_run(failure: &Failure) -> bool {
    failure.stage != report::Stage::Fetch
}
