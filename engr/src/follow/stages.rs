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
        let all = views.len();
        let limit = match parallel < all.saturating_sub(switched) {
            true => format!(", {parallel} at a time"),
            false => String::new(),
        };
        match switched {
            0 => say(Line::Rolling, "rolling", format!("all {all} go{limit}")),
            some if some < all => {
                let text = format!("{some} of {all} have switched; the others follow{limit}");
                say(Line::Rolling, "rolling", text);
            }
            _ => {}
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
            Verb::Abort if !progress.stage.is_taken_back() => {
                say(line, "aborted", format!("by {by}; all go back"));
            }
            Verb::Pause | Verb::Abort | Verb::Unknown => {}
        }
    }
    let are_back = |view: &InstanceView| {
        matches!(view.standing, Standing::Reverted | Standing::Failed(_)) || !view.is_live()
    };
    if progress.stage.is_taken_back() && !views.iter().all(are_back) {
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
#[path = "stages_tests.rs"]
mod tests;
