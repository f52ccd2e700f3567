//! What `--json` prints: one of these objects a line, told apart by `type`.
//!
//! Stable: fields are added, never renamed or taken away, and readers pass over what they do not
//! know. Times are RFC 3339, lengths of time are seconds, digests are 64 hex digits. A field that
//! does not apply is left out.
//!
//! | `type` | when | fields |
//! | --- | --- | --- |
//! | `phase` | a phase has ended | `phase` (`claim`, `build`, `archive`, `fleet`, `upload`, `publish`, `rollout`), `detail`, `seconds` |
//! | `waiting` | another's claim or a lock is waited for (`--wait-lock`) | `what` (`claim`, `lock`), `by`, `since`, `expires`, and of a lock `message` |
//! | `warning` | something is amiss, and the command goes on | `message` |
//! | `change` | something that `--plan`, `rollback`, `env:set` or the like changes | `what` (`artifact`, `environment`, `settings`, `instances`), `change` (`added`, `changed`, `removed`), `name`, and, but for variables, `from` and `to` |
//! | `published` | the release is current from now on | `release`, `published`, `artifact` |
//! | `agent` | the fleet is to run another agent from now on | `agent`, as `state.json` has it: `id`, `by`, `at`, `message`, `rollback`, `retry`, `binaries` (by architecture: `digest`, `size`, `version`) |
//! | `agent-instance` | an instance's way to that agent has come to another phase | `name`, `phase`, `seconds` (since it was named), `version` (of the agent that runs), `reason` |
//! | `prune` | what `prune` removes, before it does | `keeps`, `from`, `states`, `artifacts`, `environments`, `agents`, `bytes` |
//! | `instance` | an instance's phase has changed | `name`, `release`, `phase`, `seconds` (since the publish), `switched`, `note`, `failure` |
//! | `rollout` | the release has come to another stage of its way through the fleet | `release`, `stage` (`canary`, `rolling`, `watching`, `done`, `halted`, `reverted`, `unknown`), `conductor`, `instances` (how many there are), `may_switch` (how many of them), `switched` (how many serve it), `paused_by`, `halt` |
//! | `before` | before a publish: the release before was taken back, or halted | `release`, `stage` (`reverted`, `halted`), `message`, `halt` |
//! | `result` | always last, exactly one | [`ResultEvent`] |
//!
//! An instance's `phase` here is its way to the release: `down` (its agent does not run), `silent`
//! (it has not reported), `behind` (it has not seen the release), `fetching`, `starting`,
//! `waiting` (it has the release on its disk, and waits for its turn), `proving`, `settling` (it has
//! switched, and keeps the old version in reserve), `done`, `unwell` (it has switched, and is not well),
//! `stale` (it has not reported for too long), `failed`, `reverted` (the release was taken back, and
//! what was before it serves) or `superseded`. A `failure` has `release`, `at`, `stage`, `message`,
//! `exit-code`, `signal` and `last-lines`. A `halt` has `at`, `message`, `instance` (the first that
//! failed), its `failure`, and `by` (who has called it off).
//!
//! An agent's `phase` is `down`, `silent`, `behind`, `unable` (its agent cannot update itself),
//! `fetching`, `checking`, `waiting` (for its turn), `going`, `trial`, `good`, `bad` or `halted` (it was
//! bad where it was tried first).
//!
//! A `result` has `outcome` and `exit_code`: `done` 0, `detached` 0, `staged` 0, `unchanged` 0,
//! `built` 0, `ordered` 0, `changes` 3, `failed` (any code of its own, 20 for a release that failed),
//! `reverted` 20 (21 where an instance has not said that it is back), `mixed` 21, `halted` 21,
//! `no-instances` 20, `timeout` 22, `superseded` 11, `interrupted` 130.

use deploy::desired_agent::DesiredAgent;
use deploy::report::Failure;
use deploy::rollout::{Halt, Plan};
use deploy::{Digest, Timestamp};
use serde::Serialize;

use crate::failure::Exit;

/// One line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// A phase has ended.
    Phase {
        /// Which.
        phase: &'a str,
        /// What came of it.
        detail: String,
        /// How long it took.
        seconds: f64,
    },
    /// Another's claim, or a lock, is waited for.
    Waiting {
        /// `claim` or `lock`.
        what: &'static str,
        /// Whose.
        by: &'a str,
        /// Since when it is held.
        since: Timestamp,
        /// When it ends: a claim if it is not renewed, a lock if it has an end.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
        /// Why the app is locked.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
    },
    /// Something is amiss, and the command goes on.
    Warning {
        /// What.
        message: String,
    },
    /// Something is to change.
    Change(&'a ChangeEvent),
    /// The release is current from now on.
    Published {
        /// Its number.
        release: u64,
        /// When.
        published: Timestamp,
        /// What runs.
        artifact: Digest,
    },
    /// The fleet is to run another agent from now on.
    Agent {
        /// Which.
        agent: &'a DesiredAgent,
    },
    /// An instance's way to it has come to another phase.
    AgentInstance(&'a AgentInstanceEvent),
    /// What `prune` removes, before it does.
    Prune {
        /// How many releases are kept.
        keeps: usize,
        /// Their lowest number; 0: all are kept.
        from: u64,
        /// How many states go.
        states: usize,
        /// How many artifacts go.
        artifacts: usize,
        /// How many environments go.
        environments: usize,
        /// How many agents go.
        agents: usize,
        /// How large all of it is.
        bytes: u64,
    },
    /// An instance's phase has changed.
    Instance(&'a InstanceEvent),
    /// What had become of the release before the one that is about to be published.
    Before {
        /// Its number.
        release: u64,
        /// `reverted` or `halted`.
        stage: &'static str,
        /// What happened, for people.
        message: String,
        /// Where and why.
        #[serde(skip_serializing_if = "Option::is_none")]
        halt: Option<&'a Halt>,
    },
    /// The rollout has come to another stage.
    Rollout(&'a RolloutEvent),
    /// The end.
    Result(&'a ResultEvent),
}

/// One thing that is to change. Values of variables are never in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeEvent {
    /// `artifact`, `environment`, `settings` or `instances`.
    pub what: &'static str,
    /// How.
    pub change: Change,
    /// Which variable, setting or instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// How a thing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is another.
    Changed,
    /// It goes.
    Removed,
}

/// How far an instance is with a release.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceEvent {
    /// Its name.
    pub name: String,
    /// The release that is rolled out.
    pub release: u64,
    /// See the module's table.
    pub phase: &'static str,
    /// From the publish to the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// When it switched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched: Option<Timestamp>,
    /// What its agent says about how it switched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why the release does not run there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How far a release is on its way through the fleet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RolloutEvent {
    /// Its number.
    pub release: u64,
    /// See the module's table.
    pub stage: &'static str,
    /// The instance that conducts.
    pub conductor: String,
    /// How many instances there are.
    pub instances: usize,
    /// How many of them may switch.
    pub may_switch: usize,
    /// How many serve it.
    pub switched: usize,
    /// Whose order holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// Why it goes no further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
}

/// How far an instance is with an agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentInstanceEvent {
    /// Its name.
    pub name: String,
    /// See the module.
    pub phase: &'static str,
    /// From the naming until this was seen.
    pub seconds: f64,
    /// Of the agent that runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why the wanted one does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How the command ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ResultEvent {
    /// In one word.
    pub outcome: Outcome,
    /// The process's exit code.
    pub exit_code: u8,
    /// The release that was published, or that a plan compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// What it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Digest>,
    /// Where the app is reached: the first of `addresses`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where the app is reached, one for each port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// How long the whole command took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// From the publish to the moment when the last instance steered new connections to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_to_last_switch_seconds: Option<f64>,
    /// Where each instance stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceEvent>,
    /// The agent that was named, or that a plan would name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<DesiredAgent>,
    /// Where each instance stands with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentInstanceEvent>,
    /// How a plan's release would go through the fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Plan>,
    /// How far the fleet said last that the release is; see `rollout`'s events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
    /// Why the rollout went no further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
    /// The newer release that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<u64>,
    /// The command that goes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// The archive that `--build-only` made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// A command's end in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The release serves on every instance.
    Done,
    /// It is published, and its rollout is not followed.
    Detached,
    /// The change waits for the next deploy.
    Staged,
    /// There was nothing to change.
    Unchanged,
    /// The archive is made, and nothing was published.
    Built,
    /// A plan found changes.
    Changes,
    /// The command failed, or the release did, on every instance.
    #[default]
    Failed,
    /// The release serves on some instances and failed on others.
    Mixed,
    /// It has failed, and was taken back everywhere.
    Reverted,
    /// Its rollout goes no further, and where it has switched it stays.
    Halted,
    /// What was ordered of a rollout is written down; the fleet carries it out.
    Ordered,
    /// There is no instance to run the release.
    NoInstances,
    /// The wait timed out; the rollout goes on.
    Timeout,
    /// A newer release took its place.
    Superseded,
    /// The command was interrupted.
    Interrupted,
}

impl Outcome {
    /// The word for a command that failed with `exit` before there was a release to follow.
    pub fn of_failure(exit: Exit) -> Self {
        match exit {
            Exit::Interrupted => Self::Interrupted,
            Exit::TimedOut => Self::Timeout,
            _ => Self::Failed,
        }
    }
}
