//! What a model explores, in the form in which the engine uses it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError, TryLockError};

use loom::sync::atomic::{self, AtomicUsize, Ordering};

/// A lock.
#[derive(Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// What a [`Mutex`] guards, locked.
pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

/// Where threads wait for a signal.
#[derive(Default)]
pub struct Condvar(loom::sync::Condvar);

/// A lock that many may hold for reading.
#[derive(Default)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

/// What a [`RwLock`] guards, locked for reading.
pub type RwLockReadGuard<'a, T> = loom::sync::RwLockReadGuard<'a, T>;
/// What a [`RwLock`] guards, locked for writing.
pub type RwLockWriteGuard<'a, T> = loom::sync::RwLockWriteGuard<'a, T>;

impl<T> Mutex<T> {
    /// One that nobody holds.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Waits for it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Takes it if nobody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard(Some(poisoned.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().expect("only a wait takes it out, and puts it back")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_deref_mut().expect("only a wait takes it out, and puts it back")
    }
}

impl Condvar {
    /// Releases the lock, waits for a signal, and takes the lock again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.0.take() {
            guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// As [`wait`](Self::wait), for as long as `condition` holds.
    pub fn wait_while<T>(&self, guard: &mut MutexGuard<'_, T>, mut condition: impl FnMut(&mut T) -> bool) {
        while condition(guard) {
            self.wait(guard);
        }
    }

    /// Wakes one that waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl<T> RwLock<T> {
    /// One that nobody holds.
    pub fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    /// Waits until nobody writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else has it.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Comes before each access to something. Of the accesses to one atomic, loom remembers the last one, and tries out the
/// other order of that and a store. Where a thread loads and then stores, it remembers the thread's own load, and never
/// tries the store before an earlier load of somebody else. Changes, unlike loads, are tried in both orders with whatever
/// came last; this one orders nothing else.
#[derive(Debug, Default)]
struct Turn(AtomicUsize);

impl Turn {
    fn take(&self) {
        self.0.fetch_add(0, Ordering::Relaxed);
    }
}

/// A number that threads share.
#[derive(Debug, Default)]
pub struct AtomicU64 {
    turn: Turn,
    value: atomic::AtomicU64,
}

impl AtomicU64 {
    /// Is `value`.
    pub fn new(value: u64) -> Self {
        Self { turn: Turn::default(), value: atomic::AtomicU64::new(value) }
    }

    /// The value, or an older one where `order` permits that.
    pub fn load(&self, order: Ordering) -> u64 {
        self.turn.take();
        self.value.load(order)
    }

    /// Is `value` from now on.
    pub fn store(&self, value: u64, order: Ordering) {
        self.turn.take();
        self.value.store(value, order);
    }

    /// Adds, and returns what it was.
    pub fn fetch_add(&self, more: u64, order: Ordering) -> u64 {
        self.turn.take();
        self.value.fetch_add(more, order)
    }
}

/// A shared pointer that can be exchanged. Loading it acquires and storing it releases, no more: `arc_swap` promises that
/// much. What was ever stored is kept until the end, so that a model does not explore how it is given up.
pub struct Exchanged<P> {
    /// Not explored: nobody is interrupted while he holds it.
    stored: std::sync::Mutex<Vec<P>>,
    turn: Turn,
    current: AtomicUsize,
}

/// One that always points to something.
pub type Swap<T> = Exchanged<Arc<T>>;
/// One that may point to nothing.
pub type SwapOption<P> = Exchanged<Option<P>>;

/// What was loaded.
pub struct Guard<P>(P);

impl<P> Deref for Guard<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.0
    }
}

impl<T> Exchanged<Arc<T>> {
    /// Points to `value`.
    pub fn from_pointee(value: T) -> Self {
        Self::new(Arc::new(value))
    }
}

impl<P: Clone> Exchanged<P> {
    /// Is `pointer`.
    pub fn new(pointer: P) -> Self {
        let stored = std::sync::Mutex::new(vec![pointer]);
        Self { stored, turn: Turn::default(), current: AtomicUsize::new(0) }
    }

    /// The pointer as it is now.
    pub fn load_full(&self) -> P {
        self.turn.take();
        let current = self.current.load(Ordering::Acquire);
        self.stored()[current].clone()
    }

    /// As [`load_full`](Self::load_full).
    pub fn load(&self) -> Guard<P> {
        Guard(self.load_full())
    }

    /// Exchanges it, and returns what it was.
    pub fn swap(&self, pointer: P) -> P {
        let next = {
            let mut stored = self.stored();
            stored.push(pointer);
            stored.len() - 1
        };
        self.turn.take();
        let before = self.current.swap(next, Ordering::AcqRel);
        self.stored()[before].clone()
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, Vec<P>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Clone + Default> Default for Exchanged<P> {
    fn default() -> Self {
        Self::new(P::default())
    }
}

impl<P> fmt::Debug for Exchanged<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanged").finish_non_exhaustive()
    }
}
