//! What is told of each instance on its way to a release. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use deploy::Timestamp;
use deploy::release::Release;
use deploy::report::{Failure, Phase, Report, Stage, Version};
use deploy::rollout::Standing;

use crate::fleet::Instance;
use crate::output::events::InstanceEvent;
use crate::output::{Style, round, when};

/// An instance as it was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// Where it stands with the release.
    pub standing: Standing,
    /// Its agent does not run.
    pub down: bool,
    /// For how long it has said nothing new, if that is too long.
    pub silent: Option<Duration>,
    /// It serves the release, and is not well: why.
    pub unwell: Option<String>,
    /// The release that serves there now.
    pub serving: Option<u64>,
}

impl InstanceView {
    /// An instance and its report; none if it has left with its machine.
    pub fn new(
        instance: &Instance,
        report: Option<&Report>,
        release: u64,
        silent: Option<Duration>,
    ) -> Option<Self> {
        if report.is_some_and(|report| report.left.is_some()) {
            return None;
        }
        let serving = report.and_then(|report| report.serving.as_ref());
        Some(Self {
            name: instance.name.clone(),
            standing: Standing::of(release, report),
            down: instance.agent_pid.is_none(),
            silent,
            unwell: report.filter(|_| serves(serving, release)).and_then(unwell),
            serving: serving.map(|version| version.release),
        })
    }

    /// Whether its word can be waited for.
    pub fn is_live(&self) -> bool {
        !self.down && self.silent.is_none()
    }

    /// Whether the release serves there, for all that is known, and will.
    pub fn is_good(&self) -> bool {
        self.is_live() && self.unwell.is_none() && matches!(self.standing, Standing::Done { .. })
    }

    /// Whether it may still come to another version by itself.
    pub fn is_moving(&self) -> bool {
        match &self.standing {
            Standing::Settling { .. } => true,
            Standing::Underway(phase) => match phase {
                Phase::Fetching | Phase::Starting | Phase::Proving | Phase::Settling => true,
                Phase::Idle | Phase::Serving | Phase::BackingOff | Phase::Stopping => false,
            },
            Standing::Silent
            | Standing::Behind
            | Standing::Waiting
            | Standing::Done { .. }
            | Standing::Failed(_)
            | Standing::Reverted
            | Standing::Superseded { .. } => false,
        }
    }

    /// Why it does not count although it has not failed, for people.
    pub fn missing(&self) -> Option<String> {
        let name = &self.name;
        match (&self.standing, self.down, self.silent, &self.unwell) {
            (Standing::Failed(_) | Standing::Reverted | Standing::Superseded { .. }, ..) => None,
            (_, true, ..) => Some(format!("{name}'s agent does not run")),
            (_, _, Some(silent), _) => {
                Some(format!("{name} has not reported for {}", when::length(silent)))
            }
            (_, _, _, Some(why)) => Some(format!("{name} is not well: {why}")),
            _ => None,
        }
    }

    /// The word for where it stands; see `output::events`.
    pub fn phase(&self) -> &'static str {
        match &self.standing {
            Standing::Failed(_) => "failed",
            Standing::Superseded { .. } => "superseded",
            Standing::Reverted => "reverted",
            _ if self.down => "down",
            _ if self.silent.is_some() => "stale",
            Standing::Done { .. } if self.unwell.is_some() => "unwell",
            Standing::Done { .. } => "done",
            Standing::Silent => "silent",
            Standing::Behind => "behind",
            Standing::Underway(phase) => phase.word(),
            Standing::Waiting => "waiting",
            Standing::Settling { .. } => "settling",
        }
    }

    /// When it switched, if it serves the release.
    pub fn switched(&self) -> Option<Timestamp> {
        match &self.standing {
            Standing::Done { switched, .. } | Standing::Settling { switched, .. } => {
                Some(*switched)
            }
            _ => None,
        }
    }

    /// The same for a program.
    pub fn event(&self, release: &Release) -> InstanceEvent {
        let switched = self.switched();
        let took = switched.map(|switched| when::between(release.published, switched));
        InstanceEvent {
            name: self.name.clone(),
            release: release.number,
            phase: self.phase(),
            seconds: took.map(|took| round(took.as_secs_f64())),
            switched,
            note: match &self.standing {
                Standing::Done { note, .. } | Standing::Settling { note, .. } => note.clone(),
                _ => None,
            },
            failure: match &self.standing {
                Standing::Failed(failure) => Some(failure.clone()),
                _ => None,
            },
        }
    }
}

fn serves(serving: Option<&Version>, release: u64) -> bool {
    serving.is_some_and(|version| version.release == release)
}

/// Why the version that serves is not well.
fn unwell(report: &Report) -> Option<String> {
    let crashes =
        report.crash_loop.map(|it| format!("it has crashed {} times in a row", it.crashes));
    crashes.or_else(|| report.serving.as_ref().and_then(|version| version.unwell.clone()))
}

/// Something that is new.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// For a program.
    pub event: InstanceEvent,
    /// For people, where they care.
    pub line: Option<String>,
}

/// Remembers what was told.
#[derive(Debug)]
pub struct Tracker<'a> {
    app: &'a str,
    release: &'a Release,
    /// By instance: its phase, and whether its switch was told.
    told: BTreeMap<String, (&'static str, bool)>,
}

impl<'a> Tracker<'a> {
    /// Nothing was told yet.
    pub fn new(app: &'a str, release: &'a Release) -> Self {
        Self { app, release, told: BTreeMap::new() }
    }

    /// What is new with these instances.
    pub fn step(&mut self, views: &[InstanceView]) -> Vec<Told> {
        views.iter().filter_map(|view| self.look(view)).collect()
    }

    fn look(&mut self, view: &InstanceView) -> Option<Told> {
        let before = self.told.get(&view.name).copied();
        let (phase, had_switched) = (view.phase(), before.is_some_and(|(_, switched)| switched));
        if before.is_some_and(|(before, _)| before == phase) {
            return None;
        }
        let has_switched = had_switched || view.switched().is_some() && view.is_live();
        self.told.insert(view.name.clone(), (phase, has_switched));
        let line = self.line(view, had_switched);
        Some(Told { event: view.event(self.release), line })
    }

    fn line(&self, view: &InstanceView, had_switched: bool) -> Option<String> {
        let (app, number) = (self.app, self.release.number);
        let what = match (view.phase(), &view.standing) {
            ("down", _) => {
                let text = format!("its agent does not run; `engr {app} sync` starts it");
                Style::Yellow.paint(text)
            }
            (_, Standing::Failed(failure)) => Style::Red.paint(failed(failure)),
            (_, Standing::Superseded { by }) => format!("has gone on to v{by}"),
            (_, Standing::Reverted) if had_switched => match view.serving {
                Some(serving) => Style::Yellow.paint(format_args!("is back at v{serving}")),
                None => Style::Yellow.paint(format_args!("serves v{number} no longer")),
            },
            ("stale", _) => {
                let silent = when::length(view.silent.unwrap_or_default());
                Style::Yellow.paint(format_args!("has not reported for {silent}"))
            }
            ("unwell", _) => {
                let why = view.unwell.as_deref().unwrap_or_default();
                Style::Red.paint(format_args!("is not well: {why}"))
            }
            _ if had_switched => return None,
            _ => {
                let took = when::between(self.release.published, view.switched()?);
                let text = format!("switched to v{number} after {}", when::length(took));
                Style::Green.paint(text)
            }
        };
        let note = match &view.standing {
            Standing::Done { note: Some(note), .. }
            | Standing::Settling { note: Some(note), .. } => format!("; {note}"),
            _ => String::new(),
        };
        Some(format!("{:<9} {}  {what}{note}", "", view.name))
    }
}

/// `failed: exited with code 3 before it was ready`; the stage and the end where the agent's
/// message leaves them out.
pub fn failed(failure: &Failure) -> String {
    let message = &failure.message;
    let end = match (failure.exit_code, failure.signal) {
        (Some(code), _) if !message.contains(&format!("code {code}")) => {
            format!(" (exit code {code})")
        }
        (None, Some(signal)) if !message.contains(&format!("signal {signal}")) => {
            format!(" ({})", signal_text(signal))
        }
        _ => String::new(),
    };
    format!("failed {}: {message}{end}", stage_text(failure.stage))
}

fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::Fetch => "to fetch",
        Stage::Start => "to start",
        Stage::Ready => "to become ready",
        Stage::Settle => "soon after it was ready",
        Stage::Serve => "while it served",
    }
}

fn signal_text(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => format!("signal {number}, {signal}"),
        Err(_) => format!("signal {number}"),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
