//! What belongs to a version: every process, however it forked, and its end.
//!
//! In a delegated cgroup the kernel says so, exactly ([`Group`]). Without one, on a local fleet, the
//! processes of a run are found by what they inherited ([`Mark`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cgroup::Group;

mod held;
mod mark;
mod proc_stat;
#[cfg(test)]
mod tests;

pub use held::Held;
pub use mark::{Mark, RUN, sweep};

/// What belongs to a version, or to its run.
#[derive(Clone, Debug)]
pub enum Members {
    /// All in this cgroup.
    Group(Arc<Group>),
    /// All that carry this mark, and what stems from them.
    Marked(Mark),
}

impl Members {
    /// Those that live, each held so that it cannot become another one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn living(&self) -> io::Result<Vec<Held>> {
        match self {
            Self::Marked(mark) => mark.living(),
            Self::Group(group) => {
                let mut living = Vec::new();
                for pid in group.processes()? {
                    // Asked after it is held: a number that was reused is not in the group.
                    if let Some(held) = Held::open(pid)?
                        && group.has(pid)
                        && held.is_alive()
                    {
                        living.push(held);
                    }
                }
                Ok(living)
            }
        }
    }

    /// Whether the process `pid`, which somebody says to be one of them, is.
    pub fn has(&self, pid: u32) -> bool {
        match self {
            Self::Marked(mark) => mark.has(pid),
            Self::Group(group) => group.has(pid),
        }
    }

    /// Sends `signal` to all of them, and gives how many they were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn signal(&self, signal: Signal) -> io::Result<usize> {
        let living = self.living()?;
        living.iter().try_for_each(|held| held.signal(signal))?;
        Ok(living.len())
    }

    /// Kills all of them, what they fork meanwhile too, and waits until they have ended.
    ///
    /// Call it when the first process has ended and before it is reaped: as long as its number is
    /// taken, its session is known, too.
    ///
    /// # Errors
    /// `TimedOut` when one still lives after `within`: it waits in the kernel for something that does
    /// not answer. What else the kernel says.
    pub async fn kill_all(&self, within: Duration) -> io::Result<()> {
        let killed = async {
            match self {
                Self::Group(group) => {
                    group.kill()?;
                    group.until_empty().await
                }
                Self::Marked(mark) => mark.kill_all().await,
            }
        };
        tokio::time::timeout(within, killed).await?
    }
}
