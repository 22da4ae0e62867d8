//! A transaction that is over at the end of its scope.

use std::fmt;

use super::TransactionId;
use super::manager::Transactions;
use super::scan::TransactionIterator;
use crate::error::Result;
use crate::read::KeyRange;

/// An open transaction of a [`Database`](crate::Database). Dropped without [`commit`](Self::commit), it is aborted, and
/// nothing that it wrote was ever seen by others.
///
/// ```
/// # use lightning_db::{Database, LightningDbConfig};
/// # let dir = tempfile::tempdir()?;
/// # let db = Database::create(dir.path().join("db"), LightningDbConfig::default())?;
/// let tx = db.transaction()?;
/// tx.put(b"from", b"90")?;
/// tx.put(b"to", b"110")?;
/// assert_eq!(tx.get(b"from")?.as_deref(), Some(&b"90"[..]));
/// assert_eq!(db.get(b"from")?, None);
/// tx.commit()?;
/// assert_eq!(db.get(b"from")?.as_deref(), Some(&b"90"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'db> {
    transactions: &'db Transactions,
    id: TransactionId,
    is_over: bool,
}

impl<'db> Transaction<'db> {
    pub(crate) fn new(transactions: &'db Transactions, id: TransactionId) -> Self {
        Self { transactions, id, is_over: false }
    }

    /// The number under which `put_tx`, `get_tx` and their like know this transaction.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// The value of `key` as this transaction sees it, its own writes included.
    ///
    /// # Errors
    /// See [`Database::get_tx`](crate::Database::get_tx).
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.transactions.get(self.id, key)
    }

    /// Writes `value` under `key`.
    ///
    /// # Errors
    /// See [`Database::put_tx`](crate::Database::put_tx).
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.transactions.write(self.id, key, Some(value))
    }

    /// Deletes `key`, whether it is there or not.
    ///
    /// # Errors
    /// See [`Database::put_tx`](crate::Database::put_tx).
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.transactions.write(self.id, key, None)
    }

    /// The entries from `start`, inclusive, to `end`, exclusive; `None` is unbounded.
    ///
    /// # Errors
    /// See [`Database::scan_tx`](crate::Database::scan_tx).
    pub fn scan(&self, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<TransactionIterator> {
        self.transactions.scan(self.id, KeyRange::new(start, end))
    }

    /// The entries whose keys begin with `prefix`.
    ///
    /// # Errors
    /// See [`Database::scan_tx`](crate::Database::scan_tx).
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<TransactionIterator> {
        self.transactions.scan(self.id, KeyRange::prefix(prefix))
    }

    /// Commits everything that was written, as one.
    ///
    /// # Errors
    /// See [`Database::commit_transaction`](crate::Database::commit_transaction).
    pub fn commit(mut self) -> Result<()> {
        self.is_over = true;
        self.transactions.commit(self.id).map(drop)
    }

    /// Forgets everything that was written.
    ///
    /// # Errors
    /// See [`Database::abort_transaction`](crate::Database::abort_transaction).
    pub fn abort(mut self) -> Result<()> {
        self.is_over = true;
        self.transactions.abort(self.id)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // It may have timed out: aborted it is in any case.
            let _ = self.transactions.abort(self.id);
        }
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("id", &self.id).finish_non_exhaustive()
    }
}
