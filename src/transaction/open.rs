//! The state of an open transaction.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use lightning_db_storage::SequenceNumber;
use lightning_db_sync::atomic::{AtomicU8, Ordering};

use super::read_set::ReadSet;
use super::registry::Ended;
use super::write_set::WriteSet;
use crate::engine::{ReadView, ValueLog, WriterPin};
use crate::error::{Error, Result};

/// What a transaction sees of others, and what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Each read sees the newest commit.
    ReadCommitted,
    /// All reads see the database as it was at the beginning; of two that write one key the first committer wins.
    Snapshot,
    /// As if transactions ran one after another.
    Serializable,
}

/// How a transaction began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    pub(crate) isolation: Isolation,
    pub(crate) read_only: bool,
}

/// All that a transaction has. Dropping it forgets what it wrote.
pub(super) struct OpenTransaction {
    pub(super) mode: Mode,
    /// What it reads, unless each read looks anew.
    pub(super) view: Option<ReadView>,
    /// Keeps the commits since its beginning known, for its validation.
    _pin: Option<WriterPin>,
    pub(super) writes: WriteSet,
    /// The large values of its writes; files, once there is one.
    pub(super) values: Arc<ValueLog>,
    pub(super) reads: ReadSet,
    /// Tells its iterators when it is over.
    pub(super) fate: Arc<Fate>,
    memory: Reserved,
}

impl OpenTransaction {
    pub(super) fn new(
        mode: Mode,
        view: Option<ReadView>,
        pin: Option<WriterPin>,
        pool: &Arc<MemoryPool>,
    ) -> Self {
        let memory = Reserved { pool: Arc::clone(pool), bytes: 0 };
        Self {
            mode,
            view,
            _pin: pin,
            writes: WriteSet::default(),
            values: Arc::default(),
            reads: ReadSet::default(),
            fate: Arc::default(),
            memory,
        }
    }

    /// The commit that it must not be overtaken after, if it cares.
    pub(super) fn began(&self) -> Option<SequenceNumber> {
        self.view.as_ref().map(|view| view.sequence)
    }

    /// Whether its reads must be remembered.
    pub(super) fn remembers_reads(&self) -> bool {
        self.mode.isolation == Isolation::Serializable && !self.mode.read_only
    }

    /// Asks for memory.
    ///
    /// # Errors
    /// `TransactionTooLarge` when all transactions together would have too much.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<()> {
        self.memory.pool.take(bytes)?;
        self.memory.bytes += bytes;
        Ok(())
    }

    /// Gives memory back.
    pub(super) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.memory.bytes);
        self.memory.bytes -= bytes;
        self.memory.pool.give_back(bytes);
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        self.fate.seal(Ended::Failed);
    }
}

/// Whether a transaction is still open, for those who hold something of it.
#[derive(Debug, Default)]
pub(super) struct Fate(AtomicU8);

impl Fate {
    const TIMED_OUT: u8 = 1;
    const OVER: u8 = 2;

    /// Ends it. The first reason stays.
    pub(super) fn seal(&self, why: Ended) {
        let fate = if why == Ended::TimedOut { Self::TIMED_OUT } else { Self::OVER };
        let _ = self.0.compare_exchange(0, fate, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Refuses when it is over.
    pub(super) fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Acquire) {
            0 => Ok(()),
            Self::TIMED_OUT => Err(Error::TransactionTimedOut),
            _ => Err(Error::TransactionNotFound),
        }
    }
}

/// The memory for what open transactions wrote and read.
pub(super) struct MemoryPool {
    used: AtomicUsize,
    limit: usize,
}

impl MemoryPool {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Result<()> {
        let more = |used: usize| used.checked_add(bytes).filter(|total| *total <= self.limit);
        let taken = self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_| Error::TransactionTooLarge)
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A transaction's share of the pool.
struct Reserved {
    pool: Arc<MemoryPool>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}
