//! What several tests need.

use deploy::id::Id;
use deploy::release::{Artifact, Kind, Release};
use deploy::report::{Agent, Failure, Phase, Report, Stage};
use deploy::rollout::{self, Halt, Lease, Mark, Plan, Progress, Standing};
use deploy::settings::Settings;
use deploy::{Digest, Timestamp};

use super::view::InstanceView;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Published at ten.
pub(crate) fn release(number: u64) -> Release {
    Release {
        number,
        id: Id::fixed("test"),
        published: at("2026-11-22T10:00:00Z"),
        by: "ann@laptop".into(),
        kind: Kind::Deploy,
        message: None,
        source: None,
        artifact: Artifact { digest: Digest::of(b""), size: 0 },
        environment: None,
        settings: Settings::default(),
        rollout: Some(Plan::default()),
    }
}

/// Of [`release`] 7; nobody may switch.
pub(crate) fn progress(stage: rollout::Stage) -> Progress {
    Progress {
        release: Id::fixed("test"),
        number: 7,
        stage,
        mark: Mark::None,
        steady_ms: None,
        restarts: 0,
        forgiven: Default::default(),
        order: None,
        halt: None,
        conductor: Lease { by: "hello-1".into(), life: Id::fixed("life"), beat: 1 },
    }
}

/// On hello-2, 12 s after the publish.
pub(crate) fn halt() -> Halt {
    Halt {
        at: at("2026-11-22T10:00:12Z"),
        message: "hello-2: exited with code 3".into(),
        instance: Some("hello-2".into()),
        failure: None,
        by: None,
    }
}

pub(crate) fn failure(stage: Stage) -> Failure {
    Failure {
        release: 7,
        at: at("2026-11-22T10:00:01Z"),
        stage,
        message: "it ended".into(),
        exit_code: Some(3),
        signal: None,
        last_lines: vec!["boot".into(), "panic: no database".into()],
    }
}

/// It has seen nothing and runs nothing.
pub(crate) fn report(instance: &str, written: Timestamp) -> Report {
    Report {
        instance: instance.into(),
        written,
        agent: Agent {
            pid: 1,
            launcher: None,
            version: "0.1.0".into(),
            started: written,
            digest: None,
            update: None,
            bad: Vec::new(),
        },
        looked: None,
        addresses: Vec::new(),
        seen: None,
        waits: None,
        phase: Phase::Idle,
        serving: None,
        draining: Vec::new(),
        outcomes: Vec::new(),
        left: None,
        crash_loop: None,
        last_failure: None,
    }
}

/// It serves v6, unless it has switched.
pub(crate) fn view(name: &str, standing: Standing) -> InstanceView {
    let serving = match standing {
        Standing::Done { .. } | Standing::Settling { .. } => Some(7),
        _ => Some(6),
    };
    InstanceView { name: name.into(), standing, down: false, silent: None, unwell: None, serving }
}

/// A fifth of a second after the publish.
pub(crate) fn done() -> Standing {
    Standing::Done { switched: at("2026-11-22T10:00:00.210Z"), note: None }
}

/// The same, still in its settle time.
pub(crate) fn settling() -> Standing {
    Standing::Settling { switched: at("2026-11-22T10:00:00.210Z"), note: None }
}
