//! The lock: a person's word that nothing is to be published, an incident or a holiday long.
//!
//! A claim says that somebody is about to publish; a lock, that nobody should. It needs no renewing,
//! ends at its `until` or by hand, and binds its maker too. Who deploys while it is set loses the
//! publish.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A freeze of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lock {
    /// Who, `user@host`.
    pub by: String,
    /// Since when, by the locker's clock.
    pub since: Timestamp,
    /// Why.
    pub message: String,
    /// From then on it binds nobody. None: until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Lock {
    /// Whether it still binds.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}
