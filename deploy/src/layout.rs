//! The names of the bucket's objects.

use crate::Digest;

/// The desired state of the app; moved forward only by compare-and-set on its generation.
pub const STATE: &str = "state.json";

/// Under this prefix each instance writes one object about itself.
pub const INSTANCES: &str = "fleet/instances/";

/// How far the newest release is: written by the instance that conducts its rollout.
pub const ROLLOUT: &str = "fleet/rollout";

/// Everything that instances write lies under this prefix, and nothing else does.
pub const FLEET: &str = "fleet/";

/// The artifacts lie under this prefix.
pub const ARTIFACTS: &str = "artifacts/";

/// The environments lie under this prefix.
pub const ENVIRONMENTS: &str = "env/";

/// The agents' binaries lie under this prefix.
pub const AGENTS: &str = "agents/";

/// Under these prefixes lie objects that are named by the SHA-256 of what they are.
pub const CONTENT: [&str; 3] = [ARTIFACTS, ENVIRONMENTS, AGENTS];

/// The app as one compressed archive. Create-only.
pub fn artifact(digest: &Digest) -> String {
    format!("{ARTIFACTS}{digest}")
}

/// One environment, as [`crate::environment::Environment`] writes it. Create-only.
pub fn environment(digest: &Digest) -> String {
    format!("{ENVIRONMENTS}{digest}")
}

/// One `agentd`, as it is. Create-only.
pub fn agent(digest: &Digest) -> String {
    format!("{AGENTS}{digest}")
}

/// What the instance `name` says of itself: a [`crate::report::Report`].
pub fn instance(name: &str) -> String {
    format!("{INSTANCES}{name}")
}
