//! Pictures of small and large fleets.

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
