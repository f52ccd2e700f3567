//! Whose turn it is: tests that load the machine run alone.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURN: RwLock<()> = RwLock::new(());

/// Held while a fleet lives.
#[derive(Debug)]
#[expect(dead_code, reason = "held for the locks")]
pub(super) enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    /// Waits while a fleet is alone.
    pub(super) fn shared() -> Self {
        Self::Shared(TURN.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until no other fleet is there.
    pub(super) fn alone() -> Self {
        Self::Alone(TURN.write().unwrap_or_else(PoisonError::into_inner))
    }
}
