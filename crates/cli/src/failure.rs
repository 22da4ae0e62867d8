//! What a command can fail with, and the exit status that says so.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lightning_db::Error;

/// The outcome of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database or the repository says so.
    Database(Error),
    /// The command line makes no sense.
    Usage(String),
    /// What was asked for is not there.
    NotFound(String),
    /// A check or a verification found damage, and has told which.
    Damaged(String),
    /// It was done, but not everywhere; what was left is named.
    Incomplete(String),
    /// A file of the user's (not of a database) cannot be read or written.
    File { action: &'static str, path: PathBuf, source: io::Error },
    /// A file of the user's does not hold what it should.
    Input { path: PathBuf, reason: String },
    /// Standard output cannot be written to.
    Output(io::Error),
}

impl Failure {
    /// A file that could not be read or written.
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_path_buf(), source }
    }

    /// A short name that scripts can rely on.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Database(error) => error.kind(),
            Self::Usage(_) => "usage",
            Self::NotFound(_) => "not_found",
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => "not_found",
            Self::Damaged(_) => "corrupt",
            Self::Incomplete(_) => "incomplete",
            Self::Input { .. } => "invalid_input",
            Self::File { .. } | Self::Output(_) => "io",
        }
    }

    /// 1 failed, 2 wrong usage, 3 integrity or authentication, 4 not found or not reachable, 5 done, but not everywhere. A
    /// reader of standard output that has seen enough is no failure: 0.
    pub(crate) fn status(&self) -> ExitCode {
        if self.is_broken_pipe() {
            return ExitCode::SUCCESS;
        }
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::Damaged(_) => 3,
            Self::NotFound(_) => 4,
            Self::Incomplete(_) => 5,
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => 4,
            Self::Database(error) if error.is_integrity() => 3,
            Self::Database(error) if error.is_not_found() => 4,
            Self::Database(error) if is_usage(error) => 2,
            Self::Database(_) | Self::File { .. } | Self::Input { .. } | Self::Output(_) => 1,
        })
    }

    /// Whether whoever reads standard output has gone away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Whether the error is about what was typed, or set in the environment.
fn is_usage(error: &Error) -> bool {
    matches!(
        error,
        Error::EmptyKey
            | Error::KeyTooLarge
            | Error::ValueTooLarge
            | Error::InvalidArgument { .. }
            | Error::InvalidConfig { .. }
    )
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error @ Error::KeyRequired { .. }) => {
                write!(f, "{error} (here: --key URI or LIGHTNING_DB_KEY)")
            }
            Self::Database(error) => error.fmt(f),
            Self::Usage(text) | Self::NotFound(text) | Self::Damaged(text) | Self::Incomplete(text) => {
                f.write_str(text)
            }
            Self::File { action, path, source } => {
                write!(f, "could not {action} {}: {source}", path.display())
            }
            Self::Input { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Output(error) => write!(f, "could not write the output: {error}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}
