//! Checkpoints: a moment kept inside the database, or as a copy of it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lightning_db_storage::manifest::NamedCheckpoint;
use lightning_db_storage::{Incarnation, SequenceNumber};

use super::Database;
use crate::error::{Error, Result};
use crate::read::Snapshot;

/// A state of the database that is kept by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its name.
    pub name: String,
    /// The newest commit in it.
    pub sequence: SequenceNumber,
    /// When it was made.
    pub time: SystemTime,
    /// The history that it belongs to.
    pub incarnation: Incarnation,
}

impl Database {
    /// Makes an openable copy of the database as it is now in `directory`, which must not exist. Files are linked, not
    /// copied, where both are on one file system, so it takes little time and room. The copy has the same keys, and is a
    /// history of its own from here on.
    ///
    /// ```
    /// use lightning_db::{Database, LightningDbConfig};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let (path, copy) = (directory.path().join("mydb"), directory.path().join("copy"));
    /// let db = Database::create(&path, LightningDbConfig::default())?;
    /// db.put(b"key", b"then")?;
    /// db.create_checkpoint(&copy)?;
    /// db.put(b"key", b"now")?;
    /// let copy = Database::open(&copy, LightningDbConfig::default())?;
    /// assert_eq!(copy.get(b"key")?.as_deref(), Some(&b"then"[..]));
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// `AlreadyExists`; `ReadOnly`, `Closed`; `DiskFull` and other errors of writing files: nothing is left behind then.
    pub fn create_checkpoint(&self, directory: impl AsRef<Path>) -> Result<()> {
        self.require_writable()?;
        self.engine.create_checkpoint(directory.as_ref())
    }

    /// Keeps the database as it is now under a name, inside the database. It takes room as what it holds is changed.
    ///
    /// # Errors
    /// `AlreadyExists` for a name in use, `InvalidArgument` for an empty one or one of more than 255 bytes; `ReadOnly`,
    /// `Closed`; errors of writing files.
    pub fn create_named_checkpoint(&self, name: &str) -> Result<CheckpointInfo> {
        self.require_writable()?;
        check_name(name)?;
        self.engine.create_named_checkpoint(name).map(|checkpoint| info(&checkpoint))
    }

    /// The named checkpoints, oldest first.
    #[must_use]
    pub fn named_checkpoints(&self) -> Vec<CheckpointInfo> {
        self.engine.catalog.read(|manifest| manifest.checkpoints.iter().map(info).collect())
    }

    /// A named checkpoint, for reading. It stays readable if the name is dropped meanwhile.
    ///
    /// # Errors
    /// `NotFound`, `Closed`, `Corrupt` and other errors of reading files.
    pub fn open_named_checkpoint(&self, name: &str) -> Result<Snapshot> {
        if self.engine.health.is_closed() {
            return Err(Error::Closed);
        }
        let view = self.engine.named_checkpoint_view(name)?;
        Ok(Snapshot::new(&self.engine.reader, view))
    }

    /// Goes back to a named checkpoint, which stays, and returns the sequence number of this step: the newest commit from
    /// then on. A new history begins with it, whose parent is that of the checkpoint. What was committed since the
    /// checkpoint is given up here; a repository that has the log of it, or gets it with the next backup, can still
    /// restore it. Transactions that are open end in a conflict; snapshots go on showing what they showed.
    ///
    /// # Errors
    /// `NotFound`, `ReadOnly`, `Closed`, and those of reading and writing files. After a failure half-way nothing more can
    /// be written, and the next open finds either the old state or the checkpoint's, whole.
    pub fn rollback_to(&self, name: &str) -> Result<SequenceNumber> {
        self.require_writable()?;
        self.engine.rollback_to(name)
    }

    /// Forgets a named checkpoint, and gives back the room that only it took.
    ///
    /// # Errors
    /// `NotFound`, `ReadOnly`, `Closed`, errors of writing files.
    pub fn drop_named_checkpoint(&self, name: &str) -> Result<()> {
        self.require_writable()?;
        self.engine.drop_named_checkpoint(name)
    }
}

/// Refuses names that nobody could tell apart or store.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > lightning_db_storage::manifest::MAX_NAME_LEN {
        let reason = "a name has 1 to 255 bytes".to_owned();
        return Err(Error::InvalidArgument { argument: "name", reason });
    }
    Ok(())
}

fn info(checkpoint: &NamedCheckpoint) -> CheckpointInfo {
    let since_1970 = Duration::from_micros(checkpoint.time_micros.unsigned_abs());
    let time = if checkpoint.time_micros < 0 {
        UNIX_EPOCH.checked_sub(since_1970)
    } else {
        UNIX_EPOCH.checked_add(since_1970)
    };
    CheckpointInfo {
        name: checkpoint.name.clone(),
        sequence: checkpoint.sequence,
        time: time.unwrap_or(UNIX_EPOCH),
        incarnation: checkpoint.incarnation,
    }
}
