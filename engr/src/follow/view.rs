//! What is told of each instance on its way to a release. Pure.

use std::collections::BTreeMap;

use deploy::Timestamp;
use deploy::release::Release;
use deploy::report::{Failure, Stage};
use deploy::rollout::Standing;

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
    /// The release that serves there now.
    pub serving: Option<u64>,
}

impl InstanceView {
    /// The word for where it stands; see `output::events`.
    pub fn phase(&self) -> &'static str {
        match &self.standing {
            Standing::Done { .. } => "done",
            Standing::Failed(_) => "failed",
            Standing::Superseded { .. } => "superseded",
            Standing::Reverted => "reverted",
            _ if self.down => "down",
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
        let has_switched = had_switched || view.switched().is_some() && phase != "down";
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
pub(super) mod tests {
    use deploy::Digest;
    use deploy::id::Id;
    use deploy::release::{Artifact, Kind};
    use deploy::report::Phase;
    use deploy::settings::Settings;

    use super::*;

    pub(in crate::follow) fn release(number: u64) -> Release {
        Release {
            number,
            id: Id::fixed("test"),
            published: "2026-11-22T10:00:00Z".parse().unwrap(),
            by: "ann@laptop".into(),
            kind: Kind::Deploy,
            message: None,
            source: None,
            artifact: Artifact { digest: Digest::of(b""), size: 0 },
            environment: None,
            settings: Settings::default(),
            rollout: None,
        }
    }

    pub(in crate::follow) fn view(name: &str, standing: Standing) -> InstanceView {
        InstanceView { name: name.into(), standing, down: false, serving: Some(6) }
    }

    pub(in crate::follow) fn failure(stage: Stage) -> Failure {
        Failure {
            release: 7,
            at: "2026-11-22T10:00:01Z".parse().unwrap(),
            stage,
            message: "it ended".into(),
            exit_code: Some(3),
            signal: None,
            last_lines: vec!["boot".into(), "panic: no database".into()],
        }
    }

    pub(in crate::follow) fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn lines(tracker: &mut Tracker<'_>, view: InstanceView) -> Vec<Option<String>> {
        let told = tracker.step(&[view]).into_iter();
        told.map(|told| told.line.map(|line| line.trim().to_owned())).collect()
    }

    #[test]
    fn a_switch_is_told_once() {
        let release = release(7);
        let mut tracker = Tracker::new("hello", &release);
        let switched = at("2026-11-22T10:00:00.210Z");
        for standing in [Standing::Behind, Standing::Underway(Phase::Starting)] {
            assert_eq!(lines(&mut tracker, view("hello-1", standing.clone())), [None]);
            assert_eq!(lines(&mut tracker, view("hello-1", standing)), []);
        }
        assert_eq!(
            lines(&mut tracker, view("hello-1", Standing::Settling { switched, note: None })),
            [Some("hello-1  switched to v7 after 0.210 s".into())]
        );
        let done = view("hello-1", Standing::Done { switched, note: None });
        assert_eq!(lines(&mut tracker, done.clone()), [None]);
        assert_eq!(done.event(&release).seconds, Some(0.21));
    }

    #[test]
    fn a_switch_that_was_not_seen_settling_is_told_with_its_note() {
        let release = release(7);
        let mut tracker = Tracker::new("hello", &release);
        let switched = at("2026-11-22T10:00:01.5Z");
        let note = Some("stopped the old version first".into());
        assert_eq!(
            lines(&mut tracker, view("hello-1", Standing::Done { switched, note })),
            [Some("hello-1  switched to v7 after 1.5 s; stopped the old version first".into())]
        );
    }

    #[test]
    fn a_dead_agent_is_named_and_its_switch_told_when_it_lives_again() {
        let release = release(7);
        let mut tracker = Tracker::new("hello", &release);
        let switched = at("2026-11-22T10:00:00.210Z");
        let mut dead = view("hello-1", Standing::Settling { switched, note: None });
        dead.down = true;
        assert_eq!(
            lines(&mut tracker, dead.clone()),
            [Some("hello-1  its agent does not run; `engr hello sync` starts it".into())]
        );
        dead.down = false;
        assert_eq!(
            lines(&mut tracker, dead),
            [Some("hello-1  switched to v7 after 0.210 s".into())]
        );
    }

    #[test]
    fn a_failure_says_how_far_it_came_and_how_it_ended() {
        assert_eq!(
            failed(&failure(Stage::Ready)),
            "failed to become ready: it ended (exit code 3)"
        );
        let said = Failure { message: "exited with code 3".into(), ..failure(Stage::Fetch) };
        assert_eq!(failed(&said), "failed to fetch: exited with code 3");
        let killed = Failure { exit_code: None, signal: Some(9), ..failure(Stage::Settle) };
        assert_eq!(failed(&killed), "failed soon after it was ready: it ended (signal 9, SIGKILL)");
    }
}
