//! `serve` and `local-serve`: the app here, rebuilt and restarted when its source changes.
//!
//! ```text
//!   source ──▶ build ──▶ stop the old one ──▶ start the new one ──▶ wait
//!     ▲          │ fails: the old one goes on                         │
//!     └──────────┴───────────── a file changes ◀──────────────────────┘
//! ```
//!
//! Ctrl-C ends the app as a switch would, by `SIGTERM` and in the end `SIGKILL`; the exit code is
//! then 130.

mod process;
mod source;

use std::path::{Path, PathBuf};

use crate::build::{self, Built};
use crate::cli::ServeArgs;
use crate::config::Arch;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::fleet;
use crate::interrupt::Interrupt;
use crate::output::{Style, print_failure};

use super::here::Variables;
use process::Running;
use source::Source;

/// Which environment the app gets, over this shell's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// The current release's.
    Deployed,
    /// None but the shell's.
    Shell,
}

/// Serves until Ctrl-C.
pub async fn run(app: &AppContext, args: ServeArgs, environment: Environment) -> CommandResult {
    let interrupt = Interrupt::new()?;
    let mut source = Source::watch(&app.root(), &not_source(app)?)?;
    let mut server = Server { args, environment, running: None };
    // What is wrong with the command line or the settings is wrong from the start.
    server.check_port(app)?;
    say("building");
    let mut next = Next::Build;
    let ended = loop {
        next = match next {
            Next::Build => {
                tokio::select! {
                    biased;
                    () = interrupt.raised() => break Ok(Exit::Interrupted),
                    built = server.build(&app.name, &mut source) => match built {
                        Some((app, built)) => Next::Start(app, built),
                        None => Next::Wait,
                    },
                }
            }
            Next::Start(app, built) => {
                match server.start(&app, built).await {
                    Ok(()) => {}
                    Err(failure) => print_failure(&failure, false),
                }
                Next::Wait
            }
            Next::Wait => {
                tokio::select! {
                    biased;
                    () = interrupt.raised() => break Ok(Exit::Interrupted),
                    changed = source.changed() => {
                        say(format_args!("{} changed: building", changed.display()));
                        Next::Build
                    }
                    () = server.ended() => Next::Wait,
                }
            }
        };
    };
    server.stop().await;
    ended
}

enum Next {
    Build,
    Start(Box<AppContext>, Built),
    Wait,
}

/// A line of ours between the app's own.
pub(super) fn say(text: impl std::fmt::Display) {
    eprintln!("{} {text}", Style::Bold.paint_err("engr:"));
}

/// What lies below the app's folder and is no source: what the build makes, and the local fleet.
fn not_source(app: &AppContext) -> CommandResult<Vec<PathBuf>> {
    let output = app.config.build.as_ref().map(|build| app.root().join(&build.output));
    let fleet = fleet::local_dir(&app.name)?.0;
    Ok(output.into_iter().chain([fleet]).collect())
}

/// The app here.
struct Server {
    args: ServeArgs,
    environment: Environment,
    running: Option<Running>,
}

impl Server {
    /// Builds the app for this machine, by the settings that `engr.json` has now. `None` when that
    /// failed, which was said. Starts anew when the source changes meanwhile.
    async fn build(&self, name: &str, source: &mut Source) -> Option<(Box<AppContext>, Built)> {
        loop {
            let app = match AppContext::find(name) {
                Ok(app) => for_this_machine(app),
                Err(failure) => return self.failed(&failure),
            };
            // What such a build writes may look like source: only after it can that be told.
            let writes = app.config.build.is_some() || app.config.generate.is_some();
            tokio::select! {
                built = build::build(&app) => return match built {
                    Ok(built) => Some((Box::new(app), built)),
                    Err(failure) => self.failed(&failure),
                },
                changed = source.changed(), if !writes => {
                    say(format_args!("{} changed: building anew", changed.display()));
                }
            }
        }
    }

    fn failed<T>(&self, failure: &Failure) -> Option<T> {
        print_failure(failure, false);
        match &self.running {
            Some(running) if running.is_alive() => {
                say("the build failed: what was built before runs on");
            }
            _ => say("the build failed: waiting for a change"),
        }
        None
    }

    /// Puts `built` in the place of what runs.
    async fn start(&mut self, app: &AppContext, built: Built) -> CommandResult<()> {
        self.stop().await;
        let port = self.check_port(app)?;
        let mut variables = Variables::of(app);
        if self.environment == Environment::Deployed {
            variables.deployed(app).await?;
        }
        variables.development();
        port.into_iter().for_each(|port| variables.port(port));
        let running = Running::start(app, built, &variables)?;
        let at = port.map(|port| format!(" at http://127.0.0.1:{port}")).unwrap_or_default();
        say(format_args!("{} runs{at} (process {})", app.name, running.pid()));
        self.running = Some(running);
        Ok(())
    }

    /// The port that the app gets, which must be free; `None` for a worker.
    fn check_port(&self, app: &AppContext) -> CommandResult<Option<u16>> {
        let Some(port) = self
            .args
            .port
            .or_else(|| app.config.ports().first().map(|port| fleet::public_port(*port)))
        else {
            return Ok(None);
        };
        // One that the app has already is free once it is stopped.
        if self.running.is_none() {
            let hint = format!("take another: `engr {} serve --port 8081`", app.name);
            fleet::check_port(port).map_err(|failure| failure.hint(hint))?;
        }
        Ok(Some(port))
    }

    /// Ends when the app has ended by itself, which is said.
    async fn ended(&mut self) {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let status = running.ended().await;
        self.running = None;
        say(format_args!("the app ended ({status}): waiting for a change"));
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

fn for_this_machine(app: AppContext) -> AppContext {
    let config = crate::config::AppConfig { arch: Some(Arch::of_this_machine()), ..app.config };
    AppContext { config, ..app }
}

/// The path as a person would write it here.
pub(super) fn relative<'a>(path: &'a Path, root: &Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}
