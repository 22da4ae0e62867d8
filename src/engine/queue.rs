//! Where the threads that commit come together.
//!
//! Whoever holds the writer commits for all that wait. A ticket is in the queue until somebody who holds the writer takes
//! it, and has its outcome before he lets go of the writer. Its owner waits for the writer too: when he has it there is an
//! outcome, or nobody took the ticket, and then he commits for all himself. So every ticket has one outcome, nobody waits
//! without end, and nobody needs to be woken.

use std::sync::Arc;

use lightning_db_sync::modelled::{Mutex, MutexGuard};

/// Jobs `J` that wait for outcomes `O`, and the writer `W`.
pub(super) struct Queue<W, J, O> {
    waiting: Mutex<Vec<Arc<Ticket<J, O>>>>,
    writer: Mutex<W>,
}

/// A job that waits for somebody to do it.
pub(super) struct Ticket<J, O> {
    pub(super) job: J,
    outcome: Mutex<Option<O>>,
}

impl<W, J, O> Queue<W, J, O> {
    pub(super) fn new(writer: W) -> Self {
        Self { waiting: Mutex::new(Vec::new()), writer: Mutex::new(writer) }
    }

    /// Waits for the writer.
    pub(super) fn writer(&self) -> MutexGuard<'_, W> {
        self.writer.lock()
    }

    /// The writer, if nobody has it.
    pub(super) fn free_writer(&self) -> Option<MutexGuard<'_, W>> {
        self.writer.try_lock()
    }

    /// The tickets that wait. Who takes them holds the writer, and gives each an outcome before he lets go of it.
    pub(super) fn take_waiting(&self, _writer: &mut W) -> Vec<Arc<Ticket<J, O>>> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Has somebody do `job`: the holder of the writer, or the caller, by `lead`, which does all jobs that wait. `None` if
    /// there was no outcome.
    pub(super) fn hand_over(&self, job: J, lead: impl FnOnce(&mut W)) -> Option<O> {
        let ticket = Arc::new(Ticket { job, outcome: Mutex::new(None) });
        self.waiting.lock().push(Arc::clone(&ticket));
        let mut writer = self.writer.lock();
        if let Some(outcome) = ticket.outcome.lock().take() {
            return Some(outcome);
        }
        lead(&mut writer);
        ticket.outcome.lock().take()
    }
}

impl<J, O> Ticket<J, O> {
    /// Says how the job ended.
    pub(super) fn settle(&self, outcome: O) {
        *self.outcome.lock() = Some(outcome);
    }
}
