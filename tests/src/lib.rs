//! Helpers of the tests.

pub mod agent;
pub mod apps;
pub mod bare_app;
pub mod below;
pub mod chance;
pub mod engr;
pub mod fake_agent;
pub mod fake_fleet;
pub mod fake_gcs;
pub mod fleet;
pub mod google;
pub mod instance;
pub mod launch;
pub mod loads;
pub mod machine;
pub mod mounts;
pub mod programs;
pub mod relay;
pub mod running;
pub mod sample;
pub mod systemd;
