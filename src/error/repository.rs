//! Errors of backup and recovery as errors of the database.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_backup::BackupError;
use lightning_db_recovery::RecoveryError;

use super::{Error, ReachableInterval, TargetCandidate};

impl From<BackupError> for Error {
    fn from(error: BackupError) -> Self {
        let text = error.to_string();
        let object_of = |place: &str, object: &str| Path::new(place).join(object);
        match error {
            BackupError::Storage(error) => error.into(),
            BackupError::Crypto(error) => Self::from_crypto(error, Path::new("the repository's keyring")),
            BackupError::NotARepository { place } => {
                Self::NotFound { what: format!("a backup repository in {place}") }
            }
            BackupError::NotEmpty { place } => {
                Self::AlreadyExists { what: format!("{place}, which is no backup repository,") }
            }
            BackupError::Busy { place } => Self::Locked { path: PathBuf::from(place) },
            BackupError::OtherDatabase { place, held, .. } => {
                let reason = format!("it belongs to another database, {held}");
                Self::Diverged { repository: place, reason }
            }
            BackupError::Diverged { place, what } => Self::Diverged { repository: place, reason: what },
            BackupError::Damaged { place, object, what } => {
                Self::corrupt(object_of(&place, &object), 0, what)
            }
            BackupError::Missing { place, object } => {
                Self::corrupt(object_of(&place, &object), 0, "it is missing from the repository")
            }
            BackupError::Unsupported { place, object, what } => {
                Self::UnsupportedFormat { file: object_of(&place, &object), what }
            }
            BackupError::BackupNotFound { place, number } => {
                Self::NotFound { what: format!("backup {number} in the repository at {place}") }
            }
            BackupError::LastBackup { .. } => Self::InvalidArgument { argument: "backup", reason: text },
            BackupError::Vanished { place, .. } => Self::corrupt(place, 0, text),
            BackupError::TargetNotReachable { place, wanted, reachable } => Self::TargetNotReachable {
                target: wanted,
                reason: format!("no backup in {place} leads there"),
                intervals: reachable.into_iter().map(interval_of_backup).collect(),
            },
            BackupError::TargetAmbiguous { wanted, candidates } => {
                let candidate = |found: lightning_db_backup::TargetCandidate| TargetCandidate {
                    incarnation: found.incarnation,
                    sequence: found.sequence,
                    micros: None,
                };
                Self::TargetAmbiguous {
                    target: wanted,
                    candidates: candidates.into_iter().map(candidate).collect(),
                }
            }
            BackupError::InvalidOption(reason) => Self::InvalidArgument { argument: "options", reason },
            BackupError::BadStream(what) => Self::corrupt("the stream", 0, what),
            other => Self::Io {
                action: "work with",
                path: PathBuf::from("the repository"),
                source: Arc::new(io::Error::other(other)),
            },
        }
    }
}

impl From<RecoveryError> for Error {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Storage(error) => error.into(),
            RecoveryError::TargetNotReachable { target, reason, intervals } => Self::TargetNotReachable {
                target,
                reason,
                intervals: intervals.into_iter().map(interval_of_log).collect(),
            },
            RecoveryError::TargetAmbiguous { target, candidates } => {
                let candidate = |moment: lightning_db_recovery::Moment| TargetCandidate {
                    incarnation: moment.incarnation,
                    sequence: Some(moment.sequence),
                    micros: Some(moment.time_micros),
                };
                let candidates = candidates.into_iter().map(candidate).collect();
                Self::TargetAmbiguous { target, candidates }
            }
            other => Self::Io {
                action: "replay",
                path: PathBuf::from("the log"),
                source: Arc::new(io::Error::other(other)),
            },
        }
    }
}

pub(crate) fn interval_of_backup(found: lightning_db_backup::ReachableInterval) -> ReachableInterval {
    let lightning_db_backup::ReachableInterval { incarnation, first, last, first_micros, last_micros } =
        found;
    ReachableInterval { incarnation, first, last, first_micros, last_micros }
}

fn interval_of_log(found: lightning_db_recovery::Interval) -> ReachableInterval {
    let lightning_db_recovery::Interval { incarnation, first, last, first_micros, last_micros } = found;
    ReachableInterval { incarnation, first, last, first_micros, last_micros }
}
