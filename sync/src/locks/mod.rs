//! Locks of which a simulation decides who gets them.
//!
//! They are `parking_lot`'s. A task only ever tries: when that fails, it is blocked until the lock is released. `waiting`
//! says whether a release has to tell the scheduler.

mod condvar;
mod mutex;
mod rw_lock;

use std::sync::atomic::{AtomicU32, Ordering};

pub use condvar::Condvar;
pub use mutex::{Mutex, MutexGuard};
pub use rw_lock::{RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};

use crate::simulation::{Place, Task, TaskId, Wait, in_task};

/// What a simulation knows of a lock. One task runs at a time, so that nothing here needs an order.
#[derive(Default)]
struct Gate {
    waiting: AtomicU32,
    /// The task that has it exclusively, counted from one.
    holder: AtomicU32,
}

impl Gate {
    const fn new() -> Self {
        Self { waiting: AtomicU32::new(0), holder: AtomicU32::new(0) }
    }

    /// Takes what `attempt` takes, as soon as it succeeds.
    fn pass<G>(&self, task: &Task, at: Place, mut attempt: impl FnMut() -> Option<G>) -> G {
        loop {
            if let Some(guard) = attempt() {
                return guard;
            }
            let holder = self.holder.load(Ordering::Relaxed).checked_sub(1).map(TaskId::from_index);
            self.waiting.fetch_add(1, Ordering::Relaxed);
            task.block(Wait::Lock { address: self.address(), holder }, at, None);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn held_by(&self, task: &Task) {
        self.holder.store(task.id().index() + 1, Ordering::Relaxed);
    }

    /// The lock was released. A step, except while the task panics or is about to wait.
    fn released(&self, at: Option<Place>) {
        self.holder.store(0, Ordering::Relaxed);
        let has_waiting = self.waiting.load(Ordering::Relaxed) != 0;
        in_task(|task| {
            if has_waiting {
                task.unlocked(self.address());
            }
            if let Some(at) = at
                && !std::thread::panicking()
            {
                task.switch(at);
            }
        });
    }

    /// A reader let go, who is not its holder. No step.
    fn shared_released(&self) {
        if self.waiting.load(Ordering::Relaxed) != 0 {
            in_task(|task| task.unlocked(self.address()));
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}
