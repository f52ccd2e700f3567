//! Whole machines with a systemd of their own, so that the agent's unit is tested as it is shipped:
//! Debian 12 and 13, booted in a second or two, without a virtual machine.
//!
//! ```text
//!   the test ── unshare ── systemd ─┬─ journald, dbus, …
//!      │         (mount, pid,       └─ agentd.service ── the agent ── the app
//!      │          uts, ipc, cgroup)
//!      ├─ a thread in the node's network, where the load comes from
//!      └─ the app's bucket, which is /bucket in the node
//! ```
//!
//! A [`Node`] is the machine; an [`Instance`] is one with the agent on it, and its app's bucket. The
//! root file system is made once and written to by nobody: each node has a layer of its own over it,
//! in memory. A node's network leads nowhere, and the address where clouds answer their machines is
//! its own. All of it takes root and goes with the value; [`or_skip`] says what is missing.
//!
//! The kernel is the machine's. What nodes share with it, they cannot change: no modules, no clock,
//! no settings but those of their network. The controllers for memory, CPU and processes are there
//! only where the machine's second hierarchy has them.

mod cgroup;
mod controller;
mod debian;
mod instance;
mod missing;
mod node;

pub use controller::Controller;
pub use debian::Debian;
pub use instance::{Instance, SHUTDOWN_DELAY, UNIT, USER};
pub use missing::{Missing, or_skip};
pub use node::{Node, Said};
