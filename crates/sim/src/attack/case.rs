//! One attack, and what may come of it.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::sync::Arc;

use lightning_db::{Error, LightningDbConfig};
use lightning_db_storage::vfs::MemVfs;

use super::damage::Damage;
use super::specimen::Story;
use super::undetectable::Undetectable;

/// A database or repository on a disk of its own.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) disk: MemVfs,
    pub(super) root: PathBuf,
    pub(super) config: LightningDbConfig,
    pub(super) story: Arc<Story>,
    /// The newest commit in it.
    pub(super) newest: u64,
    pub(super) is_repository: bool,
    /// On a machine that was started again: where in the log in use begins what was not synced.
    pub(super) unsynced_from: Option<u64>,
}

/// What may come of an attack, beside an error that says what is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// All of the data.
    Whole,
    /// All of the data, and never an error: there is a second copy, or the bytes mean nothing.
    Served,
    /// All of the data, or the database as it was at this commit or a later one.
    Earlier(Undetectable, u64),
    /// All of the data, or that of the other continuation.
    Other(Undetectable),
}

/// How closely the result is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// Reading everything and checking deeply, writing nothing.
    Reading,
    /// Also opening for writing, or restoring.
    Writing,
}

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) target: Arc<Target>,
    pub(super) damage: Damage,
    pub(super) expect: Expect,
    /// Whether a deep check must find something.
    pub(super) noticed: bool,
    pub(super) depth: Depth,
}

/// What came of it, where that was permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It did not open.
    RefusedAtOpen,
    /// It opened, and reading met the damage.
    RefusedAtRead,
    /// All data came, and a check tells of the damage.
    ServedAndNoticed,
    /// All data came, and nothing tells of the change.
    ServedUnnoticed,
    /// An older state came.
    Earlier(Undetectable),
}

impl Case {
    /// Whether `error` is one that this damage may give.
    pub(super) fn permits(&self, error: &Error) -> bool {
        let permitted = match error {
            Error::Corrupt { .. } | Error::UnsupportedFormat { .. } => true,
            Error::NotFound { .. } | Error::TargetNotReachable { .. } => {
                self.damage.removes() || self.damage.is_exchange()
            }
            // A key that opens another database, or none, is a wrong one here.
            Error::WrongKey { .. } | Error::NotEncrypted { .. } | Error::KeyRequired { .. } => {
                self.damage.is_exchange()
            }
            _ => false,
        };
        permitted && self.expect != Expect::Served
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.target.name, self.damage)
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefusedAtOpen => f.write_str("refused when opened"),
            Self::RefusedAtRead => f.write_str("refused when read"),
            Self::ServedAndNoticed => f.write_str("served, and a check tells"),
            Self::ServedUnnoticed => f.write_str("served, and nothing tells"),
            Self::Earlier(which) => write!(f, "not noticed: {}", which.title()),
        }
    }
}
