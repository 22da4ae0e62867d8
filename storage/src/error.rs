//! What can go wrong below the engine, and where.

use std::io;
use std::path::{Path, PathBuf};

use lightning_db_crypto::CryptoError;

/// The result of an operation on the database's files.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// An error of the storage layer. Every one names the file it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused a file operation.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "sync".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file system has no room left.
    #[error("no space left for {}: free some space, or delete data; nothing was lost", path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Bytes on disk are not those that were written.
    #[error("{} is damaged at byte {offset}: {what}; restore it from a backup", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file the damaged part begins.
        offset: u64,
        /// What was expected there.
        what: String,
    },
    /// The file belongs to a format that this version does not know.
    #[error("{} cannot be read by this version: {what}; open it with the version that wrote it, or a newer one", file.display())]
    UnsupportedFormat {
        /// The file.
        file: PathBuf,
        /// The version or feature that is not known.
        what: String,
    },
    /// Another handle has the database open.
    #[error("{} is in use by another process or handle: close that one first", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Something is already there.
    #[error("{} already exists", path.display())]
    AlreadyExists {
        /// The file or directory.
        path: PathBuf,
    },
    /// Something that should be there is not.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The file or directory.
        path: PathBuf,
    },
    /// An earlier write or sync failed, and nothing can be written until the database is opened again.
    #[error("writing stopped after an earlier failure ({first}): close the database and open it again")]
    Poisoned {
        /// The text of the first failure.
        first: String,
    },
    /// The process was forked while a file was being written, and only the parent may go on writing it.
    #[error("{} is being written by the parent of this process: open the database anew in the child", file.display())]
    Forked {
        /// The file.
        file: PathBuf,
    },
    /// The operation was asked to stop.
    #[error("the operation was cancelled")]
    Cancelled,
    /// A key is missing or wrong, or the cipher failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl StorageError {
    /// Gives an operating-system error its place. A full disk, a missing and an existing file become variants of their own.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// The error of opening a file that the manifest names: when it is missing, that is damage, and not the answer that
    /// what was looked for does not exist.
    #[must_use]
    pub fn of_named_file(self) -> Self {
        match self {
            Self::NotFound { path } => Self::corrupt(path, 0, "it is missing"),
            other => other,
        }
    }

    /// Damage found in a file.
    pub fn corrupt(file: impl AsRef<Path>, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.as_ref().to_path_buf(), offset, what: what.into() }
    }
}
