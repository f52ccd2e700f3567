//! What is told of the rollout as a whole, as it goes from one stage to the next. Pure.

use std::collections::BTreeSet;

use deploy::desired_agent::order_key;
use deploy::release::Release;
use deploy::rollout::{Mark, Stage, Standing, Verb};

use super::judge::Seen;
use super::view::InstanceView;
use crate::output::Style;
use crate::output::events::RolloutEvent;

/// Of how many canaries the names are told.
const NAMES_MAX: usize = 5;

/// Remembers what was told.
#[derive(Debug)]
pub struct StageTracker<'a> {
    app: &'a str,
    release: &'a Release,
    event: Option<RolloutEvent>,
    told: BTreeSet<Line>,
}

/// What is new.
#[derive(Debug)]
pub struct News {
    /// For a program.
    pub event: Option<RolloutEvent>,
    /// For people, ahead of what the instances say.
    pub before: Vec<String>,
    /// For people, and following from what they say.
    pub after: Vec<String>,
}

/// Something that is told once; of an order, once for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Canary,
    Bakes,
    Rolling,
    Ordered(String),
    Reverted,
}

impl<'a> StageTracker<'a> {
    /// Nothing was told yet.
    pub fn new(app: &'a str, release: &'a Release) -> Self {
        Self { app, release, event: None, told: BTreeSet::new() }
    }

    /// What is new of the rollout.
    pub fn step(&mut self, seen: &Seen, views: &[InstanceView]) -> News {
        let event = event(self.release, seen, views);
        // How many have switched is told instance by instance.
        let key = |event: &RolloutEvent| RolloutEvent { switched: 0, ..event.clone() };
        let is_new = self.event.as_ref().map(key) != event.as_ref().map(key);
        if is_new {
            self.event = event.clone();
        }
        let lines = lines(self.app, self.release, seen, views);
        let new = lines.into_iter().filter(|(line, _)| self.told.insert(line.clone()));
        let (before, after) = new.partition::<Vec<_>, _>(|(line, _)| *line == Line::Canary);
        let texts = |lines: Vec<(Line, String)>| lines.into_iter().map(|(_, text)| text).collect();
        News { event: event.filter(|_| is_new), before: texts(before), after: texts(after) }
    }
}

/// How far the rollout is, for a program; none where nobody has begun it.
pub fn event(release: &Release, seen: &Seen, views: &[InstanceView]) -> Option<RolloutEvent> {
    let progress = seen.progress.as_ref()?;
    Some(RolloutEvent {
        release: release.number,
        stage: progress.stage.word(),
        conductor: progress.conductor.by.clone(),
        instances: views.len(),
        may_switch: marked(release, progress.mark, views).count(),
        switched: views.iter().filter(|view| view.switched().is_some()).count(),
        paused_by: seen.paused().map(|order| order.by.clone()),
        halt: progress.halt.clone(),
    })
}

/// The instances that the mark lets on.
pub(super) fn marked<'a>(
    release: &'a Release,
    mark: Mark,
    views: &'a [InstanceView],
) -> impl Iterator<Item = &'a InstanceView> {
    views.iter().filter(move |view| mark.lets(&order_key(&release.id, &view.name)))
}

/// All that can be said by now, in its order.
fn lines(app: &str, release: &Release, seen: &Seen, views: &[InstanceView]) -> Vec<(Line, String)> {
    let (Some(plan), Some(progress)) = (&release.rollout, &seen.progress) else {
        return Vec::new();
    };
    let rules = &plan.rules;
    let mut lines = Vec::new();
    let mut say = |line, name: &str, text: String| lines.push((line, titled(name, text)));
    let is_ordered = !plan.now;
    let canaries: Vec<_> = marked(release, progress.mark, views).collect();
    if is_ordered && progress.stage == Stage::Canary && !canaries.is_empty() {
        let (names, goes) = (names(&canaries), if canaries.len() == 1 { "goes" } else { "go" });
        say(Line::Canary, "canary", format!("{names} {goes} first"));
        if canaries.iter().all(|view| view.is_good()) {
            let verbs = if canaries.len() == 1 { ("is", "bakes") } else { ("are", "bake") };
            let text = format!("{names} {} healthy, and {} for {}", verbs.0, verbs.1, rules.bake);
            say(Line::Bakes, "canary", text);
        }
    }
    if is_ordered && progress.stage == Stage::Rolling {
        let switched = views.iter().filter(|view| view.switched().is_some()).count();
        let parallel = rules.parallel(views.len(), release.settings.graceful_shutdown);
        let rest = match parallel < views.len().saturating_sub(switched) {
            true => format!("the others follow, {parallel} at a time"),
            false => "the others follow".to_owned(),
        };
        if switched < views.len() {
            let text = format!("{switched} of {} have switched; {rest}", views.len());
            say(Line::Rolling, "rolling", text);
        }
    }
    if let Some(order) = &seen.order {
        let (line, by) = (Line::Ordered(order.id.to_string()), &order.by);
        match order.verb {
            Verb::Pause if seen.paused().is_some() => {
                let text = format!("by {by}; it goes on with `engr {app} resume`");
                say(line, "paused", text);
            }
            Verb::Resume => say(line, "resumed", format!("by {by}")),
            Verb::Abort if progress.stage != Stage::Reverted => {
                say(line, "aborted", format!("by {by}; all go back"));
            }
            Verb::Pause | Verb::Abort | Verb::Unknown => {}
        }
    }
    let are_back = |view: &InstanceView| {
        matches!(view.standing, Standing::Reverted | Standing::Failed(_)) || !view.is_live()
    };
    if progress.stage == Stage::Reverted && !views.iter().all(are_back) {
        let why = progress.halt.as_ref().map_or("", |halt| halt.message.as_str());
        let text = Style::Yellow.paint(format!("{why}; all go back"));
        say(Line::Reverted, "reverted", text);
    }
    lines
}

fn titled(name: &str, text: String) -> String {
    format!("{} {text}", Style::Bold.paint(format_args!("{name:<9}")))
}

/// `hello-1, hello-2 and 3 more`.
fn names(views: &[&InstanceView]) -> String {
    let names: Vec<_> = views.iter().take(NAMES_MAX).map(|view| view.name.as_str()).collect();
    let more = match views.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use deploy::id::Id;
    use deploy::rollout::{Limit, Order, Plan, Progress, Rules};

    use super::super::fixtures::{at, done, halt, progress, release, settling, view};
    use super::*;

    fn seen(stage: Stage, mark: Mark) -> Seen {
        Seen { progress: Some(Progress { mark, ..progress(stage) }), ..Seen::default() }
    }

    /// The instance that goes first of these, and its place.
    fn first(views: &[InstanceView]) -> (usize, Mark) {
        let key = |view: &InstanceView| order_key(&Id::fixed("test"), &view.name);
        let (index, view) = views.iter().enumerate().min_by_key(|(_, view)| key(view)).unwrap();
        (index, Mark::UpTo(key(view)))
    }

    fn said(
        tracker: &mut StageTracker<'_>,
        seen: &Seen,
        views: &[InstanceView],
    ) -> (Option<RolloutEvent>, Vec<String>) {
        let News { event, mut before, mut after } = tracker.step(seen, views);
        before.append(&mut after);
        (event, before)
    }

    fn three() -> Vec<InstanceView> {
        ["hello-1", "hello-2", "hello-3"].map(|name| view(name, Standing::Waiting)).into()
    }

    #[test]
    fn each_stage_is_told_once_as_it_comes() {
        let (release, mut views) = (release(7), three());
        let mut tracker = StageTracker::new("hello", &release);
        let (canary, mark) = first(&views);
        let name = views[canary].name.clone();
        assert_eq!(said(&mut tracker, &Seen::default(), &views), (None, vec![]));
        let (event, lines) = said(&mut tracker, &seen(Stage::Canary, Mark::None), &views);
        assert_eq!((event.unwrap().may_switch, lines), (0, vec![]));
        let (event, lines) = said(&mut tracker, &seen(Stage::Canary, mark), &views);
        assert_eq!((event.unwrap().may_switch), 1);
        assert_eq!(lines, [format!("canary    {name} goes first")]);
        views[canary].standing = settling();
        assert_eq!(said(&mut tracker, &seen(Stage::Canary, mark), &views), (None, vec![]));
        views[canary].standing = done();
        let (event, lines) = said(&mut tracker, &seen(Stage::Canary, mark), &views);
        let bakes = format!("canary    {name} is healthy, and bakes for 10s");
        assert_eq!((event, lines), (None, vec![bakes]));
        let (event, lines) = said(&mut tracker, &seen(Stage::Rolling, Mark::All), &views);
        let event = event.unwrap();
        assert_eq!((event.stage, event.may_switch, event.switched), ("rolling", 3, 1));
        assert_eq!(lines, ["rolling   1 of 3 have switched; the others follow"]);
        let (event, lines) = said(&mut tracker, &seen(Stage::Watching, Mark::All), &views);
        assert_eq!((event.unwrap().stage, lines), ("watching", vec![]));
    }

    #[test]
    fn so_many_at_a_time_is_told() {
        let mut release = release(7);
        let max_parallel = Some(Limit::Count(1));
        let rules = Rules { max_parallel, ..Rules::default() };
        release.rollout = Some(Plan { rules, ..Plan::default() });
        let (mut views, mut tracker) = (three(), StageTracker::new("hello", &release));
        views[0].standing = done();
        let (_, lines) = said(&mut tracker, &seen(Stage::Rolling, Mark::All), &views);
        assert_eq!(lines, ["rolling   1 of 3 have switched; the others follow, 1 at a time"]);
    }

    #[test]
    fn where_no_order_is_kept_there_is_none_to_tell() {
        let mut release = release(7);
        release.rollout = Some(Plan { now: true, ..Plan::default() });
        let mut tracker = StageTracker::new("hello", &release);
        for stage in [Stage::Rolling, Stage::Watching, Stage::Done] {
            let (event, lines) = said(&mut tracker, &seen(stage, Mark::All), &three());
            assert_eq!((event.is_some(), lines), (true, vec![]), "{stage:?}");
        }
    }

    #[test]
    fn orders_are_told_with_whose_they_are() {
        let (release, views) = (release(7), three());
        let mut tracker = StageTracker::new("hello", &release);
        let mut say = |verb, id: &str, stage| {
            let at = at("2026-11-22T10:00:05Z");
            let by = "bob@desk".to_owned();
            let order = Order { id: Id::fixed(id), release: release.id.clone(), verb, by, at };
            let seen = Seen { order: Some(order), ..seen(stage, Mark::None) };
            let (event, lines) = said(&mut tracker, &seen, &views);
            (event.and_then(|event| event.paused_by), lines)
        };
        let paused = vec!["paused    by bob@desk; it goes on with `engr hello resume`".to_owned()];
        let bob = Some("bob@desk".to_owned());
        assert_eq!(say(Verb::Pause, "1", Stage::Canary), (bob.clone(), paused.clone()));
        assert_eq!(say(Verb::Pause, "1", Stage::Canary), (None, vec![]));
        let resumed = vec!["resumed   by bob@desk".to_owned()];
        assert_eq!(say(Verb::Resume, "2", Stage::Canary), (None, resumed));
        assert_eq!(say(Verb::Pause, "3", Stage::Canary), (bob, paused));
        let aborted = vec!["aborted   by bob@desk; all go back".to_owned()];
        assert_eq!(say(Verb::Abort, "4", Stage::Canary), (None, aborted));
    }

    #[test]
    fn a_rollout_that_is_taken_back_says_why_while_it_goes_back() {
        let (release, mut views) = (release(7), three());
        views[0].standing = done();
        let mut tracker = StageTracker::new("hello", &release);
        let reverted = Progress { halt: Some(halt()), ..progress(Stage::Reverted) };
        let seen = Seen { progress: Some(reverted), ..Seen::default() };
        let (event, lines) = said(&mut tracker, &seen, &views);
        assert_eq!(event.unwrap().halt, Some(halt()));
        assert_eq!(lines, ["reverted  hello-2: exited with code 3; all go back"]);
        // Whoever comes later is told at the end.
        let mut tracker = StageTracker::new("hello", &release);
        views.iter_mut().for_each(|view| view.standing = Standing::Reverted);
        assert_eq!(said(&mut tracker, &seen, &views).1, Vec::<String>::new());
    }
}
