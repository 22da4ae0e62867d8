//! What can go wrong with a repository, and what to do about it.

use std::fmt;

use lightning_db_crypto::{CryptoError, DatabaseId};
use lightning_db_storage::{Incarnation, SequenceNumber, StorageError};

/// The result of an operation on a repository.
pub type Result<T, E = BackupError> = std::result::Result<T, E>;

/// An error of backup, restore or verification.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is no repository at this place.
    #[error(
        "{place} is not a backup repository: it has no file `repository`; check the path, or make a backup there first"
    )]
    NotARepository {
        /// Where it was looked for.
        place: String,
    },
    /// The place of a new repository holds something else.
    #[error("{place} holds files but is no backup repository: choose an empty or a new directory")]
    NotEmpty {
        /// The directory.
        place: String,
    },
    /// Somebody else is writing to the repository.
    #[error("another backup or deletion is under way in {place}: wait for it to end and try again")]
    Busy {
        /// The repository.
        place: String,
    },
    /// The repository belongs to another database.
    #[error(
        "the repository at {place} holds backups of database {held}, and this is database {own}: \
         a repository serves one database, back this one up to another place"
    )]
    OtherDatabase {
        /// The repository.
        place: String,
        /// The database that it belongs to.
        held: DatabaseId,
        /// The database that was to be backed up.
        own: DatabaseId,
    },
    /// The repository's history is not that of this database: two copies of it went different ways.
    #[error(
        "this database and the repository at {place} have diverged: {what}. Another copy of the database made the \
         newer backups; back this one up to a new repository, or restore from {place} and go on with that"
    )]
    Diverged {
        /// The repository.
        place: String,
        /// Where the two differ.
        what: String,
    },
    /// An object of the repository is not what was put there.
    #[error(
        "{object} in the repository at {place} is damaged: {what}; run `verify` to see what else is, and use another copy of it"
    )]
    Damaged {
        /// The repository.
        place: String,
        /// The object's name.
        object: String,
        /// What was expected.
        what: String,
    },
    /// An object is not there.
    #[error(
        "{object} is missing from the repository at {place}; run `verify` to see what else is, and use another copy of it"
    )]
    Missing {
        /// The repository.
        place: String,
        /// The object's name.
        object: String,
    },
    /// A later version wrote this object.
    #[error("{object} in the repository at {place} cannot be read by this version: {what}")]
    Unsupported {
        /// The repository.
        place: String,
        /// The object's name.
        object: String,
        /// The version that is not known.
        what: String,
    },
    /// There is no such backup.
    #[error("there is no backup {number} in the repository at {place}")]
    BackupNotFound {
        /// The repository.
        place: String,
        /// The number that was asked for.
        number: u64,
    },
    /// The last backup of a repository is not deleted.
    #[error(
        "backup {number} is the only one in the repository at {place}, and is not deleted; make another one first"
    )]
    LastBackup {
        /// The repository.
        place: String,
        /// Its number.
        number: u64,
    },
    /// Objects that a new backup needs were deleted while it was made.
    #[error(
        "backup {number} in {place} is void: {count} objects that it needs vanished while it was made, {first} first; \
         something else deletes from the repository. Stop that, then back up again"
    )]
    Vanished {
        /// The repository.
        place: String,
        /// The number of the void backup.
        number: u64,
        /// How many are missing.
        count: usize,
        /// One of them.
        first: String,
    },
    /// What was asked for is not in the repository.
    #[error("{wanted} cannot be reached from the backups in {place}: what can be reached is {}", Listed(.reachable))]
    TargetNotReachable {
        /// The repository.
        place: String,
        /// The target.
        wanted: String,
        /// The intervals that can be reached.
        reachable: Vec<ReachableInterval>,
    },
    /// What was asked for is in more than one history.
    #[error("{wanted} is ambiguous: {}; name the incarnation", Listed(.candidates))]
    TargetAmbiguous {
        /// The target.
        wanted: String,
        /// The places that it may mean.
        candidates: Vec<TargetCandidate>,
    },
    /// Two options contradict each other.
    #[error("{0}")]
    InvalidOption(String),
    /// A stream of a repository is not one.
    #[error("this is not a repository in one stream: {0}")]
    BadStream(String),
    /// The operating system refused to read or write the stream.
    #[error("could not {action} the stream: {source}")]
    Stream {
        /// What was tried.
        action: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Something about a file.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Something about a key.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// An interval of one history that a restore can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachableInterval {
    /// The history.
    pub incarnation: Incarnation,
    /// The first state.
    pub first: SequenceNumber,
    /// The last state.
    pub last: SequenceNumber,
    /// The time of the first commit, microseconds since 1970.
    pub first_micros: i64,
    /// The time up to which nothing else was committed, microseconds since 1970.
    pub last_micros: i64,
}

impl fmt::Display for ReachableInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "commits {} to {} of incarnation {} (times {} to {} µs)",
            self.first, self.last, self.incarnation, self.first_micros, self.last_micros
        )
    }
}

/// One of several meanings of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetCandidate {
    /// The history.
    pub incarnation: Incarnation,
    /// The commit in it, where that is known without replaying.
    pub sequence: Option<SequenceNumber>,
}

impl fmt::Display for TargetCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sequence {
            Some(sequence) => write!(f, "commit {sequence} of incarnation {}", self.incarnation),
            None => write!(f, "incarnation {}", self.incarnation),
        }
    }
}

/// Items with commas between them, or "nothing".
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (index, item) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{item}")?;
        }
        Ok(())
    }
}
