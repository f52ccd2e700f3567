//! How a command ends when it does not succeed: the exit code, what happened, and the way out.

use std::fmt;
use std::process::ExitCode;

/// The exit codes, which scripts rely on. Documented in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A defect of ours, or an unforeseen failure of the machine.
    Internal = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// `--plan` finds changes.
    Changes = 3,
    /// The app did not build.
    BuildFailed = 10,
    /// The claim or a precondition was lost to somebody else.
    Lost = 11,
    /// The release failed, and the fleet is on the old one.
    ReleaseFailed = 20,
    /// The release failed, and versions are mixed.
    Mixed = 21,
    /// The wait timed out.
    TimedOut = 22,
    /// Not allowed.
    NotAllowed = 30,
    /// Interrupted while watching; the rollout goes on.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What every command gives.
pub type CommandResult<T = Exit> = Result<T, Failure>;

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    /// With which code the process ends.
    pub exit: Exit,
    /// What happened, its causes as sources.
    pub error: anyhow::Error,
    /// What to do about it; shown apart, one line each.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hints: Vec::new() }
    }

    /// A wrong command line or configuration.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, anyhow::anyhow!("{message}"))
    }

    /// Whether it is that the app's bucket is not there.
    pub fn is_missing_bucket(&self) -> bool {
        use deploy::store::{ErrorKind, StoreError};
        let error = self.error.downcast_ref::<StoreError>();
        error.is_some_and(|error| error.kind == ErrorKind::NoBucket)
    }

    /// The same with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }
}

/// Gives an error the exit code that it has for the user.
pub trait OrFail<T> {
    /// The failure has this code, and `what` was being done.
    fn or_fail(self, exit: Exit, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, exit: Exit, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| {
            Failure::new(exit, anyhow::Error::new(error).context(what.to_string()))
        })
    }
}

impl From<deploy::store::StoreError> for Failure {
    fn from(error: deploy::store::StoreError) -> Self {
        use deploy::store::ErrorKind;
        if error.kind == ErrorKind::Unauthenticated {
            return Self::new(Exit::NotAllowed, error).hint(crate::google::remedy());
        }
        let is_folder = error.bucket.starts_with("file://");
        let (exit, hint) = match error.kind {
            ErrorKind::Forbidden if is_folder => {
                (Exit::NotAllowed, Some("check who owns the bucket's folder, and its mode"))
            }
            ErrorKind::Forbidden => {
                (Exit::NotAllowed, Some("`engr doctor` says who you are and what you may do"))
            }
            ErrorKind::Unauthenticated => (Exit::NotAllowed, None),
            ErrorKind::NoBucket => {
                (Exit::Usage, Some("the first deploy makes it: `engr <app> deploy`"))
            }
            ErrorKind::Lost => (Exit::Lost, Some("run the command again")),
            ErrorKind::Full => (Exit::Internal, Some("free some space, then run it again")),
            ErrorKind::Corrupt => {
                (Exit::Internal, Some("deploy again: what is damaged is replaced"))
            }
            ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Invalid => {
                (Exit::Internal, None)
            }
        };
        let failure = Self::new(exit, error);
        hint.into_iter().fold(failure, Self::hint)
    }
}
