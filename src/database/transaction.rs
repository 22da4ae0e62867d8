//! Transactions of a database, by number and by scope.

use lightning_db_storage::SequenceNumber;

use super::Database;
use crate::config::TransactionOptions;
use crate::error::Result;
use crate::read::KeyRange;
use crate::transaction::{Mode, Retries, Transaction, TransactionId, TransactionIterator};

impl Database {
    /// Begins a transaction that reads the database as it is now and may write (snapshot isolation). End it with
    /// [`commit_transaction`](Self::commit_transaction) or [`abort_transaction`](Self::abort_transaction); after
    /// `transaction_timeout` it is aborted.
    ///
    /// # Errors
    /// `TooManyTransactions` when `max_active_transactions` are open; `Closed`.
    pub fn begin_transaction(&self) -> Result<TransactionId> {
        self.begin_transaction_with_options(TransactionOptions::default())
    }

    /// Begins a transaction that reads and writes as `options` say.
    ///
    /// # Errors
    /// As [`begin_transaction`](Self::begin_transaction).
    pub fn begin_transaction_with_options(&self, options: TransactionOptions) -> Result<TransactionId> {
        self.transactions.begin(options.into())
    }

    /// Begins a transaction that commits only if everything it read is still so then: keys, whether they were there or
    /// not, and the ranges that its scans went through. Transactions of this kind have the effect of running one after
    /// another.
    ///
    /// # Errors
    /// As [`begin_transaction`](Self::begin_transaction).
    pub fn begin_serializable_transaction(&self) -> Result<TransactionId> {
        self.transactions.begin(Mode::SERIALIZABLE)
    }

    /// Writes `value` under `key` in a transaction. Others see it once the transaction is committed.
    ///
    /// What all open transactions together hold in memory is limited to 32 MiB. Values of 64 KiB or more do not count:
    /// they are kept in files. With `use_optimized_transactions` off the key is locked until the transaction ends, and
    /// another transaction's lock is waited for.
    ///
    /// # Errors
    /// - `EmptyKey`, `KeyTooLarge`, `ValueTooLarge`, `TransactionReadOnly`, `ReadOnly`, `TransactionTooLarge`: nothing
    ///   was written, and the transaction goes on.
    /// - `LockTimeout`: a lock was not free within `lock_timeout`. Nothing was written, and the transaction goes on.
    /// - `Deadlock`, `TransactionConflict`: the transaction is aborted. Begin it again.
    /// - `TransactionTimedOut`, `TransactionNotFound`.
    pub fn put_tx(&self, tx_id: TransactionId, key: &[u8], value: &[u8]) -> Result<()> {
        self.transactions.write(tx_id, key, Some(value))
    }

    /// Deletes `key` in a transaction, whether it is there or not.
    ///
    /// # Errors
    /// As [`put_tx`](Self::put_tx).
    pub fn delete_tx(&self, tx_id: TransactionId, key: &[u8]) -> Result<()> {
        self.transactions.write(tx_id, key, None)
    }

    /// The value of `key` as the transaction sees it, its own writes included.
    ///
    /// # Errors
    /// `TransactionTimedOut`, `TransactionNotFound`; `TransactionTooLarge` when a serializable transaction has read more
    /// than can be remembered; those of [`get`](Self::get).
    pub fn get_tx(&self, tx_id: TransactionId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.transactions.get(tx_id, key)
    }

    /// The entries from `start`, inclusive, to `end`, exclusive, as the transaction sees them, its own writes included;
    /// `None` is unbounded.
    ///
    /// # Errors
    /// As [`get_tx`](Self::get_tx).
    pub fn scan_tx(
        &self,
        tx_id: TransactionId,
        start: Option<&[u8]>,
        end: Option<&[u8]>,
    ) -> Result<TransactionIterator> {
        self.transactions.scan(tx_id, KeyRange::new(start, end))
    }

    /// Commits everything that a transaction wrote, as one. The transaction is over then, whatever comes back.
    ///
    /// # Errors
    /// `TransactionConflict` when a commit since the transaction began forbids it: nothing was written, begin it again.
    /// `TransactionTimedOut`, `TransactionNotFound`; those of [`put`](Self::put).
    pub fn commit_transaction(&self, tx_id: TransactionId) -> Result<()> {
        self.transactions.commit(tx_id).map(drop)
    }

    /// As [`commit_transaction`](Self::commit_transaction), and returns the commit's sequence number; `None` if the
    /// transaction wrote nothing.
    ///
    /// # Errors
    /// As [`commit_transaction`](Self::commit_transaction).
    pub fn commit_transaction_numbered(&self, tx_id: TransactionId) -> Result<Option<SequenceNumber>> {
        self.transactions.commit(tx_id)
    }

    /// Forgets everything that a transaction wrote. After a deadlock, a conflict or a time-out, which have aborted it
    /// already, this does nothing.
    ///
    /// # Errors
    /// `TransactionNotFound`.
    pub fn abort_transaction(&self, tx_id: TransactionId) -> Result<()> {
        self.transactions.abort(tx_id)
    }

    /// Runs `body` in a transaction (snapshot isolation) and commits it. After a conflict, a deadlock or a lock that was
    /// not granted, everything is done again, up to a hundred times and until `transaction_timeout` has passed; `body`
    /// must not mind that. When `body` fails, nothing is written.
    ///
    /// ```
    /// # use lightning_db::{Database, LightningDbConfig};
    /// # let dir = tempfile::tempdir()?;
    /// # let db = Database::create(dir.path().join("db"), LightningDbConfig::default())?;
    /// let count = db.execute_transaction(|tx| {
    ///     let count = tx.get(b"visits")?.map_or(0, |count| count[0]) + 1;
    ///     tx.put(b"visits", &[count])?;
    ///     Ok(count)
    /// })?;
    /// assert_eq!(count, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of `body`, of [`begin_transaction`](Self::begin_transaction) and of
    /// [`commit_transaction`](Self::commit_transaction).
    pub fn execute_transaction<T>(&self, mut body: impl FnMut(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let clock = &self.engine.ctx.clock;
        let last_start = clock.monotonic().saturating_add(self.engine.config.transaction_timeout);
        let mut retries = Retries::default();
        loop {
            let tx = self.transaction()?;
            let error = match body(&tx).and_then(|value| tx.commit().map(|()| value)) {
                Err(error) if error.is_conflict() => error,
                outcome => return outcome,
            };
            match retries.pause(&*self.engine.ctx.entropy)? {
                Some(pause) if clock.monotonic() + pause < last_start => {
                    lightning_db_sync::thread::sleep(pause)
                }
                _ => return Err(error),
            }
        }
    }

    /// As [`begin_transaction`](Self::begin_transaction); the transaction is aborted at the end of its scope, unless it
    /// was committed.
    ///
    /// # Errors
    /// As [`begin_transaction`](Self::begin_transaction).
    pub fn transaction(&self) -> Result<Transaction<'_>> {
        self.transaction_with(TransactionOptions::default())
    }

    /// As [`begin_transaction_with_options`](Self::begin_transaction_with_options), with a scope.
    ///
    /// # Errors
    /// As [`begin_transaction`](Self::begin_transaction).
    pub fn transaction_with(&self, options: TransactionOptions) -> Result<Transaction<'_>> {
        Ok(Transaction::new(&self.transactions, self.begin_transaction_with_options(options)?))
    }

    /// As [`begin_serializable_transaction`](Self::begin_serializable_transaction), with a scope.
    ///
    /// # Errors
    /// As [`begin_transaction`](Self::begin_transaction).
    pub fn serializable_transaction(&self) -> Result<Transaction<'_>> {
        Ok(Transaction::new(&self.transactions, self.begin_serializable_transaction()?))
    }
}
