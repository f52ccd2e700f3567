//! Random names for attempts: by them a writer knows its own write again.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 96 random bits as 24 hex digits.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(String);

impl Id {
    /// A new one, from the kernel's randomness.
    ///
    /// # Panics
    /// When the kernel has no randomness to give, which Linux does not do after boot.
    pub fn random() -> Self {
        let mut bytes = [0; 12];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A name chosen by the caller, for simulations that must repeat.
    pub fn fixed(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
