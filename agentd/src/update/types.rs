//! What goes into the update core and what comes out.

use std::time::Duration;

use deploy::desired_agent::{AgentBinary, DesiredAgent};
use deploy::id::Id;
use deploy::report::{AgentUpdate, Report};
use deploy::{Digest, Timestamp};

/// A binary on trial must have proved itself by then, or the launcher goes back to the one before.
pub const TRIAL_MAX: Duration = Duration::from_secs(60);

/// Nobody goes who has not said so within this: others take an older word for a dead one's.
pub const OWN_WORD_MAX: Duration = Duration::from_secs(15);

/// The time, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since this agent's start; it never jumps.
    pub since_start: Duration,
    /// What the wall clock says: for people alone.
    pub clock: Timestamp,
}

/// What an agent knows of itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The instance's name.
    pub instance: String,
    /// Its architecture, see [`deploy::desired_agent::OWN_ARCH`].
    pub arch: String,
    /// The binary that runs.
    pub running: AgentBinary,
    /// The binary that the instance was made with: the launcher's own.
    pub installed: AgentBinary,
}

/// The launcher has gone back from a binary that was on trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FellBack {
    /// From which.
    pub digest: Digest,
    /// Why, for people.
    pub reason: String,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A state of the bucket names this agent, or none.
    Seen(Option<DesiredAgent>),
    /// The binary lies on the disk, verified.
    Fetched(Digest),
    /// It cannot be brought, for this reason; all tries are used up.
    FetchFailed(Digest, String),
    /// Run once, it said that it can run here.
    Checked(Digest),
    /// It did not, for this reason.
    CheckFailed(Digest, String),
    /// Whether no switch is under way, and none is to begin before the next event of this kind.
    Quiet(bool),
    /// The listing of this number: all instances' reports, this one's too.
    Listed(u32, Vec<Neighbour>),
    /// It failed; it is tried again by itself.
    ListFailed(u32),
    /// A report that says this is in the bucket.
    Written(Option<AgentUpdate>),
    /// The agent has its instance, and holds whatever ran of its app.
    Up,
    /// [`Action::Exec`] could not be carried out, for this reason.
    ExecFailed(String),
    /// Time has passed.
    Tick,
}

/// Another instance, as its report has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// When it wrote, by its own clock: only whether that changes is looked at.
    pub written: Timestamp,
    /// Its agent can update itself. Others are passed over.
    pub is_able: bool,
    /// How far it is.
    pub update: Option<AgentUpdate>,
    /// The wishes whose binary did not do there, though it may go by a later one now.
    pub bad: Vec<Id>,
}

impl Neighbour {
    /// The instance that wrote `report`.
    pub fn of(report: &Report) -> Self {
        Self {
            name: report.instance.clone(),
            written: report.written,
            is_able: report.agent.digest.is_some(),
            update: report.agent.update.clone(),
            bad: report.agent.bad.iter().map(|bad| bad.update.clone()).collect(),
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Bring the binary onto the disk, or verify it there: [`Event::Fetched`] or
    /// [`Event::FetchFailed`].
    Fetch(AgentBinary),
    /// Run it once: [`Event::Checked`] or [`Event::CheckFailed`].
    Check(AgentBinary),
    /// List the instances' reports: [`Event::Listed`] or [`Event::ListFailed`] of this number.
    List(u32),
    /// Tell the launcher that this binary is on trial, and execute it in this process's place.
    Exec(AgentBinary),
    /// Tell the launcher that this binary is good: from now on it is the one to go back to. It may
    /// be told so again.
    SayGood(Digest),
    /// Remove binaries from the disk, but for these and the newest few.
    Prune(Vec<Digest>),
}
