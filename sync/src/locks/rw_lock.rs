use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Gate;
use crate::simulation::{Place, Task, in_task};

/// Lets many threads read what it holds, or one write.
#[derive(Default)]
pub struct RwLock<T: ?Sized> {
    gate: Gate,
    /// Writers for whom only readers are in the way. They let no new reader pass: who reads twice may wait for himself.
    draining: AtomicU32,
    inner: parking_lot::RwLock<T>,
}

/// Shared access to what a [`RwLock`] holds.
#[must_use = "the lock is released when this is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    inner: Option<parking_lot::RwLockReadGuard<'a, T>>,
}

/// Shared access to what a [`RwLock`] holds, for one at a time, who may become its writer.
#[must_use = "the lock is released when this is dropped"]
pub struct RwLockUpgradableReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    at: Place,
    inner: Option<parking_lot::RwLockUpgradableReadGuard<'a, T>>,
}

/// Exclusive access to what a [`RwLock`] holds.
#[must_use = "the lock is released when this is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    at: Place,
    inner: Option<parking_lot::RwLockWriteGuard<'a, T>>,
}

impl<T> RwLock<T> {
    /// A lock that nobody holds.
    pub const fn new(value: T) -> Self {
        Self { gate: Gate::new(), draining: AtomicU32::new(0), inner: parking_lot::RwLock::new(value) }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes.
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let at = Location::caller();
        let taken = in_task(|task| {
            task.switch(at);
            self.gate.pass(task, at, || {
                let is_closed = self.draining.load(Ordering::Relaxed) != 0;
                if is_closed { None } else { self.inner.try_read() }
            })
        });
        RwLockReadGuard { lock: self, inner: Some(taken.unwrap_or_else(|| self.inner.read())) }
    }

    /// Waits until nobody writes and nobody else might.
    #[track_caller]
    pub fn upgradable_read(&self) -> RwLockUpgradableReadGuard<'_, T> {
        let at = Location::caller();
        let taken = in_task(|task| {
            task.switch(at);
            let guard = self.gate.pass(task, at, || self.inner.try_upgradable_read());
            self.gate.held_by(task);
            guard
        });
        let inner = taken.unwrap_or_else(|| self.inner.upgradable_read());
        RwLockUpgradableReadGuard { lock: self, at, inner: Some(inner) }
    }

    /// Waits until nobody reads and nobody else writes.
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let at = Location::caller();
        let taken = in_task(|task| {
            task.switch(at);
            let may_drain = || self.inner.try_upgradable_read().is_some();
            let guard = self.drain(task, at, may_drain, || self.inner.try_write());
            self.gate.held_by(task);
            guard
        });
        RwLockWriteGuard { lock: self, at, inner: Some(taken.unwrap_or_else(|| self.inner.write())) }
    }

    /// Takes what `attempt` takes, and lets no new reader pass while only readers are in the way.
    fn drain<G>(
        &self,
        task: &Task,
        at: Place,
        may_drain: impl Fn() -> bool,
        mut attempt: impl FnMut() -> Option<G>,
    ) -> G {
        let mut drains = false;
        let guard = self.gate.pass(task, at, || {
            let guard = attempt();
            if guard.is_none() && !drains && may_drain() {
                drains = true;
                self.draining.fetch_add(1, Ordering::Relaxed);
            }
            guard
        });
        if drains {
            self.draining.fetch_sub(1, Ordering::Relaxed);
        }
        guard
    }
}

impl<'a, T: ?Sized> RwLockUpgradableReadGuard<'a, T> {
    /// Waits until nobody else reads.
    #[track_caller]
    pub fn upgrade(mut guard: Self) -> RwLockWriteGuard<'a, T> {
        let (lock, at) = (guard.lock, Location::caller());
        let mut shared = guard.inner.take();
        let taken = in_task(|task| {
            task.switch(at);
            lock.drain(
                task,
                at,
                || true,
                || {
                    let tried = parking_lot::RwLockUpgradableReadGuard::try_upgrade(shared.take()?);
                    tried.map_err(|guard| shared = Some(guard)).ok()
                },
            )
        });
        let inner = taken.or_else(|| shared.map(parking_lot::RwLockUpgradableReadGuard::upgrade));
        RwLockWriteGuard { lock, at, inner }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.inner = None;
        self.lock.gate.shared_released();
    }
}

impl<T: ?Sized> Drop for RwLockUpgradableReadGuard<'_, T> {
    fn drop(&mut self) {
        if self.inner.take().is_some() {
            self.lock.gate.released(Some(self.at));
        }
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.inner = None;
        self.lock.gate.released(Some(self.at));
    }
}

const HELD: &str = "a guard that is in somebody's hands holds the lock";

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect(HELD)
    }
}

impl<T: ?Sized> Deref for RwLockUpgradableReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect(HELD)
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect(HELD)
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect(HELD)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
