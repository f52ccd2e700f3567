//! `engr <app> releases`: the history.
//!
//! `--all` lists every step that was taken, in the same columns: a release's row is the step that
//! published it.

mod steps;

use deploy::Timestamp;
use deploy::history::{History, What};
use deploy::release::{Kind, Release};
use deploy::rollout::{Fate, Halt, Progress, Stage, fate};
use serde::Serialize;

use crate::cli::ReleasesArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit};
use crate::output::{Output, Table, when};
use crate::rollout::{read_progress, what_became};
use deploy::reports::Reports;

/// Prints the releases, the newest first.
pub async fn run(app: &AppContext, args: ReleasesArgs) -> CommandResult {
    let (output, now) = (Output::new(args.json), Timestamp::now());
    let known = Known::read(app).await?;
    let shown = args.n.unwrap_or(usize::MAX);
    if args.json {
        let releases = known.newest_first().take(shown).map(|(r, fate)| known.line(r, fate));
        let steps = args.all.then(|| steps::lines(&known.history, now, shown));
        output.event(&Releases {
            app: &app.name,
            releases: releases.collect(),
            steps,
            damaged: known.damaged(),
        });
        return Ok(Exit::Done);
    }
    for generation in &known.history.damaged {
        output.warn(format_args!(
            "generation {generation} of state.json is damaged; its release may be missing here"
        ));
    }
    let nothing = match args.all {
        true => known.history.steps.is_empty(),
        false => known.history.releases.is_empty(),
    };
    if nothing {
        output.line(format_args!("{} has no release yet: `engr {} deploy`", app.name, app.name));
    } else {
        output.line(table(&known, args.all, shown, now));
        if let Some(story) = known.story(&app.name) {
            output.line(format_args!("\n{story}"));
        }
    }
    Ok(Exit::Done)
}

/// The history, and how each release fared on today's instances.
pub(super) struct Known {
    /// The history.
    pub(super) history: History,
    fates: Vec<Fate>,
    /// What the fleet says of the release that was conducted last.
    progress: Option<Progress>,
}

impl Known {
    /// Reads the history and the reports.
    pub(super) async fn read(app: &AppContext) -> CommandResult<Self> {
        let (store, fleet) = (app.store()?, app.fleet()?);
        let history = History::read(&*store).await?;
        let mut reports = Reports::default();
        reports.refresh(&*store).await?;
        let instances = fleet.instances().await?;
        let reports: Vec<_> = instances.iter().filter_map(|one| reports.get(&one.name)).collect();
        let current = history.releases.last().map_or(0, |release| release.number);
        let fates = history.releases.iter();
        let fates = fates.map(|r| fate(r.number, current, reports.iter().copied())).collect();
        let progress = read_progress(&*store).await?;
        Ok(Self { history, fates, progress })
    }

    /// Each release and how it fared.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = (&Release, Fate)> {
        self.history.releases.iter().zip(self.fates.iter().copied()).rev()
    }

    /// The current one.
    pub(super) fn current(&self) -> Option<&Release> {
        self.history.releases.last()
    }

    /// What the fleet says of `release`, if that is not its end yet.
    fn progress(&self, release: &Release) -> Option<&Progress> {
        self.progress.as_ref().filter(|progress| progress.release == release.id)
    }

    /// How `release` fared, in a word. Instances know of themselves alone, and not that the fleet
    /// goes no further.
    fn outcome(&self, release: &Release, fate: Fate) -> &'static str {
        match self.progress(release).map(|progress| progress.stage) {
            Some(stage @ (Stage::Halted | Stage::Reverting | Stage::Reverted)) => stage.word(),
            _ => fate.word(),
        }
    }

    /// Where and why the release that was conducted last went no further.
    fn story(&self, app: &str) -> Option<String> {
        let progress = self.progress.as_ref()?;
        let is_it = |release: &&Release| release.id == progress.release;
        let release = self.history.releases.iter().rev().find(is_it)?;
        let is_current = self.current().is_some_and(|current| current.id == release.id);
        let base = self.history.newest().filter(|_| is_current).and_then(|it| it.base.as_ref());
        what_became(app, release, progress, base.map(|base| base.release.number))
    }

    fn damaged(&self) -> Vec<u64> {
        self.history.damaged.iter().map(|generation| generation.0).collect()
    }

    fn line<'a>(&self, release: &'a Release, fate: Fate) -> ReleaseLine<'a> {
        ReleaseLine {
            release: release.number,
            current: self.current().is_some_and(|current| current.id == release.id),
            published: release.published,
            by: &release.by,
            kind: match &release.kind {
                Kind::Deploy => "deploy",
                Kind::Env(_) => "env",
                Kind::Config(_) => "config",
                Kind::Restart => "restart",
                Kind::Rollback(_) => "rollback",
            },
            what: release.kind.to_string(),
            commit: release.source.as_ref().map(|source| source.commit.as_str()),
            dirty: release.source.as_ref().map(|source| source.dirty),
            message: release.message.as_deref(),
            artifact: release.artifact.digest,
            outcome: match self.outcome(release, fate) {
                "under way" => "underway",
                "-" => "unknown",
                word => word,
            },
            halt: self.progress(release).and_then(|progress| progress.halt.clone()),
        }
    }
}

/// `releases --json`.
#[derive(Debug, Serialize)]
struct Releases<'a> {
    app: &'a str,
    /// Newest first.
    releases: Vec<ReleaseLine<'a>>,
    /// With `--all`: newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<steps::StepLine<'a>>>,
    /// Generations of `state.json` that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct ReleaseLine<'a> {
    release: u64,
    current: bool,
    published: Timestamp,
    by: &'a str,
    kind: &'static str,
    what: String,
    commit: Option<&'a str>,
    dirty: Option<bool>,
    message: Option<&'a str>,
    artifact: deploy::Digest,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    halt: Option<Halt>,
}

fn table(known: &Known, all: bool, shown: usize, now: Timestamp) -> Table {
    let columns =
        ["", "release", "when", "who", "what", "commit", "artifact", "outcome", "message"];
    let mut table = Table::new(columns);
    if !all {
        known.newest_first().take(shown).for_each(|one| table.row(release_row(known, one, now)));
        return table;
    }
    // Two releases can have one number, but their order is that of their steps.
    let mut releases = known.newest_first();
    for step in steps::newest_first(&known.history, now).take(shown) {
        let release = match step.what {
            What::Published { .. } => releases.next(),
            _ => None,
        };
        table.row(match release {
            Some(release) => release_row(known, release, now),
            None => steps::row(&step, now),
        });
    }
    table
}

fn release_row(known: &Known, (release, fate): (&Release, Fate), now: Timestamp) -> [String; 9] {
    let current = known.current().is_some_and(|current| current.id == release.id);
    [
        if current { "*" } else { "" }.to_owned(),
        format!("v{}", release.number),
        when::clock(release.published, now),
        release.by.clone(),
        release.kind.to_string(),
        commit(release),
        release.artifact.digest.short(),
        known.outcome(release, fate).to_owned(),
        first_line(release.message.as_deref().unwrap_or("")),
    ]
}

/// Ten digits of the commit, with a mark where the work tree had more than it.
fn commit(release: &Release) -> String {
    release.source.as_ref().map_or_else(
        || "-".to_owned(),
        |source| {
            let mark = if source.dirty { "+dirty" } else { "" };
            let digits: String = source.commit.chars().take(10).collect();
            digits + mark
        },
    )
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or("").to_owned()
}
