//! A release: one numbered value of the app's desired state.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::rollout::Plan;
use crate::settings::Settings;
use crate::{Digest, environment};

/// One release. Never changed once published; [`crate::publish`] only ever appends the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Release {
    /// 1, 2, 3 …
    pub number: u64,
    /// Tells two releases apart even where a damaged bucket gave them the same number.
    pub id: Id,
    /// When it was published, by the publisher's clock.
    pub published: Timestamp,
    /// Who published it, `user@host`.
    pub by: String,
    /// What made it.
    pub kind: Kind,
    /// What the publisher says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The source that the artifact was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What runs.
    pub artifact: Artifact,
    /// The environment that it runs with. None is the empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Digest>,
    /// How it runs.
    pub settings: Settings,
    /// How it is to go through the fleet. None: an older `engr` has published it, and all instances
    /// take it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Plan>,
}

/// What made a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A new artifact.
    Deploy,
    /// Changed variables; their names.
    Env(Vec<String>),
    /// Changed settings; their keys.
    Config(Vec<String>),
    /// The same again, so that every instance starts it anew.
    Restart,
    /// The content of that earlier release.
    Rollback(u64),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deploy => f.write_str("deploy"),
            Self::Env(names) => write!(f, "env {}", names.join(" ")),
            Self::Config(keys) => write!(f, "config {}", keys.join(" ")),
            Self::Restart => f.write_str("restart"),
            Self::Rollback(number) => write!(f, "rollback of v{number}"),
        }
    }
}

/// Where an artifact's source stood in version control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Source {
    /// The git commit, in full.
    pub commit: String,
    /// The work tree had changes that were not committed.
    #[serde(default)]
    pub dirty: bool,
}

/// An artifact in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Artifact {
    /// The SHA-256 of the archive as it lies in the bucket.
    pub digest: Digest,
    /// Its size there, in bytes.
    pub size: u64,
}

/// A release as its publisher wants it: all but what the publish itself decides.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The release's id, see [`Release::id`].
    pub id: Id,
    /// Who publishes.
    pub by: String,
    /// What makes it.
    pub kind: Kind,
    /// What the publisher says of it.
    pub message: Option<String>,
    /// The source that the artifact was built from.
    pub source: Option<Source>,
    /// What is to run.
    pub artifact: Artifact,
    /// The environment to run with.
    pub environment: Option<Digest>,
    /// How it is to run.
    pub settings: Settings,
    /// How it is to go through the fleet.
    pub rollout: Plan,
}

impl Draft {
    /// The content of `release` again, as `kind`.
    pub fn again(release: &Release, by: String, kind: Kind, message: Option<String>) -> Self {
        Self {
            id: Id::random(),
            by,
            kind,
            message,
            source: release.source.clone(),
            artifact: release.artifact,
            environment: release.environment,
            settings: release.settings.clone(),
            rollout: release
                .rollout
                .clone()
                .map_or_else(Plan::default, |plan| Plan { now: false, ..plan }),
        }
    }
}

impl Release {
    /// The bucket's objects that an instance needs to run this release.
    pub fn objects(&self) -> Vec<String> {
        let artifact = crate::layout::artifact(&self.artifact.digest);
        let environment = self.environment.as_ref().map(crate::layout::environment);
        std::iter::once(artifact).chain(environment).collect()
    }
}

/// Whether `name` can be an app's: it becomes part of a bucket's name, of host names and folders.
pub fn is_valid_app_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `name` can be a variable's and is not one that Engineer sets by itself.
pub fn is_settable_variable(name: &str) -> bool {
    environment::is_valid_name(name) && !is_reserved_variable(name)
}

/// `ENGR_*`, the socket and readiness protocols' names, and `PORT`.
pub fn is_reserved_variable(name: &str) -> bool {
    name.starts_with("ENGR_")
        || matches!(name, "PORT" | "NOTIFY_SOCKET" | "LISTEN_FDS" | "LISTEN_PID" | "LISTEN_FDNAMES")
}
