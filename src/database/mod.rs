//! The public face of a database. It checks and delegates; the work is done in the folders beside.

pub(crate) mod checkpoints;
mod keys;
mod read;
mod stats;
mod transaction;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use lightning_db_storage::SequenceNumber;

use crate::batch::WriteBatch;
use crate::config::LightningDbConfig;
use crate::engine::{Engine, Op};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::observe::Operation;
use crate::transaction::Transactions;

/// An open database.
///
/// It can be used from any number of threads at once. Only one handle in one process has a database open for writing.
/// When it is dropped it is closed; [`close`](Self::close) does it earlier, and returns what went wrong.
///
/// ```
/// use lightning_db::{Database, LightningDbConfig};
///
/// # fn main() -> lightning_db::Result<()> {
/// # let directory = tempfile::tempdir().expect("a temporary directory");
/// # let path = directory.path().join("mydb");
/// let db = Database::create(&path, LightningDbConfig::default())?;
/// db.put(b"key", b"value")?;
/// assert_eq!(db.get(b"key")?.as_deref(), Some(&b"value"[..]));
/// db.delete(b"key")?;
/// assert_eq!(db.get(b"key")?, None);
/// db.close()?;
/// # Ok(())
/// # }
/// ```
pub struct Database {
    pub(crate) engine: Arc<Engine>,
    pub(crate) transactions: Transactions,
}

impl Database {
    /// Creates a database in a directory that does not exist, or is empty.
    ///
    /// # Errors
    /// `AlreadyExists` when anything is there: nothing is ever overwritten. `InvalidConfig`, errors of the key source and
    /// of writing files; nothing is left behind then.
    pub fn create(path: impl AsRef<Path>, config: LightningDbConfig) -> Result<Arc<Self>> {
        Self::create_in(Environment::default(), path, config)
    }

    /// As [`create`](Self::create), in an environment of the caller's choice.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_in(
        environment: Environment,
        path: impl AsRef<Path>,
        config: LightningDbConfig,
    ) -> Result<Arc<Self>> {
        Engine::create(path.as_ref(), config, environment).map(Self::of)
    }

    /// Opens a database for reading and writing. What a crash interrupted is put right: every acknowledged commit is
    /// there (see [`WalSyncMode`](crate::WalSyncMode) for what that means after a power cut), and no part of any other.
    ///
    /// # Errors
    /// `NotFound`; `Locked` when it is open for writing already; `WrongKey`, `KeyRequired`, `NotEncrypted`; `Corrupt` with
    /// the file and the place; `UnsupportedFormat`; `DiskFull` and other errors of writing files. Nothing that was
    /// committed is lost by any of them.
    pub fn open(path: impl AsRef<Path>, config: LightningDbConfig) -> Result<Arc<Self>> {
        Self::open_in(Environment::default(), path, config)
    }

    /// As [`open`](Self::open), in an environment of the caller's choice.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(
        environment: Environment,
        path: impl AsRef<Path>,
        config: LightningDbConfig,
    ) -> Result<Arc<Self>> {
        Engine::open(path.as_ref(), config, environment).map(Self::of)
    }

    /// Opens a database for reading, as it is at this moment. Nothing is written, so it works on a full disk and on a
    /// read-only file system. Others may open the same database later, for reading or writing; what they change is not
    /// seen here.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(path: impl AsRef<Path>, config: LightningDbConfig) -> Result<Arc<Self>> {
        Self::open_read_only_in(Environment::default(), path, config)
    }

    /// As [`open_read_only`](Self::open_read_only), in an environment of the caller's choice.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only_in(
        environment: Environment,
        path: impl AsRef<Path>,
        config: LightningDbConfig,
    ) -> Result<Arc<Self>> {
        Engine::open_read_only(path.as_ref(), config, environment).map(Self::of)
    }

    fn of(engine: Arc<Engine>) -> Arc<Self> {
        Arc::new(Self { transactions: Transactions::new(&engine), engine })
    }

    /// Commits outside of any transaction. Where transactions lock what they write, so does this.
    fn commit(&self, operation: Operation, ops: &[Op<'_>]) -> Result<SequenceNumber> {
        let _timer = self.engine.metrics.start_many(operation, ops.len());
        let _locks = self.transactions.lock_for_writes(ops)?;
        self.engine.commit(ops, None)
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// `EmptyKey`, `KeyTooLarge` (more than 65,535 bytes), `ValueTooLarge` (more than 1 GiB), `ReadOnly`, `Closed`;
    /// `DiskFull`, after which deleting and reading go on; `Poisoned` after an earlier failure of the disk. With
    /// `use_optimized_transactions` off, a transaction's lock of the key is waited for: `LockTimeout`, `Deadlock`. Nothing
    /// else is in the way of a write outside of any transaction.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.commit(Operation::Write, &[Op::put(key, value)]).map(drop)
    }

    /// Removes `key`. It is no error if it is not there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.commit(Operation::Delete, &[Op::delete(key)]).map(drop)
    }

    /// Sets all these keys, in one commit: all or none, also after a crash. Of several values for one key the last one
    /// counts.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_batch(&self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let ops: Vec<Op<'_>> = items.iter().map(|(key, value)| Op::put(key, value)).collect();
        self.commit(Operation::Write, &ops).map(drop)
    }

    /// Removes all these keys, in one commit.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete_batch(&self, keys: &[Vec<u8>]) -> Result<()> {
        let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::delete(key)).collect();
        self.commit(Operation::Delete, &ops).map(drop)
    }

    /// Commits puts and deletions as one, and returns the commit's sequence number: the target with which a restore goes
    /// back to just after it. An empty batch commits nothing, and returns the number of the newest commit.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn write(&self, batch: &WriteBatch) -> Result<SequenceNumber> {
        self.commit(Operation::Write, &batch.ops())
    }

    /// The sequence number of the newest commit; 0 when there is none yet.
    #[must_use]
    pub fn last_sequence(&self) -> SequenceNumber {
        self.engine.versions.published()
    }

    /// When this returns, everything committed before the call is in synced files, whatever `wal_sync_mode` says.
    ///
    /// # Errors
    /// `DiskFull` and other errors of writing files, `ReadOnly`, `Closed`.
    pub fn checkpoint(&self) -> Result<()> {
        self.require_writable()?;
        self.engine.flush_all()
    }

    /// Merges all sorted files into one tree and gives the space of what was overwritten or deleted back. Reads and
    /// writes go on meanwhile.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint); the database is as it was then.
    pub fn compact(&self) -> Result<()> {
        self.require_writable()?;
        self.engine.compact()
    }

    /// Drops about this share, 0.0 to 1.0, of what is cached, the coldest first, and returns how many bytes that were.
    ///
    /// # Errors
    /// `InvalidArgument` for any other share.
    pub fn evict_cache(&self, share: f64) -> Result<usize> {
        if !(0.0..=1.0).contains(&share) {
            let reason = format!("{share} is not from 0.0 to 1.0");
            return Err(Error::InvalidArgument { argument: "share", reason });
        }
        Ok(self.engine.caches.evict_fraction(share))
    }

    /// Gives the present moment a name, which a restore can go to. It is durable when this returns. Returns the newest
    /// commit before it.
    ///
    /// # Errors
    /// `AlreadyExists` for a name in use, `InvalidArgument` for an empty one or one of more than 255 bytes; those of
    /// [`put`](Self::put).
    pub fn create_restore_point(&self, name: &str) -> Result<SequenceNumber> {
        self.require_writable()?;
        checkpoints::check_name(name)?;
        self.engine.create_restore_point(name).map(|point| point.sequence)
    }

    /// Writes out everything and closes the database. Snapshots and iterators return `Closed` from then on. Called
    /// again, also meanwhile, it returns what the first call does, and when that does.
    ///
    /// # Errors
    /// The first error of writing files. Commits are in the log then, and the next open finds them. `Poisoned` after an
    /// earlier failure: of what was acknowledged without being synced the next open may find a part only.
    pub fn close(&self) -> Result<()> {
        self.transactions.close();
        self.engine.close()
    }

    pub(crate) fn require_writable(&self) -> Result<()> {
        if self.engine.read_only {
            return Err(Error::ReadOnly);
        }
        self.engine.health.check()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Whoever closed it was told.
        if !self.engine.health.is_closed()
            && let Err(error) = self.close()
        {
            tracing::error!(%error, "the database could not be closed cleanly; the next open replays the log");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("directory", &self.engine.ctx.directory).finish_non_exhaustive()
    }
}
