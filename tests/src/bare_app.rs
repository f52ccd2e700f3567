//! An app without instances, in a bucket that the test can reach: what publishing does, alone.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use deploy::publish::{load, swap};
use deploy::state::{Refused, State};
use deploy::store::Directory;
use serde_json::json;

use crate::engr::{Place, Transcript};
use crate::running::Running;

const WAIT_MAX: Duration = Duration::from_secs(30);

/// An app with no instances, whose build writes `content` into its executable.
#[derive(Debug)]
pub struct App {
    /// Where its commands are run.
    pub place: Place,
    /// Its bucket.
    pub store: Directory,
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl App {
    /// An app whose executable has the content `one`.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn new() -> Self {
        let place = Place::new();
        let bucket = place.home().join("local/hello/bucket");
        fs::create_dir_all(bucket.parent().unwrap()).unwrap();
        let app = Self { store: Directory::open(bucket).unwrap(), place };
        app.builds("printf '#!/bin/sh\\n' > out && cat content >> out && chmod +x out");
        app.content("one");
        app
    }

    /// From now on `command` builds it.
    pub fn builds(&self, command: &str) {
        let engr_json = json!({"apps": {"hello": {
            "project": "local", "server": false, "instance-count": 0,
            "build": {"command": command, "output": "out"},
        }}});
        self.place.write("engr.json", &engr_json.to_string());
    }

    /// From now on a build makes an executable with this content.
    pub fn content(&self, content: &str) {
        self.place.write("content", content);
    }

    /// From now on a build says that it has begun, and waits for [`Gate::open`].
    pub fn gated(&self) -> Gate {
        self.builds("touch at && while [ -e at ]; do sleep 0.01; done; cp /bin/sh out");
        Gate { at: self.place.path().join("at") }
    }

    /// Runs a command of the app.
    pub fn engr(&self, args: &[&str]) -> Transcript {
        self.place.engr(&[&["hello"], args].concat())
    }

    /// Begins a command of the app.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(&self.place, &[&["hello"], args].concat())
    }

    /// Deploys, and follows nothing.
    pub fn deploy(&self) -> Transcript {
        self.engr(&["deploy", "--detach"])
    }

    /// The newest state.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn state(&self) -> State {
        load(&self.store, "hello").await.unwrap().state
    }

    /// Takes a step from the newest state, as somebody else would.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn change(&self, step: impl FnMut(State) -> Result<State, Refused>) {
        swap(&self.store, "hello", step).await.unwrap();
    }
}

/// Holds builds back, for as long as a file is there; with the test's folder it goes in any case.
#[derive(Debug)]
pub struct Gate {
    at: PathBuf,
}

impl Gate {
    /// A build waits at the gate.
    ///
    /// # Panics
    /// When none comes to it.
    pub async fn reached(&self) {
        let began = Instant::now();
        while !self.at.exists() {
            assert!(began.elapsed() < WAIT_MAX, "no build begins");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets it pass.
    ///
    /// # Panics
    /// When none waits.
    pub fn open(&self) {
        fs::remove_file(&self.at).unwrap();
    }
}
