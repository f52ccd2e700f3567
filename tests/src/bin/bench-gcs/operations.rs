//! How many operations of each price were made.

use gcs_server::Counts;

/// Operations by the classes that Google prices them by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operations {
    /// Writes and lists.
    pub(crate) a: u64,
    /// Reads.
    pub(crate) b: u64,
}

/// Dollars for one operation.
pub(crate) const CLASS_A: f64 = 0.005 / 1_000.0;
pub(crate) const CLASS_B: f64 = 0.0004 / 1_000.0;

impl Operations {
    pub(crate) fn of(counts: &Counts) -> Self {
        let mut operations = Self::default();
        for (call, count) in &counts.calls {
            match call.split_once(' ').map(|(_, kind)| kind) {
                // The pieces of an upload are part of the call that has begun it.
                Some("objects.delete" | "buckets.delete" | "upload put" | "upload cancel") => {}
                Some(
                    "objects.get"
                    | "objects.get media"
                    | "buckets.get"
                    | "buckets.testIamPermissions",
                ) => operations.b += count,
                _ => operations.a += count,
            }
        }
        operations
    }

    pub(crate) fn less(self, before: Self) -> Self {
        Self { a: self.a - before.a, b: self.b - before.b }
    }

    /// Of one of so many that were alike.
    pub(crate) fn of_one(self, of: u8) -> [f64; 2] {
        [self.a, self.b].map(|count| count as f64 / f64::from(of))
    }
}
