//! What an operation can fail with.
//!
//! One enum for the whole library. The text of each error says what failed, where, and what to do about it; its
//! [`kind`](Error::kind) is a short name that stays the same from version to version, for programs that read the
//! text form. No text ever holds a key, a passphrase or a stored value.

mod describe;
pub(crate) mod repository;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_crypto::CryptoError;
use lightning_db_storage::{Incarnation, SequenceNumber, StorageError};

use describe::{Candidates, Reachable};

/// The result of an operation on a database.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Cloning is cheap, so that one failure can be told to all that waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key of length zero.
    #[error("the key is empty: a key has 1 to 65,535 bytes")]
    EmptyKey,
    /// A key of more than 65,535 bytes.
    #[error("the key is too long: a key has 1 to 65,535 bytes; store what is longer in the value")]
    KeyTooLarge,
    /// A value of more than 1 GiB.
    #[error(
        "the value is too large: a value has at most 1,073,741,824 bytes (1 GiB); split it over several keys"
    )]
    ValueTooLarge,
    /// An argument that means nothing.
    #[error("`{argument}` is refused: {reason}")]
    InvalidArgument {
        /// The parameter's name.
        argument: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// An option of the configuration that is out of range or contradicts another one.
    #[error("configuration: `{option}` is refused: {reason}")]
    InvalidConfig {
        /// The field, the key of the configuration file or the environment variable.
        option: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },

    /// A key that this transaction read or wrote was changed by a commit that came first.
    #[error("the transaction conflicts with a commit that came first: begin it again")]
    TransactionConflict,
    /// The transaction was open longer than `transaction_timeout`, and was aborted.
    #[error(
        "the transaction was open longer than `transaction_timeout` and was aborted: begin it again, and keep it shorter"
    )]
    TransactionTimedOut,
    /// No open transaction has this id.
    #[error(
        "no open transaction has this id: it was committed or aborted, or began in another database handle"
    )]
    TransactionNotFound,
    /// A write in a read-only transaction.
    #[error("the transaction is read-only: begin one with `read_only: false` to write")]
    TransactionReadOnly,
    /// What a transaction wrote takes more memory than one may.
    #[error("the transaction wrote more than one transaction may hold: commit in smaller parts")]
    TransactionTooLarge,
    /// `max_active_transactions` transactions are open.
    #[error("too many transactions are open: end some, or raise `max_active_transactions`")]
    TooManyTransactions,
    /// Transactions wait for each other's locks; this one was chosen to give way, and was aborted.
    #[error(
        "the transaction was aborted to break a deadlock: begin it again, and lock keys in one order everywhere"
    )]
    Deadlock,
    /// Another transaction held a lock longer than `lock_timeout`.
    #[error("a lock was not granted within `lock_timeout`: another transaction holds it; try again later")]
    LockTimeout,

    /// The key opens none of the slots. Nothing is damaged.
    #[error("wrong key for {what}: give the key or passphrase that it was made with, or one added later")]
    WrongKey {
        /// What the key was tried on.
        what: String,
    },
    /// The database is encrypted, and no key is configured.
    #[error("{what} is encrypted and no key was given: set `encryption_enabled` and `encryption_key`")]
    KeyRequired {
        /// What needs the key.
        what: String,
    },
    /// A key is configured, and the database is not encrypted.
    #[error(
        "a key was given, but {what} is not encrypted: make sure that it is the database you mean; \
         if it is, open it without a key"
    )]
    NotEncrypted {
        /// What is not encrypted.
        what: String,
    },
    /// The place a key should come from holds none that can be used.
    #[error("no usable key from {origin}: {reason}")]
    InvalidKey {
        /// Where the key was to come from; never the key.
        origin: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A key provider (a program, a key service) failed.
    #[error("the key provider {provider} failed: {reason}")]
    KeyProvider {
        /// The provider's name.
        provider: String,
        /// What it said.
        reason: String,
    },
    /// A key service or an HSM does not answer, or not in time. Nothing was changed.
    #[error(
        "{provider} cannot be reached: {reason}; nothing was changed, so try again when it can be reached"
    )]
    KeyUnreachable {
        /// The provider; never a secret.
        provider: String,
        /// What was tried, for how long, and what came of it.
        reason: String,
    },
    /// A key service or an HSM will not serve: a wrong PIN, a bad access token, no permission.
    #[error("{provider} refuses: {reason}")]
    KeyRefused {
        /// The provider; never a secret.
        provider: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A key service or an HSM has no such key.
    #[error("{provider} has no such key: {reason}")]
    NoSuchKey {
        /// The provider; never a secret.
        provider: String,
        /// Which key, and what to do.
        reason: String,
    },
    /// The key is there, and a key service or an HSM does not let it be used now.
    #[error("the key of {provider} is disabled: {reason}")]
    KeyDisabled {
        /// The provider; never a secret.
        provider: String,
        /// In which way, and what to do.
        reason: String,
    },
    /// What a key service or an HSM should unwrap is not what it wrapped, or it gave back another key.
    #[error(
        "what {provider} wrapped was tampered with: {reason}; restore the keyring from a backup, or use another key slot"
    )]
    KeyTampered {
        /// The provider; never a secret.
        provider: String,
        /// What did not match.
        reason: String,
    },
    /// The key that a key service or an HSM wrapped belongs to another database.
    #[error("{what} is of another database: make sure that the keyring is the database's own")]
    WrongDatabase {
        /// Which wrapped key, and the two databases.
        what: String,
    },
    /// The only key slot cannot be removed.
    #[error("this is the only key that opens the database: add another one before removing it")]
    LastKeySlot,
    /// The cipher or the source of random bytes does not work.
    #[error("cryptography failed: {reason}")]
    Crypto {
        /// What did not work.
        reason: String,
    },

    /// Bytes on disk are not those that were written.
    #[error("{} is damaged at byte {offset}: {what}; restore the database from a backup", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file the damaged part begins.
        offset: u64,
        /// What was expected there.
        what: String,
    },
    /// The database is older than the freshness anchor remembers, or another one: its directory was put back. Nothing is
    /// damaged.
    #[error(
        "{} was put back to an older state, or exchanged ({what}): find out by whom; if it was done on purpose, open it once with \
         `freshness_policy` ignore",
        directory.display()
    )]
    RolledBack {
        /// The database's directory.
        directory: PathBuf,
        /// How far it is, and how far it was.
        what: String,
    },
    /// A file of a format that this version does not know.
    #[error("{} cannot be read by this version: {what}; use the version that wrote it, or a newer one", file.display())]
    UnsupportedFormat {
        /// The file.
        file: PathBuf,
        /// The version or feature that is not known.
        what: String,
    },
    /// The file system has no room left. Nothing that was acknowledged is lost, and reads and deletes go on.
    #[error("no space left for {}: free some space and try again; nothing that was committed is lost", path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The operating system refused a file operation.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: Arc<io::Error>,
    },
    /// Another process, or another handle in this one, has the database open.
    #[error("{} is in use by another process or handle: close that one first", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Something of this name is there already; it was left as it is.
    #[error("{what} already exists and was left as it is: choose another name or place")]
    AlreadyExists {
        /// The file, directory, restore point or checkpoint.
        what: String,
    },
    /// Something that was asked for is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// The file, directory, backup, restore point or checkpoint.
        what: String,
    },
    /// An earlier write or sync failed. Reads go on; nothing can be written until the database is opened again.
    #[error("writing stopped after an earlier failure ({first}): close the database and open it again")]
    Poisoned {
        /// The text of the first failure.
        first: String,
    },
    /// Moving data to the current data key makes no progress, for now. Nothing is lost.
    #[error("{what}, and what moved stays: try again when less is going on")]
    Stalled {
        /// What is left.
        what: String,
    },
    /// A write to a database that was opened read-only.
    #[error("the database was opened read-only: open it with `Database::open` to change it")]
    ReadOnly,
    /// The database was closed.
    #[error("the database is closed: open it again")]
    Closed,
    /// The operation was asked to stop.
    #[error("the operation was cancelled")]
    Cancelled,

    /// The repository holds another continuation of this history: two copies of one database were both written to.
    #[error(
        "the backup repository {repository} holds a history that this database does not continue ({reason}): \
         back up into a new repository"
    )]
    Diverged {
        /// The repository's place.
        repository: String,
        /// Where the two part.
        reason: String,
    },
    /// No history that was kept contains the moment asked for. Another moment is never taken in its place.
    #[error("{target} cannot be reached: {reason}; {}", Reachable(intervals))]
    TargetNotReachable {
        /// The target, in words.
        target: String,
        /// Why it cannot be reached.
        reason: String,
        /// What can be reached, in order.
        intervals: Vec<ReachableInterval>,
    },
    /// Several histories, or several moments of one, fit the target.
    #[error("{target} is ambiguous: choose one of {}", Candidates(candidates))]
    TargetAmbiguous {
        /// The target, in words.
        target: String,
        /// The moments that fit.
        candidates: Vec<TargetCandidate>,
    },
}

/// A stretch of one history whose every commit can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachableInterval {
    /// The history.
    pub incarnation: Incarnation,
    /// The first commit.
    pub first: SequenceNumber,
    /// The last commit.
    pub last: SequenceNumber,
    /// The first commit's wall time, in microseconds since 1970 (UTC).
    pub first_micros: i64,
    /// The last commit's wall time, in microseconds since 1970 (UTC).
    pub last_micros: i64,
}

/// One of several moments that a target can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetCandidate {
    /// The history.
    pub incarnation: Incarnation,
    /// The last commit that the restored database would hold; `None` for a time that several histories have.
    pub sequence: Option<SequenceNumber>,
    /// That commit's wall time, in microseconds since 1970 (UTC), if it is known.
    pub micros: Option<i64>,
}

impl Error {
    /// A short name of the variant, in `snake_case`. It stays the same from version to version.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EmptyKey => "empty_key",
            Self::KeyTooLarge => "key_too_large",
            Self::ValueTooLarge => "value_too_large",
            Self::InvalidArgument { .. } => "invalid_argument",
            Self::InvalidConfig { .. } => "invalid_config",
            Self::TransactionConflict => "transaction_conflict",
            Self::TransactionTimedOut => "transaction_timed_out",
            Self::TransactionNotFound => "transaction_not_found",
            Self::TransactionReadOnly => "transaction_read_only",
            Self::TransactionTooLarge => "transaction_too_large",
            Self::TooManyTransactions => "too_many_transactions",
            Self::Deadlock => "deadlock",
            Self::LockTimeout => "lock_timeout",
            Self::WrongKey { .. } => "wrong_key",
            Self::KeyRequired { .. } => "key_required",
            Self::NotEncrypted { .. } => "not_encrypted",
            Self::InvalidKey { .. } => "invalid_key",
            Self::KeyProvider { .. } => "key_provider",
            Self::KeyUnreachable { .. } => "key_unreachable",
            Self::KeyRefused { .. } => "key_refused",
            Self::NoSuchKey { .. } => "no_such_key",
            Self::KeyDisabled { .. } => "key_disabled",
            Self::KeyTampered { .. } => "key_tampered",
            Self::WrongDatabase { .. } => "wrong_database",
            Self::LastKeySlot => "last_key_slot",
            Self::Crypto { .. } => "crypto",
            Self::Corrupt { .. } => "corrupt",
            Self::RolledBack { .. } => "rolled_back",
            Self::UnsupportedFormat { .. } => "unsupported_format",
            Self::DiskFull { .. } => "disk_full",
            Self::Io { .. } => "io",
            Self::Locked { .. } => "locked",
            Self::AlreadyExists { .. } => "already_exists",
            Self::NotFound { .. } => "not_found",
            Self::Poisoned { .. } => "poisoned",
            Self::Stalled { .. } => "stalled",
            Self::ReadOnly => "read_only",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
            Self::Diverged { .. } => "diverged",
            Self::TargetNotReachable { .. } => "target_not_reachable",
            Self::TargetAmbiguous { .. } => "target_ambiguous",
        }
    }

    /// Whether the data or the key did not prove genuine: damage, or a wrong, missing or unusable key.
    #[must_use]
    pub fn is_integrity(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::RolledBack { .. }
                | Self::WrongKey { .. }
                | Self::KeyRequired { .. }
                | Self::NotEncrypted { .. }
                | Self::InvalidKey { .. }
                | Self::KeyProvider { .. }
                | Self::KeyRefused { .. }
                | Self::NoSuchKey { .. }
                | Self::KeyDisabled { .. }
                | Self::KeyTampered { .. }
                | Self::WrongDatabase { .. }
                | Self::Crypto { .. }
        )
    }

    /// Whether what was asked for is not there, or cannot be reached.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::TargetNotReachable { .. } | Self::TargetAmbiguous { .. })
    }

    /// Whether the same transaction, begun again, may well succeed.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::TransactionConflict | Self::Deadlock | Self::LockTimeout)
    }

    /// Damage found in a file.
    pub(crate) fn corrupt(file: impl AsRef<Path>, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.as_ref().to_path_buf(), offset, what: what.into() }
    }

    /// A refused option.
    pub(crate) fn config(option: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidConfig { option: option.into(), reason: reason.into() }
    }

    /// A cryptographic error met while reading `file`: damage names the file, a wrong key what it belongs to.
    pub(crate) fn from_crypto(error: CryptoError, file: &Path) -> Self {
        match error {
            CryptoError::Malformed { what, reason } => Self::corrupt(file, 0, format!("{what}: {reason}")),
            CryptoError::OpenFailed => Self::corrupt(file, 0, "what is sealed there does not open"),
            CryptoError::UnsupportedVersion { found, supported } => Self::UnsupportedFormat {
                file: file.to_path_buf(),
                what: format!("its format is version {found}, the newest known is {supported}"),
            },
            CryptoError::UnsupportedFeatures(bits) => Self::UnsupportedFormat {
                file: file.to_path_buf(),
                what: format!("it uses features that are not known (bits {bits:#x})"),
            },
            CryptoError::WrongKey { what } => Self::WrongKey { what: format!("{} ({what})", file.display()) },
            CryptoError::KeyRequired => Self::KeyRequired { what: file.display().to_string() },
            CryptoError::NotEncrypted => Self::NotEncrypted { what: file.display().to_string() },
            CryptoError::InvalidKey { source_name, reason } => {
                Self::InvalidKey { origin: source_name, reason }
            }
            CryptoError::Provider { name, reason } => Self::KeyProvider { provider: name, reason },
            CryptoError::Unreachable { provider, reason } => Self::KeyUnreachable { provider, reason },
            CryptoError::Refused { provider, reason } => Self::KeyRefused { provider, reason },
            CryptoError::NoSuchKey { provider, reason } => Self::NoSuchKey { provider, reason },
            CryptoError::KeyDisabled { provider, reason } => Self::KeyDisabled { provider, reason },
            CryptoError::Tampered { provider, reason } => Self::KeyTampered { provider, reason },
            CryptoError::WrongDatabase { provider, wrapped_for, database } => Self::WrongDatabase {
                what: format!(
                    "{}: the key that {provider} wrapped is that of {wrapped_for}, not of {database}; it",
                    file.display()
                ),
            },
            CryptoError::SlotNotFound(slot) => Self::NotFound { what: format!("key slot {slot}") },
            CryptoError::DuplicateLabel(label) => {
                Self::AlreadyExists { what: format!("a key slot labelled {label:?}") }
            }
            CryptoError::LastSlot => Self::LastKeySlot,
            CryptoError::SlotsLeft(_) => {
                Self::InvalidArgument { argument: "keys", reason: error.to_string() }
            }
            CryptoError::EpochIsCurrent(_) => {
                Self::InvalidArgument { argument: "epoch", reason: error.to_string() }
            }
            CryptoError::Io { path, source } => {
                Self::InvalidKey { origin: path.display().to_string(), reason: source.to_string() }
            }
            other => Self::Crypto { reason: other.to_string() },
        }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io { action, path, source } => Self::Io { action, path, source: Arc::new(source) },
            StorageError::DiskFull { path } => Self::DiskFull { path },
            StorageError::Corrupt { file, offset, what } => Self::Corrupt { file, offset, what },
            StorageError::UnsupportedFormat { file, what } => Self::UnsupportedFormat { file, what },
            StorageError::Locked { path } => Self::Locked { path },
            StorageError::AlreadyExists { path } => Self::AlreadyExists { what: path.display().to_string() },
            StorageError::NotFound { path } => Self::NotFound { what: path.display().to_string() },
            StorageError::Poisoned { first } => Self::Poisoned { first },
            StorageError::Cancelled => Self::Cancelled,
            StorageError::Crypto(error) => error.into(),
            other => Self::Io {
                action: "work with",
                path: PathBuf::from("the database"),
                source: Arc::new(io::Error::other(other)),
            },
        }
    }
}

/// Where no file is known, the error is about the database's keyring, the only thing that is opened before one is.
impl From<CryptoError> for Error {
    fn from(error: CryptoError) -> Self {
        Self::from_crypto(error, Path::new("the database's keyring"))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_wrong_key_stays_a_wrong_key_and_damage_stays_damage() {
        let wrong = Error::from(StorageError::Crypto(CryptoError::WrongKey { what: "slot".into() }));
        assert!(matches!(wrong, Error::WrongKey { .. }));
        assert!(wrong.is_integrity());

        let malformed = CryptoError::Malformed { what: "keyring", reason: "checksum".into() };
        let Error::Corrupt { file, offset: 0, what } =
            Error::from_crypto(malformed, Path::new("/db/keyring"))
        else {
            panic!("a damaged keyring is corrupt");
        };
        assert_eq!(file, Path::new("/db/keyring"));
        assert!(what.contains("checksum"));
        assert!(matches!(Error::from(CryptoError::OpenFailed), Error::Corrupt { .. }));
        assert!(matches!(Error::from(CryptoError::KeyRequired), Error::KeyRequired { .. }));
        assert!(matches!(Error::from(CryptoError::NotEncrypted), Error::NotEncrypted { .. }));
    }

    #[test]
    fn storage_errors_keep_their_place() {
        let full = StorageError::io("write", "/db/1.wal", io::ErrorKind::StorageFull.into());
        assert!(matches!(Error::from(full), Error::DiskFull { path } if path == Path::new("/db/1.wal")));

        let denied =
            Error::from(StorageError::io("open", "/db/2.run", io::ErrorKind::PermissionDenied.into()));
        assert!(denied.to_string().starts_with("could not open /db/2.run: "));
        assert!(denied.source().is_some());

        let missing = Error::from(StorageError::io("open", "/db", io::ErrorKind::NotFound.into()));
        assert!(missing.is_not_found());
        assert!(missing.to_string().contains("/db"));
    }

    #[test]
    fn the_text_names_what_can_be_reached() {
        let error = Error::TargetNotReachable {
            target: "sequence 9".into(),
            reason: "the log was kept up to 7".into(),
            intervals: vec![ReachableInterval {
                incarnation: Incarnation([0xab; 16]),
                first: SequenceNumber(3),
                last: SequenceNumber(7),
                first_micros: 0,
                last_micros: 1_359_612_900_000_001,
            }],
        };
        let text = error.to_string();
        assert!(
            text.contains("sequence 3 to 7 (1970-01-01T00:00:00.000000Z to 2013-01-31T06:15:00.000001Z)"),
            "{text}"
        );
        assert!(error.is_not_found());
    }

    #[test]
    fn what_the_documented_patterns_match() {
        let retry = |error: Error| matches!(error, Error::TransactionConflict);
        assert!(retry(Error::TransactionConflict) && Error::TransactionConflict.is_conflict());
        assert!(!retry(Error::KeyTooLarge));
    }
}
