//! An agent's way through the fleet, judged by what the instances report. Pure.

use crate::desired_agent::DesiredAgent;
use crate::report::{BadAgent, Report, UpdatePhase};

/// How far one instance is with one [`DesiredAgent`].
#[derive(Clone, Debug, PartialEq)]
pub enum AgentStanding {
    /// It has never reported.
    Silent,
    /// Its agent is of a version that cannot update itself.
    Unable {
        /// That version.
        version: String,
    },
    /// It has not seen the wish yet.
    Behind,
    /// It is on its way.
    Underway(UpdatePhase),
    /// The wanted agent runs.
    Good,
    /// It did not do here, for this reason if the instance says one, and the one before runs on.
    Bad(Option<BadAgent>),
    /// It did not do on the instances that went first, and is not tried here.
    Halted,
}

impl AgentStanding {
    /// Where the instance of `report` stands with `wanted`.
    pub fn of(wanted: &DesiredAgent, report: Option<&Report>) -> Self {
        let Some(report) = report else { return Self::Silent };
        let agent = &report.agent;
        if agent.digest.is_none() {
            return Self::Unable { version: agent.version.clone() };
        }
        let Some(update) = agent.update.as_ref().filter(|update| update.id == wanted.id) else {
            return Self::Behind;
        };
        // A mark of an earlier wish counts where this one has it for its binary.
        let digests = || wanted.binaries.values().map(|binary| binary.digest);
        let of_this = |bad: &&BadAgent| bad.update == wanted.id;
        let of_its_binary = |bad: &&BadAgent| digests().any(|digest| digest == bad.digest);
        let bad = agent.bad.iter().rev();
        match update.phase {
            UpdatePhase::Good => Self::Good,
            UpdatePhase::Halted => Self::Halted,
            UpdatePhase::Bad => {
                let found = bad.clone().find(of_this).or_else(|| bad.clone().find(of_its_binary));
                Self::Bad(found.cloned())
            }
            phase => Self::Underway(phase),
        }
    }

    /// Whether nothing more will come of it.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Unable { .. } | Self::Good | Self::Bad(_) | Self::Halted => true,
            Self::Silent | Self::Behind | Self::Underway(_) => false,
        }
    }
}

/// What can be said of an agent over all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentVerdict {
    /// Some instances have not ended.
    Underway,
    /// All instances run it.
    Done,
    /// None does: each runs the one before.
    Failed,
    /// Some do.
    Mixed,
    /// There is no instance to run it.
    NoInstances,
}

/// The verdict over a fleet. None is never success.
pub fn agent_verdict<'a>(standings: impl IntoIterator<Item = &'a AgentStanding>) -> AgentVerdict {
    let (mut all, mut good, mut ended) = (0, 0, 0);
    for standing in standings {
        all += 1;
        ended += usize::from(standing.has_ended());
        good += usize::from(*standing == AgentStanding::Good);
    }
    match (all, good) {
        (0, _) => AgentVerdict::NoInstances,
        _ if ended < all => AgentVerdict::Underway,
        _ if good == all => AgentVerdict::Done,
        (_, 0) => AgentVerdict::Failed,
        _ => AgentVerdict::Mixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;
    use crate::desired_agent::AgentBinary;
    use crate::fixtures::{at, report, wish};
    use crate::id::Id;
    use crate::report::{AgentStage, AgentUpdate, Phase};
    use crate::state::State;

    fn wanted() -> DesiredAgent {
        let binary = AgentBinary { digest: Digest::of(b"2"), size: 1, version: "0.2.0".into() };
        State::new("app").agent_set("amd64", binary, wish("w"), at(0)).unwrap().agent.unwrap()
    }

    fn with(update: Option<(&str, UpdatePhase)>, bad: Option<(&str, &[u8])>) -> AgentStanding {
        let mut report = report(None, Phase::Serving, Vec::new());
        report.agent.digest = Some(Digest::of(b"1"));
        report.agent.update =
            update.map(|(id, phase)| AgentUpdate { id: Id::fixed(id), phase, word: 0 });
        report.agent.bad.extend(bad.map(|(update, digest)| BadAgent {
            digest: Digest::of(digest),
            version: "0.2.0".into(),
            update: Id::fixed(update),
            at: at(1),
            stage: AgentStage::Trial,
            reason: "it crashed".into(),
        }));
        AgentStanding::of(&wanted(), Some(&report))
    }

    #[test]
    fn an_instance_stands_where_it_says() {
        use UpdatePhase::{Bad, Good, Halted, Trial};
        assert_eq!(AgentStanding::of(&wanted(), None), AgentStanding::Silent);
        let old = report(None, Phase::Serving, Vec::new());
        let unable = AgentStanding::Unable { version: "0.1.0".into() };
        assert_eq!(AgentStanding::of(&wanted(), Some(&old)), unable);
        assert_eq!(with(None, None), AgentStanding::Behind);
        assert_eq!(with(Some(("earlier", Good)), None), AgentStanding::Behind);
        assert_eq!(with(Some(("w", Trial)), None), AgentStanding::Underway(Trial));
        assert_eq!(with(Some(("w", Good)), None), AgentStanding::Good);
        assert_eq!(with(Some(("w", Halted)), None), AgentStanding::Halted);
        for mark in [("w", &b"other"[..]), ("earlier", b"2")] {
            assert!(
                matches!(with(Some(("w", Bad)), Some(mark)), AgentStanding::Bad(Some(_))),
                "{mark:?}"
            );
        }
    }

    #[test]
    fn a_word_of_a_newer_agent_is_no_damage() {
        let mut old = report(None, Phase::Serving, Vec::new());
        old.agent.update =
            Some(AgentUpdate { id: Id::fixed("w"), phase: UpdatePhase::Good, word: 0 });
        let text = String::from_utf8(old.to_object()).unwrap();
        let read = Report::from_object(text.replace("\"good\"", "\"rehearsing\"").as_bytes());
        assert_eq!(read.unwrap().agent.update.unwrap().phase, UpdatePhase::Unknown);
    }

    #[test]
    fn the_fleet_is_done_when_each_runs_it() {
        let good = || with(Some(("w", UpdatePhase::Good)), None);
        let halted = || with(Some(("w", UpdatePhase::Halted)), None);
        let behind = || with(None, None);
        assert_eq!(agent_verdict(&[]), AgentVerdict::NoInstances);
        assert_eq!(agent_verdict(&[good(), good()]), AgentVerdict::Done);
        assert_eq!(agent_verdict(&[good(), behind()]), AgentVerdict::Underway);
        assert_eq!(agent_verdict(&[halted(), behind()]), AgentVerdict::Underway);
        assert_eq!(agent_verdict(&[halted(), halted()]), AgentVerdict::Failed);
        assert_eq!(agent_verdict(&[halted(), good()]), AgentVerdict::Mixed);
    }
}
