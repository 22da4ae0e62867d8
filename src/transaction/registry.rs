//! Which transactions are open, and how the others ended.
//!
//! A transaction is open while its [`Slot`] has its state. Who takes the state out ends it, and nobody else can: that
//! one lock decides between a commit, an abort and a time-out that come at the same moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lightning_db_sync::{Mutex, MutexGuard};

use super::TransactionId;
use super::open::OpenTransaction;
use crate::error::{Error, Result};

/// Of so many transactions that the database ended itself it is remembered why.
const REMEMBERED: usize = 4096;

#[derive(Default)]
pub(super) struct Registry {
    last_id: u64,
    /// The ids ascend with time, and so do the deadlines.
    open: BTreeMap<TransactionId, Arc<Slot>>,
    /// Ended by the database; their owners do not know yet.
    ended: BTreeMap<TransactionId, Ended>,
    closed: bool,
}

/// Why the database ended a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    TimedOut,
    /// An operation failed with a conflict or a deadlock, and said so.
    Failed,
}

/// The place of one transaction.
pub(super) struct Slot {
    pub(super) id: TransactionId,
    /// When it times out, by the monotonic clock.
    pub(super) deadline: Duration,
    state: Mutex<Option<OpenTransaction>>,
}

impl Registry {
    /// An id that no transaction has.
    pub(super) fn next_id(&mut self) -> TransactionId {
        self.last_id += 1;
        TransactionId(self.last_id)
    }

    pub(super) fn insert(&mut self, id: TransactionId, deadline: Duration, transaction: OpenTransaction) {
        self.open.insert(id, Arc::new(Slot { id, deadline, state: Mutex::new(Some(transaction)) }));
    }

    pub(super) fn find(&self, id: TransactionId) -> Result<Arc<Slot>> {
        match self.open.get(&id) {
            Some(slot) => Ok(Arc::clone(slot)),
            None => Err(self.why_not(id)),
        }
    }

    /// Why a transaction is not open.
    pub(super) fn why_not(&self, id: TransactionId) -> Error {
        match self.ended.get(&id) {
            Some(Ended::TimedOut) => Error::TransactionTimedOut,
            _ if self.closed => Error::Closed,
            _ => Error::TransactionNotFound,
        }
    }

    /// Forgets an open transaction.
    pub(super) fn remove(&mut self, id: TransactionId) {
        self.open.remove(&id);
    }

    /// Forgets an open transaction, but not why it ended.
    pub(super) fn end(&mut self, id: TransactionId, why: Ended) {
        self.open.remove(&id);
        self.ended.insert(id, why);
        if self.ended.len() > REMEMBERED {
            self.ended.pop_first();
        }
    }

    /// Forgets why a transaction ended. Says whether the database ended it.
    pub(super) fn acknowledge(&mut self, id: TransactionId) -> bool {
        self.ended.remove(&id).is_some()
    }

    /// Those whose time is over.
    pub(super) fn due(&self, now: Duration) -> Vec<Arc<Slot>> {
        self.open.values().take_while(|slot| slot.deadline <= now).cloned().collect()
    }

    /// When the next transaction's time is over.
    pub(super) fn first_deadline(&self) -> Option<Duration> {
        self.open.first_key_value().map(|(_, slot)| slot.deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Lets nothing begin any more. Returns what is open.
    pub(super) fn close(&mut self) -> Vec<Arc<Slot>> {
        self.closed = true;
        self.open.values().cloned().collect()
    }
}

impl Slot {
    /// The state, once no other thread works with it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<OpenTransaction>> {
        self.state.lock()
    }

    /// The state, unless another thread works with it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Option<OpenTransaction>>> {
        self.state.try_lock()
    }
}
