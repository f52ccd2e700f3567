//! What each write of `state.json` did, worked out from the two states before and after it.
//!
//! A state says who wrote it ([`Author`]); what that one did is no second record, which could
//! contradict the first, but the difference of the two. One write can do several things: a publish
//! over a dead claim ends that too.

use jiff::Timestamp;

use crate::claim::Claim;
use crate::desired_agent::DesiredAgent;
use crate::lock::Lock;
use crate::rollout::{Order, Verb};
use crate::state::{Author, State};
use crate::store::Generation;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The generation that it made.
    pub generation: Generation,
    /// Who did it; of a claim that ended by itself, whose it was. None: nobody wrote that down.
    pub by: Option<String>,
    /// When, by that one's clock.
    pub at: Option<Timestamp>,
    /// What.
    pub what: What,
}

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The app was claimed.
    Claimed {
        /// The claim as it was when it ended, or is now.
        claim: Claim,
        /// How often it was renewed, which are no steps of their own.
        renewals: u32,
    },
    /// A claim ended, and not by its holder's publish.
    ClaimEnded {
        /// The claim.
        claim: Claim,
        /// How.
        how: Ended,
    },
    /// That release was published.
    Published {
        /// Its number.
        release: u64,
    },
    /// An environment was staged for the next deploy.
    Staged,
    /// What was staged is so no longer.
    Unstaged,
    /// The fleet is to run another agent.
    AgentNamed {
        /// Which.
        agent: DesiredAgent,
    },
    /// Something was ordered of that release's rollout.
    Ordered {
        /// Its number.
        release: u64,
        /// What.
        verb: Verb,
    },
    /// A prune began.
    PruneBegun {
        /// It keeps the releases from this number on.
        from: u64,
    },
    /// A prune came to its end.
    PruneEnded,
    /// The app was locked.
    Locked {
        /// The lock.
        lock: Lock,
        /// Whether it took another's place.
        replaces: bool,
    },
    /// A lock was removed.
    Unlocked {
        /// The lock as it was.
        lock: Lock,
    },
}

/// How a claim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its holder gave it up.
    GivenUp,
    /// It was not renewed in time.
    Expired,
    /// Somebody broke it.
    Broken,
    /// Nobody wrote that down.
    Unknown,
}

/// Adds what the write of `after` did. `before` is none where that is not known, or nothing was.
pub(super) fn push(
    steps: &mut Vec<Step>,
    before: Option<&State>,
    after: &State,
    generation: Generation,
) {
    // Where older generations were erased, what was staged by then was not staged by this author.
    let mut nothing = State::new("");
    nothing.staged_environment = after.release.as_ref().and(after.staged_environment);
    let before = before.unwrap_or(&nothing);
    // The same author again is one that an older program passed on.
    let author = after.author.as_ref().filter(|author| before.author.as_ref() != Some(*author));
    let change = Change { before, after, author, generation };
    change.claim(steps);
    change.release(steps);
    change.staged(steps);
    change.lock(steps);
    change.agent(steps);
    change.order(steps);
    change.prune(steps);
}

/// One write.
struct Change<'a> {
    before: &'a State,
    after: &'a State,
    author: Option<&'a Author>,
    generation: Generation,
}

impl Change<'_> {
    fn step(&self, by: Option<&str>, at: Option<Timestamp>, what: What) -> Step {
        Step { generation: self.generation, by: by.map(str::to_owned), at, what }
    }

    fn by_author(&self, what: What) -> Step {
        let author = self.author;
        self.step(author.map(|author| author.by.as_str()), author.map(|author| author.at), what)
    }

    fn publishes(&self) -> bool {
        let id = |state: &State| state.release.as_ref().map(|release| release.id.clone());
        self.after.release.is_some() && id(self.before) != id(self.after)
    }

    fn claim(&self, steps: &mut Vec<Step>) {
        let after = self.after.claim.as_ref();
        if let Some(before) = &self.before.claim {
            if after.is_some_and(|after| after.id == before.id) {
                return self.renewed(steps);
            }
            steps.extend(self.ended(before));
        }
        if let Some(claim) = after {
            let what = What::Claimed { claim: claim.clone(), renewals: 0 };
            steps.push(self.step(Some(&claim.by), Some(claim.since), what));
        }
    }

    fn renewed(&self, steps: &mut [Step]) {
        let Some(after) = &self.after.claim else { return };
        if self.before.claim.as_ref() == Some(after) {
            return;
        }
        let is_it = |step: &&mut Step| matches!(&step.what, What::Claimed { claim, .. } if claim.id == after.id);
        if let Some(Step { what: What::Claimed { claim, renewals }, .. }) =
            steps.iter_mut().rev().find(is_it)
        {
            *claim = after.clone();
            *renewals += 1;
        }
    }

    /// How `claim`, which is gone, ended. None: by the publish that it was for.
    fn ended(&self, claim: &Claim) -> Option<Step> {
        let under = self.author.map(|author| author.under.as_ref() == Some(&claim.id));
        let how = match (self.publishes(), under, &self.after.claim) {
            (true, Some(true), _) => return None,
            (true, None, _) => {
                let release = self.after.release.as_ref();
                if release.is_some_and(|release| release.by == claim.by) {
                    return None;
                }
                Ended::Expired
            }
            (true, Some(false), _) | (false, _, Some(_)) => Ended::Expired,
            // A prune ends its own.
            (false, Some(true), None) if self.before.pruned != self.after.pruned => return None,
            (false, Some(true), None) => Ended::GivenUp,
            (false, Some(false), None) => Ended::Broken,
            (false, None, None) => Ended::Unknown,
        };
        let what = What::ClaimEnded { claim: claim.clone(), how };
        Some(match how {
            Ended::Expired => self.step(Some(&claim.by), Some(claim.expires), what),
            Ended::GivenUp | Ended::Broken | Ended::Unknown => self.by_author(what),
        })
    }

    fn release(&self, steps: &mut Vec<Step>) {
        if let Some(release) = self.after.release.as_ref().filter(|_| self.publishes()) {
            let what = What::Published { release: release.number };
            steps.push(self.step(Some(&release.by), Some(release.published), what));
        }
    }

    fn staged(&self, steps: &mut Vec<Step>) {
        // What a release takes along is no step of its own.
        if self.before.staged_environment == self.after.staged_environment || self.publishes() {
            return;
        }
        let what =
            if self.after.staged_environment.is_some() { What::Staged } else { What::Unstaged };
        steps.push(self.by_author(what));
    }

    fn prune(&self, steps: &mut Vec<Step>) {
        let Some(pruned) = self.after.pruned.as_ref().filter(|_| self.author.is_some()) else {
            return;
        };
        let before = self.before.pruned.clone().unwrap_or_default();
        if pruned.count > before.count {
            steps.push(self.by_author(What::PruneBegun { from: pruned.from }));
        } else if before.unfinished && !pruned.unfinished {
            steps.push(self.by_author(What::PruneEnded));
        }
    }

    fn agent(&self, steps: &mut Vec<Step>) {
        let before = self.before.agent.as_ref().map(|agent| &agent.id);
        if let Some(agent) = self.after.agent.as_ref().filter(|agent| before != Some(&agent.id)) {
            let what = What::AgentNamed { agent: agent.clone() };
            steps.push(self.step(Some(&agent.by), Some(agent.at), what));
        }
    }

    fn order(&self, steps: &mut Vec<Step>) {
        let before = self.before.order.as_ref().map(|order| &order.id);
        let order = self.after.order.as_ref().filter(|order| before != Some(&order.id));
        let release = self.after.release.as_ref();
        let of_it = |order: &&Order| release.is_some_and(|it| it.id == order.release);
        if let (Some(order), Some(release)) = (order.filter(of_it), release) {
            let what = What::Ordered { release: release.number, verb: order.verb };
            steps.push(self.step(Some(&order.by), Some(order.at), what));
        }
    }

    fn lock(&self, steps: &mut Vec<Step>) {
        match (&self.before.lock, &self.after.lock) {
            (before, Some(lock)) if before.as_ref() != Some(lock) => {
                let what = What::Locked { lock: lock.clone(), replaces: before.is_some() };
                steps.push(self.step(Some(&lock.by), Some(lock.since), what));
            }
            (Some(lock), None) => {
                steps.push(self.by_author(What::Unlocked { lock: lock.clone() }));
            }
            (None, None) | (_, Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Digest;
    use crate::desired_agent::AgentBinary;
    use crate::fixtures::{artifact, at, draft, wish};
    use crate::id::Id;

    /// States, one after the other, and the steps between them.
    #[derive(Default)]
    struct Told {
        state: Option<State>,
        steps: Vec<Step>,
        generation: u64,
    }

    impl Told {
        fn then(&mut self, step: impl FnOnce(State) -> State) -> &mut Self {
            let before = self.state.take();
            let after = step(before.clone().unwrap_or_else(|| State::new("app")));
            self.generation += 1;
            push(&mut self.steps, before.as_ref(), &after, Generation(self.generation));
            self.state = Some(after);
            self
        }

        fn claimed(&mut self, id: &str, now: i64) -> &mut Self {
            let claim = Claim::new(Id::fixed(id), format!("{id}@laptop"), at(now));
            self.then(|state| state.claimed(claim, at(now)).unwrap())
        }

        fn published(&mut self, id: &str, under: bool, now: i64) -> &mut Self {
            let own = Id::fixed(id);
            let draft = draft(&format!("{id}{now}"), &format!("{id}@laptop"));
            self.then(|state| state.published(draft, under.then_some(&own), None, at(now)).unwrap())
        }

        /// Each step in a line: the generation, the second, who, what.
        fn lines(&self) -> Vec<String> {
            let line = |step: &Step| {
                let at = step.at.map(|time| time.duration_since(at(0)).as_secs());
                let what = match &step.what {
                    What::Claimed { renewals, claim } => {
                        let named = if claim.artifact.is_some() { " with artifact" } else { "" };
                        format!("claimed +{renewals}{named}")
                    }
                    What::ClaimEnded { claim, how } => format!("{how:?} {}", claim.by),
                    What::Published { release } => format!("published v{release}"),
                    What::Locked { replaces: false, .. } => "locked".to_owned(),
                    What::Locked { replaces: true, .. } => "locked again".to_owned(),
                    What::Unlocked { lock } => format!("unlocked {}'s", lock.by),
                    What::AgentNamed { agent } => format!("agent {}", agent.shown()),
                    other => format!("{other:?}"),
                };
                let at = at.map_or_else(|| "?".to_owned(), |at| at.to_string());
                format!("{} {at} {} {what}", step.generation, step.by.as_deref().unwrap_or("?"))
            };
            self.steps.iter().map(line).collect()
        }
    }

    #[test]
    fn a_deploy_is_a_claim_with_its_renewals_and_a_publish() {
        let mut told = Told::default();
        told.claimed("a", 0);
        told.then(|state| state.renewed(&Id::fixed("a"), None, at(10)).unwrap());
        told.then(|state| state.renewed(&Id::fixed("a"), Some(artifact("x")), at(12)).unwrap());
        told.published("a", true, 13);
        assert_eq!(
            told.lines(),
            ["1 0 a@laptop claimed +2 with artifact", "4 13 a@laptop published v1"]
        );
    }

    #[test]
    fn what_was_ordered_of_a_rollout_is_a_step() {
        let mut told = Told::default();
        told.published("a", false, 0);
        told.then(|state| state.ordered(Verb::Pause, 1, "b@desk", at(5)).unwrap());
        // What others write meanwhile leaves it as it is.
        told.then(|state| state.unlocked("c@desk", at(6)));
        told.then(|state| state.ordered(Verb::Abort, 1, "b@desk", at(7)).unwrap());
        told.published("a", false, 9);
        assert_eq!(
            told.lines(),
            [
                "1 0 a@laptop published v1",
                "2 5 b@desk Ordered { release: 1, verb: Pause }",
                "4 7 b@desk Ordered { release: 1, verb: Abort }",
                "5 9 a@laptop published v2",
            ]
        );
    }

    #[test]
    fn the_ways_in_which_a_claim_ends() {
        let mut told = Told::default();
        told.claimed("a", 0).then(|state| state.unclaimed(&Id::fixed("a"), at(5)));
        told.claimed("b", 10).then(|state| state.unlocked("c@desk", at(15)));
        told.claimed("d", 20).claimed("e", 100).published("f", false, 200);
        assert_eq!(
            told.lines(),
            [
                "1 0 a@laptop claimed +0",
                "2 5 a@laptop GivenUp a@laptop",
                "3 10 b@laptop claimed +0",
                "4 15 c@desk Broken b@laptop",
                "5 20 d@laptop claimed +0",
                "6 50 d@laptop Expired d@laptop",
                "6 100 e@laptop claimed +0",
                "7 130 e@laptop Expired e@laptop",
                "7 200 f@laptop published v1",
            ]
        );
    }

    #[test]
    fn staging_is_a_step_and_a_write_that_changes_nothing_is_none() {
        let (mut told, staged) = (Told::default(), Digest::of(b"staged"));
        told.then(|state| state.staged(Some(staged), "a@laptop", at(1)).unwrap());
        told.then(|state| state).then(|state| state.staged(None, "b@desk", at(2)).unwrap());
        assert_eq!(told.lines(), ["1 1 a@laptop Staged", "3 2 b@desk Unstaged"]);
    }

    #[test]
    fn locks_and_what_unlock_removes() {
        let lock = |by: &str, since| Lock {
            by: by.to_owned(),
            since: at(since),
            message: "why".to_owned(),
            until: None,
        };
        let mut told = Told::default();
        told.claimed("a", 0).then(|state| state.locked(lock("b@desk", 5), at(5)));
        told.then(|state| state.locked(lock("c@desk", 6), at(6)));
        told.then(|state| state.unlocked("a@laptop", at(7)));
        told.then(|state| state.unlocked("a@laptop", at(8)));
        assert_eq!(
            told.lines(),
            [
                "1 0 a@laptop claimed +0",
                "2 5 b@desk locked",
                "3 6 c@desk locked again",
                "4 7 a@laptop Broken a@laptop",
                "4 7 a@laptop unlocked c@desk's",
            ]
        );
    }

    #[test]
    fn an_agent_that_is_named_is_a_step() {
        let binary = |version: &str| AgentBinary {
            digest: Digest::of(version.as_bytes()),
            size: 1,
            version: version.to_owned(),
        };
        let mut told = Told::default();
        told.claimed("a", 0);
        told.then(|state| state.agent_set("amd64", binary("1"), wish("b"), at(1)).unwrap());
        told.then(|state| state.agent_set("amd64", binary("2"), wish("c"), at(2)).unwrap());
        told.published("a", true, 3);
        told.then(|state| state.agent_rolled_back(BTreeMap::new(), wish("d"), at(4)).unwrap());
        assert_eq!(
            told.lines(),
            [
                "1 0 a@laptop claimed +0",
                "2 1 b agent 1 for amd64 (6b86b273ff34)",
                "3 2 c agent 2 for amd64 (d4735e3a265e)",
                "4 3 a@laptop published v1",
                "5 4 d agent what each instance was made with",
            ]
        );
    }

    /// An older program writes no author, or passes the last one on.
    #[test]
    fn what_nobody_wrote_down_is_not_made_up() {
        let mut told = Told::default();
        told.claimed("a", 0).then(|state| State { claim: None, ..state });
        told.claimed("b", 40).published("b", true, 45);
        told.then(|state| State { author: None, ..state });
        told.then(|state| State { staged_environment: Some(Digest::of(b"s")), ..state });
        assert_eq!(
            told.lines(),
            [
                "1 0 a@laptop claimed +0",
                "2 ? ? Unknown a@laptop",
                "3 40 b@laptop claimed +0",
                "4 45 b@laptop published v1",
                "6 ? ? Staged",
            ]
        );
    }
}
