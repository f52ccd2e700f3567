//! How the rollout of the current release stands. Pure.

use std::time::Duration;

use deploy::Timestamp;
use deploy::release::Release;
use deploy::rollout::{Halt, Order, Progress, Stage};
use serde::Serialize;

use super::snapshot::Snapshot;
use crate::follow::{InstanceView, Seen, summary};
use crate::output::events::RolloutEvent;
use crate::output::when;
use crate::rollout::{last_lines, what_became};

/// The rollout at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RolloutStatus {
    /// What the conductor has written, if one has begun.
    pub(super) progress: Option<Progress>,
    /// Whose order holds it.
    pub(super) paused: Option<Order>,
    /// What was before the release.
    pub(super) base: Option<u64>,
    pub(super) instances: usize,
    pub(super) may_switch: usize,
    pub(super) switched: usize,
    /// How many instances are at what: `12 waiting, 3 switching, 5 done`.
    pub(super) summary: String,
    /// All serve it.
    pub(super) is_everywhere: bool,
}

/// The same for a program: as `rollout`'s events have it.
#[derive(Debug, Serialize)]
pub(super) struct RolloutJson<'a> {
    stage: &'static str,
    conductor: Option<&'a str>,
    instances: usize,
    may_switch: usize,
    switched: usize,
    paused_by: Option<&'a str>,
    halt: Option<&'a Halt>,
    /// Where it leads back to.
    base: Option<u64>,
}

impl RolloutStatus {
    /// Of a release that carries rules; none of one that does not.
    pub(super) fn of(
        release: &Release,
        seen: &Seen,
        base: Option<u64>,
        views: &[InstanceView],
    ) -> Option<Self> {
        release.rollout.as_ref()?;
        let event: Option<RolloutEvent> = crate::follow::event(release, seen, views);
        let switched = views.iter().filter(|view| view.switched().is_some()).count();
        Some(Self {
            progress: seen.progress.clone(),
            paused: seen.paused().cloned(),
            base: base.filter(|base| *base != release.number),
            instances: views.len(),
            may_switch: event.map_or(0, |event| event.may_switch),
            switched,
            summary: summary(views),
            is_everywhere: views.iter().all(|view| {
                view.is_live() && view.unwell.is_none() && view.serving == Some(release.number)
            }),
        })
    }

    pub(super) fn json(&self) -> RolloutJson<'_> {
        let progress = self.progress.as_ref();
        RolloutJson {
            stage: progress.map_or("waiting", |progress| progress.stage.word()),
            conductor: progress.map(|progress| progress.conductor.by.as_str()),
            instances: self.instances,
            may_switch: self.may_switch,
            switched: self.switched,
            paused_by: self.paused.as_ref().map(|order| order.by.as_str()),
            halt: progress.and_then(|progress| progress.halt.as_ref()),
            base: self.base,
        }
    }
}

/// What there is to say of it; nothing where it is over and all is well.
pub(super) fn lines(snapshot: &Snapshot, now: Timestamp) -> Vec<String> {
    let (Some(release), Some(status)) = (&snapshot.release, &snapshot.rollout) else {
        return Vec::new();
    };
    if status.instances == 0 {
        return Vec::new();
    }
    let (app, v) = (&snapshot.app, release.number);
    if let Some(order) = &status.paused {
        let at = when::clock(order.at, now);
        let (by, summary) = (&order.by, &status.summary);
        return vec![format!(
            "{by} has paused the rollout of v{v} at {at}: {summary}; `engr {app} resume`"
        )];
    }
    let Some(progress) = &status.progress else {
        // Nobody has to conduct what is everywhere.
        let line = || format!("rollout of v{v}: nobody conducts it yet; {}", status.summary);
        return if status.is_everywhere { Vec::new() } else { vec![line()] };
    };
    let rules = &release.rollout.clone().unwrap_or_default().rules;
    let steady = progress.steady_ms.map(Duration::from_millis);
    let well = |of: deploy::Span, what: &str| match steady {
        Some(steady) => format!(", {what} for {} s of {of}", steady.min(of.0).as_secs()),
        None => String::new(),
    };
    let all = status.instances;
    let what = match progress.stage {
        Stage::Canary => format!("canary{}; {}", well(rules.bake, "healthy"), status.summary),
        Stage::Rolling => {
            let parallel = rules.parallel(all, release.settings.graceful_shutdown);
            let limit = match parallel < all {
                true => format!(", {parallel} at a time"),
                false => String::new(),
            };
            format!("rolling{limit}; {}", status.summary)
        }
        Stage::Watching => {
            let summary = if status.is_everywhere { "" } else { &status.summary };
            let summary = if summary.is_empty() { String::new() } else { format!("; {summary}") };
            match well(rules.watch_for, "watched") {
                well if well.is_empty() => format!("watched{summary}"),
                well => format!("{}{summary}", well.trim_start_matches(", ")),
            }
        }
        // It says why in the lines that follow.
        Stage::Reverting => {
            let mut lines = over(snapshot, release, status, progress);
            lines.insert(0, format!("rollout of v{v}: going back; {}", status.summary));
            return lines;
        }
        Stage::Unknown => format!("a stage that this engr does not know; {}", status.summary),
        Stage::Done => return Vec::new(),
        Stage::Halted | Stage::Reverted => return over(snapshot, release, status, progress),
    };
    vec![format!("rollout of v{v}: {what}; {} conducts", progress.conductor.by)]
}

/// It goes no further: where and why, and the way on.
fn over(
    snapshot: &Snapshot,
    release: &Release,
    status: &RolloutStatus,
    progress: &Progress,
) -> Vec<String> {
    let app = &snapshot.app;
    let became = what_became(app, release, progress, status.base);
    let mut lines: Vec<_> = became.into_iter().collect();
    let halt = progress.halt.as_ref();
    let failure = halt.and_then(|halt| halt.instance.as_deref().zip(halt.failure.as_ref()));
    lines.extend(failure.into_iter().flat_map(|(name, failure)| last_lines(name, failure)));
    if progress.stage == Stage::Halted {
        let abort = match status.base {
            Some(base) => format!("; `engr {app} abort` brings all back to v{base}"),
            None => String::new(),
        };
        lines.push(format!("`engr {app} resume` goes on{abort}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use deploy::id::Id;
    use deploy::report::Stage as FailedAt;
    use deploy::rollout::{Standing, Verb};

    use super::super::table;
    use super::*;
    use crate::follow::fixtures::{at, done, failure, halt, progress, release, view};

    const NOW: &str = "2026-11-22T10:01:00Z";

    fn said(seen: &Seen) -> String {
        let views = [
            view("hello-1", done()),
            view("hello-2", Standing::Waiting),
            view("hello-3", Standing::Waiting),
        ];
        let status = RolloutStatus::of(&release(7), seen, Some(6), &views);
        let snapshot =
            Snapshot { rollout: status, release: Some(release(7)), ..table::tests::bare() };
        lines(&snapshot, at(NOW)).join("\n")
    }

    fn seen(progress: Progress) -> Seen {
        Seen { progress: Some(progress), ..Seen::default() }
    }

    #[test]
    fn how_the_rollout_stands() {
        let steady_ms = Some(4_200);
        let failed = Halt { failure: Some(failure(FailedAt::Settle)), ..halt() };
        let halted = |stage, halt| seen(Progress { halt: Some(halt), ..progress(stage) });
        let order = Order {
            id: Id::fixed("o"),
            release: Id::fixed("test"),
            verb: Verb::Pause,
            by: "bob@desk".into(),
            at: at("2026-11-22T10:00:05Z"),
        };
        let paused = Seen { order: Some(order), ..seen(progress(Stage::Rolling)) };
        let all = [
            Seen::default(),
            seen(progress(Stage::Canary)),
            seen(Progress { steady_ms, ..progress(Stage::Canary) }),
            seen(progress(Stage::Rolling)),
            seen(Progress { steady_ms, ..progress(Stage::Watching) }),
            seen(progress(Stage::Done)),
            halted(Stage::Halted, halt()),
            halted(Stage::Reverted, failed),
        ];
        let text = all.iter().map(said).collect::<Vec<_>>().join("\n--\n");
        insta::assert_snapshot!(text, @"
        rollout of v7: nobody conducts it yet; 2 waiting, 1 done
        --
        rollout of v7: canary; 2 waiting, 1 done; hello-1 conducts
        --
        rollout of v7: canary, healthy for 4 s of 10s; 2 waiting, 1 done; hello-1 conducts
        --
        rollout of v7: rolling; 2 waiting, 1 done; hello-1 conducts
        --
        rollout of v7: watched for 4 s of 1m; 2 waiting, 1 done; hello-1 conducts
        --

        --
        v7 was halted after 12 s: hello-2: exited with code 3
        `engr hello resume` goes on; `engr hello abort` brings all back to v6
        --
        v7 was taken back after 12 s: hello-2: exited with code 3; hello runs v6
        hello-2, last lines
          │ boot
          │ panic: no database
        ");
        let text = said(&paused);
        assert!(text.starts_with("bob@desk has paused the rollout of v7 at "), "{text}");
        assert!(text.ends_with(": 2 waiting, 1 done; `engr hello resume`"), "{text}");
    }
}
