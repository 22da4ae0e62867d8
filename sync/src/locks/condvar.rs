use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::MutexGuard;
use crate::simulation::{Task, Wait, Woken, in_task};

/// Where threads wait for a signal.
#[derive(Default)]
pub struct Condvar {
    inner: parking_lot::Condvar,
}

/// Whether a wait ended by its time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether it did.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// One that nobody waits at.
    #[must_use]
    pub const fn new() -> Self {
        Self { inner: parking_lot::Condvar::new() }
    }

    /// Releases the lock, waits for a signal, and takes the lock again.
    #[track_caller]
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        let at = Location::caller();
        if in_task(|task| self.block(task, guard, at, None)).is_none() {
            self.inner.wait(guard.inner());
        }
    }

    /// As [`wait`](Self::wait), for as long as `condition` holds.
    #[track_caller]
    pub fn wait_while<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) {
        while condition(guard) {
            self.wait(guard);
        }
    }

    /// As [`wait`](Self::wait), but no longer than `time_out`.
    #[track_caller]
    pub fn wait_for<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        time_out: Duration,
    ) -> WaitTimeoutResult {
        let at = Location::caller();
        let woken = in_task(|task| self.block(task, guard, at, Some(time_out)));
        WaitTimeoutResult(match woken {
            Some(woken) => woken == Woken::TimeOut,
            None => self.inner.wait_for(guard.inner(), time_out).timed_out(),
        })
    }

    /// Wakes one that waits: any one.
    #[track_caller]
    pub fn notify_one(&self) {
        self.notify(false, Location::caller());
    }

    /// Wakes all that wait.
    #[track_caller]
    pub fn notify_all(&self) {
        self.notify(true, Location::caller());
    }

    fn block<T: ?Sized>(
        &self,
        task: &Task,
        guard: &mut MutexGuard<'_, T>,
        at: &'static Location<'static>,
        time_out: Option<Duration>,
    ) -> Woken {
        let mut woken = Woken::Called;
        guard.without(task, at, || {
            woken = task.block(Wait::Signal { address: self.address() }, at, time_out);
        });
        woken
    }

    fn notify(&self, all: bool, at: &'static Location<'static>) {
        let signalled = in_task(|task| {
            task.switch(at);
            task.signal(self.address(), all);
        });
        match signalled {
            Some(()) => {}
            None if all => _ = self.inner.notify_all(),
            None => _ = self.inner.notify_one(),
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
