//! Load on a fleet.

use std::fmt;
use std::net::SocketAddr;

use super::{Fleet, until};
use crate::load::{Load, Plan, Tally};

/// How many clients each kind of load has.
pub const CLIENTS: usize = 6;

/// Load of both kinds.
#[derive(Debug)]
pub struct Loads {
    new: Load,
    kept: Load,
}

impl fmt::Display for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (new, kept) = (self.new.tally(), self.kept.tally());
        write!(f, "new connections\n{new}\n\nkept connections\n{kept}")
    }
}

impl Loads {
    pub(super) fn start(address: SocketAddr) -> Self {
        let plan = Plan { clients: CLIENTS, ..Plan::new(address) };
        let start = |plan| Load::start(plan).expect("the load starts");
        Self { new: start(plan.clone()), kept: start(plan.keep_alive()) }
    }

    /// Waits until both have some more answers.
    ///
    /// # Panics
    /// When they do not come.
    pub fn go_on(&self) {
        for load in [&self.new, &self.kept] {
            let enough = load.tally().answered + 10;
            until("more answers", || (load.tally().answered >= enough).then_some(()));
        }
    }

    /// How many requests have failed so far.
    pub fn failed(&self) -> u64 {
        self.new.tally().failed() + self.kept.tally().failed()
    }

    /// Ends the load, and gives what was counted.
    pub fn stop(self) -> [(&'static str, Tally); 2] {
        [("new connections", self.new.stop()), ("kept connections", self.kept.stop())]
    }

    /// Ends the load, and fails the test if any request failed.
    #[track_caller]
    pub fn assert_none_failed(self, fleet: &Fleet) {
        for (name, tally) in self.stop() {
            println!("{name}\n{tally}\n");
            assert_eq!(tally.failed(), 0, "{name}\n{tally}\n{}", fleet.story());
        }
    }
}
