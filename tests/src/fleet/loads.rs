//! Load on a fleet.

use std::fmt;
use std::net::SocketAddr;

use load::{Load, Plan, Tally};

use super::{Fleet, until};

/// How many clients all kinds of load have together. Each has one request under way at a time.
pub const CLIENTS: usize = 2 * BUSY + SLOW;

const BUSY: usize = 6;
const SLOW: usize = 3;

/// Clients with a new connection for each request, clients that keep theirs, and some whose
/// requests take long.
#[derive(Debug)]
pub struct Loads {
    new: Load,
    kept: Load,
    slow: Load,
}

impl fmt::Display for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, load) in self.named() {
            writeln!(f, "{name}\n{}\n", load.tally())?;
        }
        Ok(())
    }
}

impl Loads {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let busy = Plan { clients: BUSY, ..Plan::new(address) };
        let slow = Plan { clients: SLOW, path: "/slow?ms=700".to_owned(), ..busy.clone() };
        let start = |plan| Load::start(plan).expect("the load starts");
        Self {
            new: start(busy.clone()),
            kept: start(busy.keep_alive()),
            slow: start(slow.keep_alive()),
        }
    }

    fn named(&self) -> [(&'static str, &Load); 3] {
        [
            ("new connections", &self.new),
            ("kept connections", &self.kept),
            ("slow requests", &self.slow),
        ]
    }

    /// Waits until each has some more answers.
    ///
    /// # Panics
    /// When they do not come.
    pub fn go_on(&self) {
        let enough = self.named().map(|(_, load)| (load, load.tally().answered + SLOW as u64));
        for (load, enough) in enough {
            until("more answers", || (load.tally().answered >= enough).then_some(()));
        }
    }

    /// How many requests have failed so far.
    pub fn failed(&self) -> u64 {
        self.named().iter().map(|(_, load)| load.tally().failed()).sum()
    }

    /// How many answers that release has given on connections that were new to it, so far.
    pub fn answered_by(&self, release: u64) -> u64 {
        self.new.tally().answered_by(release)
    }

    /// Ends the load and prints what was counted; gives how many requests failed.
    pub fn stop(self) -> u64 {
        let names = self.named().map(|(name, _)| name);
        let tallies = [self.new, self.kept, self.slow].map(Load::stop);
        for (name, tally) in names.iter().zip(&tallies) {
            println!("{name}\n{tally}\n");
        }
        tallies.iter().map(Tally::failed).sum()
    }

    /// Ends the load, and fails the test if any request failed.
    #[track_caller]
    pub fn assert_none_failed(self, fleet: &Fleet) {
        let failed = self.stop();
        assert_eq!(failed, 0, "{}", fleet.story());
    }
}
