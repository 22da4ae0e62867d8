//! Where the threads that commit come together.
//!
//! Whoever holds the writer commits for all that wait. Of those who wait one is called to lead: he takes the writer, does
//! all jobs that wait by then, and calls the next. The others sleep until their own job has ended, and none of them has
//! to have the writer for that: while one group is being synced the next one comes together, and nobody passes it.
//!
//! A ticket is in the queue until somebody who holds the writer takes it. Who takes tickets ends them all, by
//! [`Ticket::settle`] or by dropping what he took. As long as a ticket is in the queue somebody is called: who leaves
//! calls the next, and who comes when nobody is called leads himself. So nobody waits without end.

use std::ops::Deref;
use std::sync::Arc;

use lightning_db_sync::modelled::{Condvar, Mutex, MutexGuard};

/// Jobs `J` that wait for outcomes `O`, and the writer `W`.
pub(super) struct Queue<W, J, O> {
    waiting: Mutex<Waiting<J, O>>,
    writer: Mutex<W>,
}

struct Waiting<J, O> {
    tickets: Vec<Arc<Ticket<J, O>>>,
    /// Whether somebody is called who has not yet called the next.
    is_led: bool,
}

/// A job that waits for somebody to do it.
pub(super) struct Ticket<J, O> {
    pub(super) job: J,
    state: Mutex<State<O>>,
    changed: Condvar,
}

struct State<O> {
    /// `None` after the end: whoever took the ticket did not do the job.
    outcome: Option<O>,
    has_ended: bool,
    /// Whether its owner is to lead.
    is_called: bool,
}

/// Tickets that somebody took. Those that he did not settle end without an outcome.
pub(super) struct Taken<J, O>(Vec<Arc<Ticket<J, O>>>);

impl<W, J, O> Queue<W, J, O> {
    pub(super) fn new(writer: W) -> Self {
        let waiting = Waiting { tickets: Vec::new(), is_led: false };
        Self { waiting: Mutex::new(waiting), writer: Mutex::new(writer) }
    }

    /// Waits for the writer.
    pub(super) fn writer(&self) -> MutexGuard<'_, W> {
        self.writer.lock()
    }

    /// The writer, if nobody has it.
    pub(super) fn free_writer(&self) -> Option<MutexGuard<'_, W>> {
        self.writer.try_lock()
    }

    /// The tickets that wait.
    pub(super) fn take_waiting(&self, _writer: &mut W) -> Taken<J, O> {
        Taken(std::mem::take(&mut self.waiting.lock().tickets))
    }

    /// Has somebody do `job`: the holder of the writer, or the caller, by `lead`, which does all jobs that wait. `None` if
    /// there was no outcome.
    pub(super) fn hand_over(&self, job: J, lead: impl FnOnce(&mut W)) -> Option<O> {
        let state = State { outcome: None, has_ended: false, is_called: false };
        let ticket = Arc::new(Ticket { job, state: Mutex::new(state), changed: Condvar::default() });
        let mut waiting = self.waiting.lock();
        waiting.tickets.push(Arc::clone(&ticket));
        let is_led = std::mem::replace(&mut waiting.is_led, true);
        drop(waiting);
        if !is_led || ticket.wait_is_called() {
            // Dropped last, whatever happens.
            let _next = CallNext(self);
            if !ticket.state.lock().has_ended {
                let mut writer = self.writer.lock();
                // Somebody else may have had it first.
                let has_ended = ticket.state.lock().has_ended;
                if !has_ended {
                    lead(&mut writer);
                }
            }
        }
        ticket.state.lock().outcome.take()
    }
}

/// Whoever was called calls the next, when this is dropped.
struct CallNext<'a, W, J, O>(&'a Queue<W, J, O>);

impl<W, J, O> Drop for CallNext<'_, W, J, O> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        match waiting.tickets.first() {
            Some(next) => next.change(|state| state.is_called = true),
            None => waiting.is_led = false,
        }
    }
}

impl<J, O> Ticket<J, O> {
    /// Says how the job ended.
    pub(super) fn settle(&self, outcome: O) {
        self.change(|state| (state.outcome, state.has_ended) = (Some(outcome), true));
    }

    fn change(&self, change: impl FnOnce(&mut State<O>)) {
        change(&mut self.state.lock());
        // Its owner alone waits.
        self.changed.notify_one();
    }

    /// Waits for the end of the job or for the call to lead, and says whether it is called.
    fn wait_is_called(&self) -> bool {
        let mut state = self.state.lock();
        while !state.has_ended && !state.is_called {
            self.changed.wait(&mut state);
        }
        state.is_called
    }
}

impl<J, O> Deref for Taken<J, O> {
    type Target = [Arc<Ticket<J, O>>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<J, O> Drop for Taken<J, O> {
    fn drop(&mut self) {
        for ticket in &self.0 {
            if !ticket.state.lock().has_ended {
                ticket.change(|state| state.has_ended = true);
            }
        }
    }
}
