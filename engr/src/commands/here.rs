//! The environment of what runs here and not on an instance: `run` and `serve`.

use std::collections::BTreeMap;
use std::process::Command;

use deploy::publish::load;

use crate::context::AppContext;
use crate::failure::CommandResult;
use crate::publish::{load_failure, read_environment};

/// What belongs to the process that it was set for, and would mislead another.
const NOT_INHERITED: [&str; 11] = [
    "ENGR_INSTANCE",
    "ENGR_INSTANCE_DIR",
    "ENGR_RUN",
    "ENGR_STATE_DIR",
    "ENGR_VERSION",
    "ENGR_ARTIFACT",
    "ENGR_DEVELOPMENT",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
];

/// The variables that are set over those of this shell.
#[derive(Clone, Debug)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those that say whose command it is.
    pub(super) fn of(app: &AppContext) -> Self {
        let project = app.config.project.as_deref().unwrap_or("local").to_owned();
        let own = [("ENGR_APP", app.name.clone()), ("ENGR_PROJECT", project)];
        Self(own.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// And those of the current release; before the first one, those that wait for it.
    pub(super) async fn deployed(&mut self, app: &AppContext) -> CommandResult<()> {
        let store = app.store()?;
        let state = load(&*store, &app.name).await.map_err(load_failure)?.state;
        let environment = match &state.release {
            Some(release) => release.environment,
            None => state.staged_environment,
        };
        let own = std::mem::take(&mut self.0);
        self.0 = read_environment(&*store, environment.as_ref()).await?.0;
        self.0.extend(own);
        if let Some(release) = &state.release {
            self.0.insert("ENGR_VERSION".to_owned(), release.number.to_string());
            self.0.insert("ENGR_ARTIFACT".to_owned(), release.artifact.digest.to_string());
        }
        Ok(())
    }

    /// And the port to bind.
    pub(super) fn port(&mut self, port: u16) {
        self.0.insert("PORT".to_owned(), port.to_string());
    }

    /// And that it is a developer's: no release, whichever is deployed.
    pub(super) fn development(&mut self) {
        for name in ["ENGR_VERSION", "ENGR_ARTIFACT"] {
            self.0.remove(name);
        }
        self.0.insert("ENGR_DEVELOPMENT".to_owned(), "1".to_owned());
    }

    /// Gives them to a command.
    pub(super) fn apply(&self, command: &mut Command) {
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command.envs(&self.0);
    }
}
