//! What a server was asked, and how many bytes went over the wire.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// The counts of a server. A handle: clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Stats(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    calls: Mutex<BTreeMap<(String, &'static str), u64>>,
    connections: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What was counted until one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// How often each kind of call came, by `METHOD kind` (`GET objects.get media`).
    pub calls: BTreeMap<String, u64>,
    /// How many connections were taken.
    pub connections: u64,
    /// All bytes that came: of requests, their heads, and TLS.
    pub bytes_in: u64,
    /// All bytes that went.
    pub bytes_out: u64,
}

impl Counts {
    /// How often a kind of call came, whatever the method.
    pub fn of(&self, kind: &str) -> u64 {
        let of_kind = |key: &&String| key.split_once(' ').is_some_and(|(_, found)| found == kind);
        self.calls.iter().filter(|(key, _)| of_kind(key)).map(|(_, count)| count).sum()
    }

    /// How many calls came in all.
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

impl Stats {
    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls =
            calls.iter().map(|((method, kind), count)| (format!("{method} {kind}"), *count));
        Counts {
            calls: calls.collect(),
            connections: self.0.connections.load(Ordering::Relaxed),
            bytes_in: self.0.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.0.bytes_out.load(Ordering::Relaxed),
        }
    }

    /// Counts from nothing again.
    pub fn reset(&self) {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for counter in [&self.0.connections, &self.0.bytes_in, &self.0.bytes_out] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_call(&self, method: &str, kind: &'static str) {
        let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry((method.to_owned(), kind)).or_default() += 1;
    }

    pub(crate) fn count_connection(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_in(&self, bytes: usize) {
        self.0.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_out(&self, bytes: usize) {
        self.0.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
