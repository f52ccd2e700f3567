//! Moments by chance, the same again for the same seed.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The seed of a run, in case that one is to be gone through again.
const SEED: &str = "TEST_SEED";

/// A source of moments.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// With a new seed, or the one in `TEST_SEED`; says which.
    ///
    /// # Panics
    /// When `TEST_SEED` is no number.
    pub fn new() -> Self {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse().expect("TEST_SEED is a number"),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        println!("{SEED}={seed}");
        Self(seed)
    }

    /// A length of time up to `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.next() as f64 / u64::MAX as f64)
    }

    /// So many bytes, which nothing packs into fewer.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
