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
        (Some(Stage::Reverted), _) => {
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
mod tests {
    use deploy::desired_agent::order_key;
    use deploy::id::Id;
    use deploy::report::{Failure, Stage as FailedAt};
    use deploy::rollout::{Mark, Order, Progress, Verb};

    use super::super::fixtures::{at, done, failure, progress, release, settling, view};
    use super::*;

    fn drawn(seen: &Seen, views: &[InstanceView], columns: usize, rows: usize) -> String {
        let release = release(7);
        let elapsed = Duration::from_millis(12_400);
        let picture = Picture { release: &release, seen, views, elapsed };
        let lines = draw(&picture, columns, rows);
        assert!(lines.len() <= rows, "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= columns), "{lines:#?}");
        lines.join("\n")
    }

    fn seen(stage: Stage) -> Seen {
        Seen { progress: Some(progress(stage)), ..Seen::default() }
    }

    fn long_failure() -> Standing {
        let message = "exited with code 3 before it was ready, and said nothing of why it did so, \
                       which is not what one hopes for";
        Standing::Failed(Failure { message: message.into(), ..failure(FailedAt::Ready) })
    }

    fn three() -> Vec<InstanceView> {
        vec![
            view("hello-1", settling()),
            view("hello-2", Standing::Waiting),
            view("hello-3", long_failure()),
        ]
    }

    /// 40 wait, 3 are on their way, and the rest are at all kinds of ends.
    fn fifty() -> Vec<InstanceView> {
        let standing = |number: usize| match number {
            1..=40 => Standing::Waiting,
            41 => Standing::Underway(Phase::Starting),
            42 => Standing::Underway(Phase::Proving),
            43 => settling(),
            44 => long_failure(),
            45 => Standing::Behind,
            46 => Standing::Underway(Phase::Fetching),
            _ => done(),
        };
        let mut all: Vec<_> =
            (1..=50).map(|number| view(&format!("hello-{number}"), standing(number))).collect();
        all[46].down = true;
        all[47].silent = Some(Duration::from_secs(120));
        all[48].unwell = Some("/health answers 500".into());
        all
    }

    #[test]
    fn three_on_80_columns() {
        insta::assert_snapshot!(drawn(&seen(Stage::Rolling), &three(), 80, 22), @"
        rolling   1 of 3 switched, 12 s
                  hello-1  settling    switched after 0.210 s
                  hello-2  waiting     v6 serves
                  hello-3  failed      to become ready: exited with code 3 before it wa…
        ");
    }

    #[test]
    fn three_on_120_columns() {
        insta::assert_snapshot!(drawn(&seen(Stage::Rolling), &three(), 120, 22), @"
        rolling   1 of 3 switched, 12 s
                  hello-1  settling    switched after 0.210 s
                  hello-2  waiting     v6 serves
                  hello-3  failed      to become ready: exited with code 3 before it was ready, and said nothing of why it did …
        ");
    }

    #[test]
    fn fifty_on_80_columns_and_24_rows() {
        insta::assert_snapshot!(drawn(&seen(Stage::Rolling), &fifty(), 80, 22), @"
        rolling   5 of 50 switched, 12 s
                  hello-44  failed      to become ready: exited with code 3 before it w…
                  hello-47  down        its agent does not run
                  hello-48  stale       no word for 2m 0s
                  hello-49  unwell      /health answers 500
                  hello-41  starting    v6 serves
                  hello-42  proving     v6 serves
                  hello-43  settling    switched after 0.210 s
                  hello-46  fetching    v6 serves
                  hello-1   waiting     v6 serves
                  hello-2   waiting     v6 serves
                  hello-3   waiting     v6 serves
                  hello-4   waiting     v6 serves
                  hello-5   waiting     v6 serves
                  hello-6   waiting     v6 serves
                  hello-7   waiting     v6 serves
                  hello-8   waiting     v6 serves
                  hello-9   waiting     v6 serves
                  hello-10  waiting     v6 serves
                  hello-11  waiting     v6 serves
                  hello-12  waiting     v6 serves
                  1 behind, 1 fetching, 40 waiting, 3 switching, 1 done, 1 failed, 1 un…
        ");
    }

    #[test]
    fn fifty_on_120_columns_and_60_rows() {
        insta::assert_snapshot!(drawn(&seen(Stage::Rolling), &fifty(), 120, 58), @"
        rolling   5 of 50 switched, 12 s
                  hello-1   waiting     v6 serves
                  hello-2   waiting     v6 serves
                  hello-3   waiting     v6 serves
                  hello-4   waiting     v6 serves
                  hello-5   waiting     v6 serves
                  hello-6   waiting     v6 serves
                  hello-7   waiting     v6 serves
                  hello-8   waiting     v6 serves
                  hello-9   waiting     v6 serves
                  hello-10  waiting     v6 serves
                  hello-11  waiting     v6 serves
                  hello-12  waiting     v6 serves
                  hello-13  waiting     v6 serves
                  hello-14  waiting     v6 serves
                  hello-15  waiting     v6 serves
                  hello-16  waiting     v6 serves
                  hello-17  waiting     v6 serves
                  hello-18  waiting     v6 serves
                  hello-19  waiting     v6 serves
                  hello-20  waiting     v6 serves
                  hello-21  waiting     v6 serves
                  hello-22  waiting     v6 serves
                  hello-23  waiting     v6 serves
                  hello-24  waiting     v6 serves
                  hello-25  waiting     v6 serves
                  hello-26  waiting     v6 serves
                  hello-27  waiting     v6 serves
                  hello-28  waiting     v6 serves
                  hello-29  waiting     v6 serves
                  hello-30  waiting     v6 serves
                  hello-31  waiting     v6 serves
                  hello-32  waiting     v6 serves
                  hello-33  waiting     v6 serves
                  hello-34  waiting     v6 serves
                  hello-35  waiting     v6 serves
                  hello-36  waiting     v6 serves
                  hello-37  waiting     v6 serves
                  hello-38  waiting     v6 serves
                  hello-39  waiting     v6 serves
                  hello-40  waiting     v6 serves
                  hello-41  starting    v6 serves
                  hello-42  proving     v6 serves
                  hello-43  settling    switched after 0.210 s
                  hello-44  failed      to become ready: exited with code 3 before it was ready, and said nothing of why it did…
                  hello-45  behind      v6 serves
                  hello-46  fetching    v6 serves
                  hello-47  down        its agent does not run
                  hello-48  stale       no word for 2m 0s
                  hello-49  unwell      /health answers 500
                  hello-50  done        switched after 0.210 s
        ");
    }

    #[test]
    fn the_heading_says_how_far_it_is() {
        let views = [view("hello-1", done()), view("hello-2", Standing::Reverted)];
        let heading = |seen: &Seen| drawn(seen, &views, 80, 3).lines().next().unwrap().to_owned();
        let mark = Mark::UpTo(order_key(&Id::fixed("test"), "hello-1"));
        let steady_ms = Some(4_200);
        let baking = Progress { steady_ms, mark, ..progress(Stage::Canary) };
        let baking = Seen { progress: Some(baking), ..Seen::default() };
        let (id, by) = (Id::fixed("o"), "bob@desk".to_owned());
        let at = at("2026-11-22T10:00:05Z");
        let order = Order { id, release: Id::fixed("test"), verb: Verb::Pause, by, at };
        let paused = Seen { order: Some(order), ..baking.clone() };
        let all = [
            Seen::default(),
            seen(Stage::Canary),
            baking,
            paused,
            seen(Stage::Rolling),
            seen(Stage::Watching),
            seen(Stage::Reverted),
        ];
        insta::assert_snapshot!(all.iter().map(heading).collect::<Vec<_>>().join("\n"), @"
        rollout   1 of 2 switched, 12 s
        canary    1 of 2 switched, 12 s
        canary    healthy for 4 s of 10s, 1 of 2 switched, 12 s
        paused    by bob@desk, 1 of 2 switched, 12 s
        rolling   1 of 2 switched, 12 s
        rollout   1 of 2 switched, 12 s
        reverted  1 of 2 back, 12 s
        ");
    }

    #[test]
    fn a_screen_without_room_has_a_summary_of_all() {
        let text = drawn(&seen(Stage::Rolling), &fifty(), 120, 2);
        let expected = "1 behind, 1 fetching, 40 waiting, 3 switching, 1 done, 1 failed, 1 unwell, \
                        1 down, 1 stale";
        assert_eq!(text.lines().nth(1).unwrap().trim(), expected);
    }
}
