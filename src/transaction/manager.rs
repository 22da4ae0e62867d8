//! Transactions from their beginning to their end.

use std::sync::Arc;
use std::time::Duration;

use lightning_db_storage::SequenceNumber;
use lightning_db_sync::Mutex;

use super::TransactionId;
use super::lock_table::{LockTable, Owner};
use super::open::{Isolation, MemoryPool, Mode, OpenTransaction};
use super::read_set::ReadSet;
use super::reaper::Reaper;
use super::registry::{Ended, Registry, Slot};
use super::scan::TransactionIterator;
use super::validate::unchanged;
use super::write_set::WriteSet;
use crate::engine::{Engine, LARGE_VALUE_LEN, Op, OpValue, OpenTransactions, OwnedValue};
use crate::error::{Error, Result};
use crate::observe::Operation;
use crate::read::{DatabaseIterator, KeyRange, Pending, PinnedValue, ScanView};
use crate::shared_bytes::SharedBytes;

/// What all open transactions together may hold in memory.
const MEMORY_BYTES_MAX: usize = 32 << 20;

/// The transactions of one database.
pub(crate) struct Transactions {
    shared: Arc<Shared>,
    reaper: Reaper,
}

/// What the thread that ends overdue transactions works with, too.
pub(super) struct Shared {
    engine: Arc<Engine>,
    registry: Mutex<Registry>,
    /// `None` when conflicts are found at commit only.
    locks: Option<LockTable>,
    memory: Arc<MemoryPool>,
}

impl Transactions {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        let is_locking = !engine.config.use_optimized_transactions;
        let shared = Arc::new(Shared {
            engine: Arc::clone(engine),
            registry: Mutex::default(),
            locks: is_locking.then(|| LockTable::new(Arc::clone(&engine.ctx.clock))),
            memory: MemoryPool::new(MEMORY_BYTES_MAX),
        });
        let counted: Arc<dyn OpenTransactions> = Arc::clone(&shared) as _;
        engine.count_transactions(Arc::downgrade(&counted));
        Self { shared, reaper: Reaper::default() }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// `TooManyTransactions`, `Closed`.
    pub(crate) fn begin(&self, mode: Mode) -> Result<TransactionId> {
        self.reaper.start(&self.shared)?;
        let id = self.shared.begin(mode)?;
        self.reaper.wake();
        Ok(id)
    }

    /// Writes, or with no value deletes.
    ///
    /// # Errors
    /// Those of the key and the value; `TransactionReadOnly`, `TransactionTooLarge`, `LockTimeout`, after which the
    /// transaction goes on; `TransactionConflict` and `Deadlock`, after which it is aborted; `TransactionNotFound`,
    /// `TransactionTimedOut`.
    pub(crate) fn write(&self, id: TransactionId, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        Op { key, value: value.map(OpValue::Lent) }.check()?;
        let operation = if value.is_some() { Operation::Write } else { Operation::Delete };
        let _timer = self.shared.engine.metrics.start(operation);
        self.shared.with(id, |slot, transaction| self.shared.write(slot, transaction, key, value))
    }

    /// Reads what the transaction sees, its own writes included.
    ///
    /// # Errors
    /// Those of reading; `TransactionTooLarge` when a serializable transaction read too much; `TransactionNotFound`,
    /// `TransactionTimedOut`.
    pub(crate) fn get(&self, id: TransactionId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let _timer = self.shared.engine.metrics.start(Operation::Read);
        self.shared.with(id, |_, transaction| self.shared.get(transaction, key))
    }

    /// Walks a range as the transaction sees it now.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn scan(&self, id: TransactionId, range: KeyRange) -> Result<TransactionIterator> {
        self.shared.with(id, |_, transaction| self.shared.scan(transaction, range))
    }

    /// Commits, and returns the commit's number if anything was written. The transaction is over then, whatever comes
    /// back.
    ///
    /// # Errors
    /// `TransactionConflict`, `TransactionNotFound`, `TransactionTimedOut`, and those of writing.
    pub(crate) fn commit(&self, id: TransactionId) -> Result<Option<SequenceNumber>> {
        let transaction = self.shared.take(id)?;
        let outcome = self.shared.commit(transaction);
        self.shared.release(id);
        let metrics = &self.shared.engine.metrics;
        match &outcome {
            Ok(_) => metrics.transactions_committed.add(1),
            Err(_) => metrics.transactions_aborted.add(1),
        };
        outcome
    }

    /// Aborts. For a transaction that the database ended before, nothing is left to do.
    ///
    /// # Errors
    /// `TransactionNotFound`.
    pub(crate) fn abort(&self, id: TransactionId) -> Result<()> {
        match self.shared.take(id) {
            Ok(transaction) => {
                drop(transaction);
                self.shared.release(id);
                self.shared.engine.metrics.transactions_aborted.add(1);
                Ok(())
            }
            Err(error) => {
                let was_ended = self.shared.registry.lock().acknowledge(id);
                if was_ended { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Locks the keys of writes outside of any transaction, until the guard is dropped. Nothing when transactions do
    /// not lock.
    ///
    /// # Errors
    /// `Deadlock`, `LockTimeout`.
    pub(crate) fn lock_for_writes(&self, ops: &[Op<'_>]) -> Result<Option<WriteLocks<'_>>> {
        let Some(locks) = &self.shared.locks else { return Ok(None) };
        let engine = &self.shared.engine;
        let owner = Owner(self.shared.registry.lock().next_id().0);
        let guard = WriteLocks { locks, owner };
        let deadline = engine.ctx.clock.monotonic().saturating_add(engine.config.lock_timeout);
        let mut keys: Vec<&[u8]> = ops.iter().map(|op| op.key).collect();
        keys.sort_unstable();
        for key in keys {
            locks.lock(owner, key, deadline)?;
        }
        Ok(Some(guard))
    }

    /// Aborts all, and lets none begin.
    pub(crate) fn close(&self) {
        let slots = self.shared.registry.lock().close();
        for slot in slots {
            self.shared.end(&slot, &mut slot.lock(), Ended::Failed);
        }
        self.reaper.stop();
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        self.close();
    }
}

/// Locks of a write outside of any transaction.
pub(crate) struct WriteLocks<'a> {
    locks: &'a LockTable,
    owner: Owner,
}

impl Drop for WriteLocks<'_> {
    fn drop(&mut self) {
        self.locks.release(self.owner);
    }
}

impl OpenTransactions for Shared {
    fn active(&self) -> usize {
        self.registry.lock().len()
    }

    fn memory_bytes(&self) -> usize {
        self.memory.used()
    }
}

impl Shared {
    /// Ends the transactions whose time is over, unless another thread works with one at the moment. Returns how long
    /// it is until the next one's is, if any is open.
    pub(super) fn reap(&self) -> Option<Duration> {
        let now = self.now();
        let due = self.registry.lock().due(now);
        for slot in due {
            if let Some(mut state) = slot.try_lock() {
                tracing::warn!(transaction = %slot.id, "a transaction timed out and is aborted");
                self.end(&slot, &mut state, Ended::TimedOut);
            }
        }
        let registry = self.registry.lock();
        registry.first_deadline().map(|deadline| deadline.saturating_sub(now))
    }

    fn begin(&self, mode: Mode) -> Result<TransactionId> {
        self.reap_if_full();
        let mut registry = self.registry.lock();
        if registry.is_closed() || self.engine.health.is_closed() {
            return Err(Error::Closed);
        }
        if registry.len() >= self.engine.config.max_active_transactions {
            return Err(Error::TooManyTransactions);
        }
        let id = registry.next_id();
        let deadline = self.now().saturating_add(self.engine.config.transaction_timeout);
        let snapshot = mode.isolation != Isolation::ReadCommitted;
        // The pin comes first: what is committed after the view is then surely kept.
        let pin =
            (snapshot && !mode.read_only).then(|| self.engine.recent.pin(self.engine.versions.published()));
        let view = snapshot.then(|| self.engine.versions.view());
        registry.insert(id, deadline, OpenTransaction::new(mode, view, pin, &self.memory));
        Ok(id)
    }

    fn reap_if_full(&self) {
        let is_full = self.registry.lock().len() >= self.engine.config.max_active_transactions;
        if is_full {
            self.reap();
        }
    }

    /// Works with an open transaction. A conflict or a deadlock ends it.
    fn with<R>(
        &self,
        id: TransactionId,
        work: impl FnOnce(&Slot, &mut OpenTransaction) -> Result<R>,
    ) -> Result<R> {
        let slot = self.registry.lock().find(id)?;
        let mut state = slot.lock();
        let outcome = work(&slot, self.opened(&slot, &mut state)?);
        match &outcome {
            Err(Error::TransactionTimedOut) => self.end(&slot, &mut state, Ended::TimedOut),
            Err(Error::TransactionConflict | Error::Deadlock) => self.end(&slot, &mut state, Ended::Failed),
            _ => {}
        }
        outcome
    }

    /// Takes the state of an open transaction, which ends it.
    fn take(&self, id: TransactionId) -> Result<OpenTransaction> {
        let slot = self.registry.lock().find(id)?;
        let mut state = slot.lock();
        self.opened(&slot, &mut state)?;
        let mut registry = self.registry.lock();
        registry.remove(id);
        state.take().ok_or_else(|| registry.why_not(id))
    }

    /// The transaction, if it is still open and its time is not over.
    fn opened<'a>(
        &self,
        slot: &Slot,
        state: &'a mut Option<OpenTransaction>,
    ) -> Result<&'a mut OpenTransaction> {
        if self.is_overdue(slot) {
            self.end(slot, state, Ended::TimedOut);
        }
        state.as_mut().ok_or_else(|| self.registry.lock().why_not(slot.id))
    }

    /// Ends a transaction, unless it has ended already.
    fn end(&self, slot: &Slot, state: &mut Option<OpenTransaction>, why: Ended) {
        let Some(transaction) = state.take() else { return };
        transaction.fate.seal(why);
        drop(transaction);
        self.registry.lock().end(slot.id, why);
        self.release(slot.id);
        self.engine.metrics.transactions_aborted.add(1);
    }

    fn release(&self, id: TransactionId) {
        if let Some(locks) = &self.locks {
            locks.release(Owner(id.0));
        }
    }

    fn write(
        &self,
        slot: &Slot,
        transaction: &mut OpenTransaction,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        if transaction.mode.read_only {
            return Err(Error::TransactionReadOnly);
        }
        if self.engine.read_only {
            return Err(Error::ReadOnly);
        }
        let bytes = WriteSet::bytes_of(key, value.map_or(0, <[u8]>::len));
        transaction.reserve(bytes)?;
        let locked = self.lock(slot, transaction, key);
        match locked.and_then(|()| value.map(|value| self.own(transaction, value)).transpose()) {
            Ok(value) => {
                let freed = transaction.writes.insert(key, value);
                transaction.give_back(freed);
                Ok(())
            }
            Err(error) => {
                transaction.give_back(bytes);
                Err(error)
            }
        }
    }

    /// A value that the transaction keeps: in memory, or a large one in a file.
    fn own(&self, transaction: &OpenTransaction, value: &[u8]) -> Result<OwnedValue> {
        if value.len() < LARGE_VALUE_LEN {
            return Ok(OwnedValue::Shared(SharedBytes::from(value)));
        }
        self.engine.store_value(&transaction.values, value).map(OwnedValue::Stored)
    }

    /// Locks a key, if this database's transactions do, and sees to it that nobody wrote it since the transaction
    /// began: the first updater wins.
    fn lock(&self, slot: &Slot, transaction: &OpenTransaction, key: &[u8]) -> Result<()> {
        let Some(locks) = &self.locks else { return Ok(()) };
        let deadline = self.now().saturating_add(self.engine.config.lock_timeout);
        let locked = locks.lock(Owner(slot.id.0), key, deadline.min(slot.deadline));
        if self.is_overdue(slot) {
            return Err(Error::TransactionTimedOut);
        }
        let is_new = locked?;
        match transaction.began() {
            Some(began) if is_new && self.engine.changed_since(key, began)? => {
                Err(Error::TransactionConflict)
            }
            _ => Ok(()),
        }
    }

    fn get(&self, transaction: &mut OpenTransaction, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(written) = transaction.writes.get(key) {
            return written.map(OwnedValue::to_vec).transpose();
        }
        if transaction.remembers_reads() && !transaction.reads.has_key(key) {
            transaction.reserve(ReadSet::bytes_of_key(key))?;
            transaction.reads.add_key(key);
        }
        let reader = &self.engine.reader;
        let value = match &transaction.view {
            Some(view) => reader.get_at(&view.version, view.sequence, key)?,
            None => reader.get(&self.engine.versions, key)?,
        };
        Ok(value.map(PinnedValue::into_vec))
    }

    fn scan(&self, transaction: &mut OpenTransaction, range: KeyRange) -> Result<TransactionIterator> {
        let scanned = if transaction.remembers_reads() {
            transaction.reserve(ReadSet::bytes_of_scan(&range))?;
            Some(transaction.reads.add_scan(&range))
        } else {
            None
        };
        let view = transaction.view.clone().unwrap_or_else(|| self.engine.versions.view());
        let writes = transaction.writes.within(&range);
        let pending = Pending { writes, values: Arc::clone(&transaction.values) };
        let view = ScanView::new(&self.engine.reader, &view, Some(pending));
        let entries = DatabaseIterator::new(view, range, false)?;
        Ok(TransactionIterator::new(entries, Arc::clone(&transaction.fate), scanned))
    }

    fn commit(&self, mut transaction: OpenTransaction) -> Result<Option<SequenceNumber>> {
        if transaction.writes.is_empty() {
            // What it read was so when it began, and that is its place in the order of commits.
            return Ok(None);
        }
        let reads = std::mem::take(&mut transaction.reads);
        let writes = &transaction.writes;
        let validate = transaction.began().map(|began| unchanged(began, writes.keys(), reads));
        self.engine.commit(&writes.ops(), validate).map(Some)
    }

    fn is_overdue(&self, slot: &Slot) -> bool {
        self.now() >= slot.deadline
    }

    fn now(&self) -> Duration {
        self.engine.ctx.clock.monotonic()
    }
}
