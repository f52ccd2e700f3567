//! A release's way through the fleet.
//!
//! All instances fetch a release at once and switch to it in turn, in an order that each of them
//! works out alike ([`crate::desired_agent::order_key`]). One of them conducts: it reads what the
//! others report and moves a mark forward in the object [`crate::layout::ROLLOUT`]; whoever stands at
//! or before the mark may switch. Any instance can conduct, and when the one that does dies, another
//! goes on from what is written there. Whoever published takes no part in it.
//!
//! ```text
//!   canary ──healthy for `bake`──▶ rolling, `max-parallel` at a time ──▶ watching ──`watch-for`──▶ done
//!      └──────────── more than `max-failures` ──┴───────────────────────────┘
//!                              ▼
//!       reverted (`on-failure: revert`), or halted
//! ```
//!
//! Where versions overlap all go back at once. Where they do not, that would cost capacity, and they
//! go back as they came, `max-parallel` at a time (`reverting`).
//!
//! - [`rules`]: what people set, and what a release carries of it.
//! - [`progress`]: the object, and the orders that people give while a rollout is under way.
//! - [`conduct()`]: the conductor's decision, pure.
//! - [`course()`]: what one instance is to run, pure.
//! - [`standing`]: what people are told.

pub mod conduct;
pub mod course;
pub mod progress;
pub mod rules;
pub mod standing;

pub use conduct::{Condition, Member, View, conduct, is_good};
pub use course::{Course, course};
pub use progress::{Base, Halt, Lease, Mark, Order, Progress, Stage, Verb};
pub use rules::{Limit, OnFailure, Plan, Rules};
pub use standing::{Fate, Standing, Verdict, fate, verdict};
