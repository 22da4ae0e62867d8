use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use super::Gate;
use crate::simulation::{Place, Task, in_task};

/// Lets one thread at a time reach what it holds.
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    gate: Gate,
    inner: parking_lot::Mutex<T>,
}

/// Access to what a [`Mutex`] holds.
#[must_use = "the lock is released when this is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    at: Place,
    /// Always there, but while its holder waits for a signal.
    inner: Option<parking_lot::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// A lock that nobody holds.
    pub const fn new(value: T) -> Self {
        Self { gate: Gate::new(), inner: parking_lot::Mutex::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until nobody else holds it.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let at = Location::caller();
        let taken = in_task(|task| {
            task.switch(at);
            self.take(task, at)
        });
        let inner = taken.unwrap_or_else(|| self.inner.lock());
        MutexGuard { mutex: self, at, inner: Some(inner) }
    }

    /// Takes it if nobody holds it.
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let at = Location::caller();
        in_task(|task| task.switch(at));
        let inner = self.inner.try_lock()?;
        in_task(|task| self.gate.held_by(task));
        Some(MutexGuard { mutex: self, at, inner: Some(inner) })
    }

    fn take<'a>(&'a self, task: &Task, at: Place) -> parking_lot::MutexGuard<'a, T> {
        let inner = self.gate.pass(task, at, || self.inner.try_lock());
        self.gate.held_by(task);
        inner
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Does `wait` without the lock, in a task.
    pub(super) fn without(&mut self, task: &Task, at: Place, wait: impl FnOnce()) {
        self.inner = None;
        self.mutex.gate.released(None);
        wait();
        self.inner = Some(self.mutex.take(task, at));
    }

    pub(super) fn inner(&mut self) -> &mut parking_lot::MutexGuard<'a, T> {
        self.inner.as_mut().expect(HELD)
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.inner.take().is_some() {
            self.mutex.gate.released(Some(self.at));
        }
    }
}

const HELD: &str = "a guard that is in somebody's hands holds the lock";

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect(HELD)
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect(HELD)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
