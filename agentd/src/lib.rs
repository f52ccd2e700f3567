//! `agentd`: one process on every instance, running one app.
//!
//! Data flows through its parts in this order:
//!
//! ```text
//!   bucket ─▶ watch ─▶ fetch ─▶ switch (decides) ─▶ run (acts) ─▶ app
//!                                  ▲                   │
//!                                  └──── events ◀──────┘
//!   report ◀─ memory ◀─ outcomes          logs ◀─ stdout, stderr
//! ```
//!
//! - [`agent`] is the loop: it waits for the next event, hands it to the switch core, and begins
//!   what the core decides. It has no choice of its own. [`alarm`] wakes it when the core wants that.
//! - [`switch`] is that core: pure, without I/O, clock or chance.
//! - [`sockets`] owns the listening sockets and steers new connections between versions.
//! - [`process`] starts and signals the app's processes; [`executable`] says what could never be
//!   started; [`readiness`] says when one is ready, and [`notices`] what it says of itself;
//!   [`drain`] when an old one has nothing left to do.
//! - [`launcher`] is the process that the agent lives under, and [`link`] the talk with it;
//!   [`handover`] is what a new agent takes over from one that died.
//! - [`fetch`] brings artifacts and environments onto the disk, whole or not at all.
//! - [`conduct`] is this instance's part in a rollout: whose turn it is, and who conducts it.
//! - [`update`] brings the agent itself to the binary that is wanted.
//! - [`logs`] takes the app's lines to the spool; [`report`] writes the instance's object;
//!   [`health`] answers the load balancer; [`heap`] keeps the agent's own memory small.

pub mod agent;
pub mod alarm;
pub mod balance;
pub mod cgroup;
#[cfg(test)]
mod chance;
pub mod conduct;
pub mod drain;
pub mod executable;
pub mod fetch;
mod follow;
pub mod fork;
pub mod handover;
pub mod health;
pub mod heap;
pub mod launcher;
pub mod link;
pub mod lock;
pub mod logs;
pub mod members;
pub mod memory;
pub mod notices;
pub mod pace;
pub mod probe;
pub mod process;
pub mod readiness;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod sockets;
pub mod switch;
pub mod update;
