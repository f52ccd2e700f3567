//! One environment: the variables that a release's app is started with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The variables, by name. Written as one JSON object with sorted keys, so that the same variables
/// always have the same digest.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Environment(pub BTreeMap<String, String>);

impl Environment {
    /// The bytes of the bucket's object, and their digest.
    pub fn to_object(&self) -> (Vec<u8>, Digest) {
        let data = serde_json::to_vec(self).expect("strings serialize");
        let digest = Digest::of(&data);
        (data, digest)
    }

    /// Reads what [`Self::to_object`] wrote.
    ///
    /// # Errors
    /// When the bytes do not have this digest, or are no environment.
    pub fn from_object(data: &[u8], expected: &Digest) -> Result<Self, EnvironmentError> {
        let found = Digest::of(data);
        if found != *expected {
            return Err(EnvironmentError::Digest { expected: *expected, found });
        }
        serde_json::from_slice(data).map_err(|cause| EnvironmentError::Form { cause })
    }
}

/// The values may be secrets: only the names are shown.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why an environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The bytes are not the ones that the release names.
    #[error("the environment's bytes have the SHA-256 {found}, not {expected}")]
    Digest {
        /// What the release names.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// The bytes are the right ones, and still no environment.
    #[error("the environment is not a JSON object of strings")]
    Form {
        /// What the parser says.
        #[source]
        cause: serde_json::Error,
    },
}

/// A name that `execve` and every shell take: letters, digits and `_`, not starting with a digit.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
