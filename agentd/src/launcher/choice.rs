//! Which agent to start: the one that an update brought, while it is on trial and after it was good,
//! or the launcher's own program.
//!
//! An agent on trial that does not say that it is good within [`TRIAL_MAX`], or dies
//! [`CRASHES_MAX`] times before it does, is bad: the one before it is started again, and this one
//! never more. The choice lies in a file, so that a machine that starts anew in the middle of a
//! trial goes on with it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use deploy::agent_config::InstanceDir;
use deploy::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::memory::write_whole;

/// How long an agent on trial may take until it says that it is good.
pub const TRIAL_MAX: Duration = Duration::from_secs(60);

/// How often it may die until then.
pub const CRASHES_MAX: u32 = 3;

/// How many bad agents are remembered.
const BAD_MAX: usize = 50;

/// The file's content. Only the launcher writes it; the agent reads it at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Chosen {
    /// The last agent that was good. None: the launcher's own program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<Digest>,
    /// The agent that is tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<Digest>,
    /// Those that were not good, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<Bad>,
}

/// An agent that was not good here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bad {
    /// Which.
    pub digest: Digest,
    /// Since when.
    pub at: Timestamp,
    /// What it did.
    pub reason: String,
}

impl Chosen {
    /// Reads the [file](InstanceDir::choice); nothing was chosen where there is none.
    ///
    /// # Errors
    /// When it cannot be read. What is damaged is said and taken for nothing: then the launcher's own
    /// program is the agent.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let data = match std::fs::read(file) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        Ok(serde_json::from_slice(&data).unwrap_or_else(|error| {
            eprintln!("agentd: {} is damaged and not used: {error}", file.display());
            Self::default()
        }))
    }

    /// Why this agent is bad, if it is.
    pub fn bad(&self, digest: &Digest) -> Option<&Bad> {
        self.bad.iter().rev().find(|bad| bad.digest == *digest)
    }
}

/// What is chosen, and how the trial goes.
#[derive(Debug)]
pub(super) struct Choice {
    chosen: Chosen,
    file: PathBuf,
    agents: PathBuf,
    /// When the agent on trial must have said that it is good: set at its first start in this
    /// launcher's life.
    overdue_at: Option<Instant>,
    crashes: u32,
}

impl Choice {
    pub(super) fn load(dir: &InstanceDir) -> anyhow::Result<Self> {
        let (file, agents) = (dir.choice(), dir.agents());
        let chosen = Chosen::load(&file)?;
        Ok(Self { chosen, file, agents, overdue_at: None, crashes: 0 })
    }

    /// The program to start now. None: the launcher's own.
    pub(super) fn program(&mut self, now: Instant) -> Option<PathBuf> {
        if self.chosen.trial.is_some() {
            self.overdue_at.get_or_insert(now + TRIAL_MAX);
        }
        let digest = self.chosen.trial.or(self.chosen.good)?;
        // The launcher's own program lies elsewhere.
        Some(self.agents.join(digest.to_string())).filter(|program| program.exists())
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.chosen.trial.is_some()
    }

    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.overdue_at
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.overdue_at.is_some_and(|at| at <= now)
    }

    /// The agent is about to become this one.
    pub(super) fn try_out(&mut self, digest: Digest, now: Instant) {
        self.chosen.trial = Some(digest);
        (self.overdue_at, self.crashes) = (Some(now + TRIAL_MAX), 0);
        self.save();
    }

    /// The agent has not become it after all.
    pub(super) fn call_off(&mut self) {
        self.chosen.trial = None;
        self.overdue_at = None;
        self.save();
    }

    /// The one of this digest is good. It may be said again, and of the launcher's own program.
    pub(super) fn good(&mut self, digest: Digest) {
        let before = self.chosen.clone();
        if self.chosen.trial == Some(digest) {
            self.chosen.trial = None;
            self.overdue_at = None;
        }
        self.chosen.good = Some(digest);
        self.chosen.bad.retain(|bad| bad.digest != digest);
        if self.chosen != before {
            self.save();
        }
    }

    /// The agent has died, or was killed because it was overdue.
    pub(super) fn crashed(&mut self, now: Instant) {
        let Some(digest) = self.chosen.trial else { return };
        self.crashes += 1;
        let reason = if self.is_overdue(now) {
            format!("it did not say that it is good within {} s", TRIAL_MAX.as_secs())
        } else if self.crashes >= CRASHES_MAX {
            format!("it died {CRASHES_MAX} times before it was good")
        } else {
            return;
        };
        eprintln!("agentd: agent {} is bad: {reason}; back to the one before", digest.short());
        self.chosen.trial = None;
        self.overdue_at = None;
        self.chosen.bad.push(Bad { digest, at: Timestamp::now(), reason });
        let excess = self.chosen.bad.len().saturating_sub(BAD_MAX);
        self.chosen.bad.drain(..excess);
        self.save();
    }

    /// What cannot be written holds for this launcher's life all the same.
    fn save(&self) {
        let data = serde_json::to_vec_pretty(&self.chosen).expect("a choice serializes");
        if let Err(error) = write_whole(&self.file, &data) {
            eprintln!("agentd: the choice of agent cannot be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        dir: InstanceDir,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let dir = InstanceDir(folder.path().to_owned());
            std::fs::create_dir(dir.agents()).unwrap();
            Self { _folder: folder, dir }
        }

        fn choice(&self) -> Choice {
            Choice::load(&self.dir).unwrap()
        }

        fn path(&self, digest: Digest) -> Option<PathBuf> {
            Some(self.dir.agents().join(digest.to_string()))
        }

        fn add(&self, what: &[u8]) -> Digest {
            let digest = Digest::of(what);
            std::fs::write(self.path(digest).unwrap(), what).unwrap();
            digest
        }
    }

    #[test]
    fn one_that_is_good_is_started_from_then_on() {
        let place = Place::new();
        let now = Instant::now();
        let digest = place.add(b"new");
        let mut first = place.choice();
        assert_eq!(first.program(now), None);
        first.try_out(digest, now);
        first.crashed(now);
        first.crashed(now);
        first.good(digest);
        // A later crash is no reason to go back.
        (0..5).for_each(|_| first.crashed(now + TRIAL_MAX * 2));
        let mut second = place.choice();
        assert_eq!(second.program(now), place.path(digest));
        assert!(!second.is_on_trial() && second.overdue_at().is_none());
    }

    #[test]
    fn one_that_dies_three_times_or_says_nothing_gives_way_to_the_one_before() {
        let place = Place::new();
        let now = Instant::now();
        let (good, dies, hangs) = (place.add(b"good"), place.add(b"dies"), place.add(b"hangs"));
        let mut it = place.choice();
        it.try_out(good, now);
        it.good(good);
        it.try_out(dies, now);
        (0..CRASHES_MAX).for_each(|_| it.crashed(now));
        assert_eq!(it.program(now), place.path(good));
        it.try_out(hangs, now);
        // The machine starts anew in the middle of the trial.
        let mut it = place.choice();
        assert_eq!(it.program(now), place.path(hangs));
        assert!(!it.is_overdue(now + TRIAL_MAX / 2));
        assert!(it.is_overdue(now + TRIAL_MAX));
        it.crashed(now + TRIAL_MAX);
        assert!(!it.is_on_trial() && !it.is_overdue(now + TRIAL_MAX * 9));
        let chosen = Chosen::load(&place.dir.choice()).unwrap();
        assert_eq!(chosen.good, Some(good));
        assert!(chosen.bad(&dies).unwrap().reason.contains("died 3 times"));
        assert!(chosen.bad(&hangs).unwrap().reason.contains("within 60 s"));
    }

    #[test]
    fn a_damaged_choice_is_the_own_program() {
        let place = Place::new();
        std::fs::write(place.dir.choice(), "{\"trial\":").unwrap();
        assert_eq!(place.choice().program(Instant::now()), None);
    }
}
