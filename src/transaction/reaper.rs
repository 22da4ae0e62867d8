//! The thread that ends transactions whose time is over, so that what they hold is free although nobody asks for them.
//! It starts with the first transaction, and sleeps while none is open.

use std::sync::Arc;
use std::time::Duration;

use lightning_db_sync::atomic::{AtomicBool, Ordering};
use lightning_db_sync::thread::{self, JoinHandle};
use lightning_db_sync::{Condvar, Mutex};

use super::manager::Shared;
use crate::error::{Error, Result};

/// The clock may be one that does not run by itself: the thread looks at it this often while a transaction is open.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A transaction that is overdue and at work is asked again after this time.
const WHILE_BUSY: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct Reaper {
    signals: Arc<Signals>,
    started: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Signals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// A transaction began since the thread looked.
    begun: bool,
    /// The thread sleeps until one begins.
    idle: bool,
    stopping: bool,
}

impl Reaper {
    /// Starts the thread, once.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(&self, shared: &Arc<Shared>) -> Result<()> {
        if self.started.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut thread = self.thread.lock();
        if thread.is_none() && !self.signals.state.lock().stopping {
            let (shared, signals) = (Arc::clone(shared), Arc::clone(&self.signals));
            let spawned = thread::spawn("lightning-reaper", move || run(&shared, &signals));
            let spawned = spawned.map_err(|error| Error::Io {
                action: "start a thread for transactions of",
                path: "the database".into(),
                source: Arc::new(error),
            });
            *thread = Some(spawned?);
        }
        self.started.store(true, Ordering::Release);
        Ok(())
    }

    /// A transaction began.
    pub(super) fn wake(&self) {
        let mut state = self.signals.state.lock();
        state.begun = true;
        if state.idle {
            self.signals.changed.notify_one();
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.signals.state.lock().stopping = true;
        self.signals.changed.notify_one();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that ends overdue transactions ended by a panic");
        }
    }
}

fn run(shared: &Shared, signals: &Signals) {
    loop {
        let next = shared.reap();
        let mut state = signals.state.lock();
        match next {
            _ if state.stopping => return,
            Some(left) => _ = signals.changed.wait_for(&mut state, left.clamp(WHILE_BUSY, LOOK_AGAIN)),
            None => {
                state.idle = true;
                while !state.begun && !state.stopping {
                    signals.changed.wait(&mut state);
                }
                state.idle = false;
            }
        }
        state.begun = false;
    }
}
