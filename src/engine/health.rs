//! What went wrong so far, and what follows from it.

use lightning_db_sync::Mutex;
use lightning_db_sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Whether the engine may still write, and the newest failure of work in the background.
#[derive(Default)]
pub(crate) struct Health {
    poisoned: AtomicBool,
    first: Mutex<Option<String>>,
    closed: AtomicBool,
    flush_error: Mutex<Option<Error>>,
    merge_error: Mutex<Option<Error>>,
}

impl Health {
    /// Ends all writing: what is on disk is no longer known for sure. The first reason is kept.
    pub(super) fn poison(&self, error: &Error) {
        let mut first = self.first.lock();
        if first.is_none() {
            tracing::error!(%error, "writing stopped: close the database and open it again");
            *first = Some(error.to_string());
        }
        self.poisoned.store(true, Ordering::Release);
    }

    /// Refuses when writing has ended.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.poisoned().map_or(Ok(()), Err)
    }

    /// What whoever wants to write is told, once writing ended after a failure.
    pub(super) fn poisoned(&self) -> Option<Error> {
        let first = || self.first.lock().clone().unwrap_or_default();
        self.is_poisoned().then(|| Error::Poisoned { first: first() })
    }

    /// Whether writing ended after a failure.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Whether the database was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// From now on everything is refused.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The outcome of the newest flush.
    pub(super) fn set_flush(&self, outcome: &Result<()>) {
        *self.flush_error.lock() = outcome.as_ref().err().cloned();
    }

    /// The outcome of the newest merge.
    pub(super) fn set_merge(&self, outcome: &Result<()>) {
        *self.merge_error.lock() = outcome.as_ref().err().cloned();
    }

    /// Why the newest flush failed, if it did.
    pub(crate) fn flush_error(&self) -> Option<Error> {
        self.flush_error.lock().clone()
    }

    /// Why the newest merge failed, if it did.
    pub(crate) fn merge_error(&self) -> Option<Error> {
        self.merge_error.lock().clone()
    }
}
