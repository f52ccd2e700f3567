//! What is drawn on a terminal while a rollout goes on, and drawn over as it changes. Pure.

use std::time::Duration;

use deploy::Timestamp;
use deploy::release::Release;
use deploy::report::Phase;
use deploy::rollout::{Stage, Standing};

use super::judge::Seen;
use super::view::{InstanceView, failed};
use crate::output::{Style, when};

/// What stands before an instance's name, so wide as the names of phases.
const INDENT: &str = "          ";

/// The room for a phase's name.
const PHASE_WIDTH: usize = 10;

/// A rollout at one moment.
#[derive(Debug)]
pub struct Picture<'a> {
    /// Which release goes through the fleet.
    pub release: &'a Release,
    /// How far it is.
    pub seen: &'a Seen,
    /// The instances.
    pub views: &'a [InstanceView],
    /// How long it has been followed.
    pub elapsed: Duration,
}

/// The lines of a picture, on so many columns and no more than so many rows: one for each instance. If
/// they do not all fit, those of the instances that most is to be seen of, and a summary of all.
pub fn draw(picture: &Picture<'_>, columns: usize, rows: usize) -> Vec<String> {
    let views = picture.views;
    let name = views.iter().map(|view| view.name.chars().count()).max().unwrap_or(0);
    let line = |view: &&InstanceView| {
        let (phase, what) = (view.phase(), detail(picture.release, view));
        let text = format!("{INDENT}{:<name$}  {phase:<PHASE_WIDTH$}  {what}", view.name);
        style(view).paint(cut(text.trim_end(), columns))
    };
    let mut lines = vec![Style::Dim.paint(cut(&heading(picture), columns))];
    let room = rows.saturating_sub(1);
    if views.len() <= room {
        lines.extend(views.iter().map(|view| line(&view)));
        return lines;
    }
    if room == 0 {
        return lines;
    }
    let mut shown: Vec<&InstanceView> = views.iter().collect();
    shown.sort_by_key(|view| rank(view));
    shown.truncate(room.saturating_sub(1));
    lines.extend(shown.iter().map(line));
    lines.push(Style::Dim.paint(cut(&format!("{INDENT}{}", summary(views)), columns)));
    lines
}

/// How far all of it is.
fn heading(picture: &Picture<'_>) -> String {
    let Picture { release, seen, views, elapsed } = picture;
    let count = |is: fn(&InstanceView) -> bool| views.iter().filter(|view| is(view)).count();
    let (all, seconds) = (views.len(), elapsed.as_secs());
    let switched =
        format!("{} of {all} switched, {seconds} s", count(|it| it.switched().is_some()));
    if let Some(order) = seen.paused() {
        return format!("{:<9} by {}, {switched}", "paused", order.by);
    }
    let steady = seen.progress.as_ref().and_then(|progress| progress.steady_ms);
    match (seen.stage(), steady) {
        (Some(Stage::Canary), Some(steady)) => {
            let bake = release.rollout.clone().unwrap_or_default().rules.bake;
            let baked = Duration::from_millis(steady).min(bake.0).as_secs();
            format!("{:<9} healthy for {baked} s of {bake}, {switched}", "canary")
        }
        (Some(Stage::Canary), None) => format!("{:<9} {switched}", "canary"),
        (Some(Stage::Rolling), _) => format!("{:<9} {switched}", "rolling"),
        (Some(Stage::Reverting | Stage::Reverted), _) => {
            let back = count(|it| matches!(it.standing, Standing::Reverted | Standing::Failed(_)));
            format!("{:<9} {back} of {all} back, {seconds} s", "reverted")
        }
        (Some(Stage::Watching | Stage::Done | Stage::Halted | Stage::Unknown) | None, _) => {
            format!("{:<9} {switched}", "rollout")
        }
    }
}

/// What there is to say of an instance beyond its phase.
fn detail(release: &Release, view: &InstanceView) -> String {
    let serves = || view.serving.map(|serving| format!("v{serving} serves")).unwrap_or_default();
    let took = |switched: Timestamp| {
        format!("switched after {}", when::length(when::between(release.published, switched)))
    };
    match (&view.standing, view.is_live()) {
        (Standing::Failed(failure), _) => {
            failed(failure).trim_start_matches("failed ").replace('\n', " ")
        }
        (Standing::Superseded { by }, _) => format!("has gone on to v{by}"),
        (Standing::Reverted, _) => serves(),
        (_, false) => match view.silent {
            Some(silent) if !view.down => format!("no word for {}", when::length(silent)),
            _ => "its agent does not run".to_owned(),
        },
        (Standing::Done { switched, .. } | Standing::Settling { switched, .. }, true) => {
            view.unwell.clone().unwrap_or_else(|| took(*switched))
        }
        (Standing::Silent, true) => String::new(),
        (Standing::Behind | Standing::Waiting | Standing::Underway(_), true) => serves(),
    }
}

fn style(view: &InstanceView) -> Style {
    match view.phase() {
        "failed" | "unwell" => Style::Red,
        "down" | "stale" | "reverted" | "superseded" => Style::Yellow,
        "done" | "settling" => Style::Green,
        _ => Style::Dim,
    }
}

/// Those that most is to be seen of come first.
fn rank(view: &InstanceView) -> u8 {
    match view.phase() {
        "failed" | "unwell" | "down" | "stale" => 0,
        _ if view.is_moving() => 1,
        "done" | "reverted" | "superseded" => 3,
        _ => 2,
    }
}

/// `12 waiting, 3 switching, 5 done`.
pub fn summary(views: &[InstanceView]) -> String {
    const WORDS: [&str; 11] = [
        "silent",
        "behind",
        "fetching",
        "waiting",
        "switching",
        "done",
        "failed",
        "unwell",
        "down",
        "stale",
        "reverted",
    ];
    let word = |view: &InstanceView| match (view.phase(), &view.standing) {
        (phase, _) if WORDS.contains(&phase) => phase,
        (_, Standing::Superseded { .. }) => "superseded",
        // Nothing has begun there.
        (_, Standing::Underway(Phase::Serving | Phase::Idle)) => "waiting",
        _ => "switching",
    };
    let counted = WORDS.iter().chain(&["superseded"]).filter_map(|one| {
        let count = views.iter().filter(|view| word(view) == *one).count();
        (count > 0).then(|| format!("{count} {one}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// What is too long for the terminal would take two rows.
fn cut(text: &str, columns: usize) -> String {
    match text.chars().count() > columns {
        true => text.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
