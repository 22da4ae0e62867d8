//! Where a thread sits until it is its turn.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

#[derive(Default)]
pub(crate) struct Seat {
    turn: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Seat {
    /// Whose seat it is. Said before the seat's first turn.
    pub(crate) fn belongs_to(&self, thread: Thread) {
        _ = self.thread.set(thread);
    }

    pub(super) fn call(&self) {
        self.turn.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits for the turn: for ever, when the simulation ended before.
    pub(super) fn wait(&self) {
        while !self.turn.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
    }
}
