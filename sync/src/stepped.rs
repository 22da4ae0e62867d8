//! Atomics and pointers that are steps of a simulation: between any two accesses somebody else may go on. One that is
//! relaxed orders nothing, and is none.

use std::panic::Location;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapAny, Guard, RefCnt};

use crate::simulation::in_task;

/// A shared pointer that can be exchanged.
#[derive(Debug)]
pub struct Swap<T>(ArcSwap<T>);

/// A shared pointer of type `P` that can be exchanged, or nothing.
pub struct SwapOption<P: RefCnt>(ArcSwapAny<Option<P>>);

#[track_caller]
fn step() {
    let at = Location::caller();
    if !std::thread::panicking() {
        in_task(|task| task.switch(at));
    }
}

impl<T> Swap<T> {
    /// One that points to `value`.
    pub fn from_pointee(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    /// What it points to, without counting a reference.
    #[track_caller]
    pub fn load(&self) -> Guard<Arc<T>> {
        step();
        self.0.load()
    }

    /// What it points to.
    #[track_caller]
    pub fn load_full(&self) -> Arc<T> {
        step();
        self.0.load_full()
    }

    /// Lets it point to `next`, and returns what it pointed to.
    #[track_caller]
    pub fn swap(&self, next: Arc<T>) -> Arc<T> {
        step();
        self.0.swap(next)
    }

    /// Lets it point to `next`.
    #[track_caller]
    pub fn store(&self, next: Arc<T>) {
        step();
        self.0.store(next);
    }
}

impl<P: RefCnt> Default for SwapOption<P> {
    fn default() -> Self {
        Self(ArcSwapAny::new(None))
    }
}

impl<P: RefCnt> SwapOption<P> {
    /// What it points to, without counting a reference.
    #[track_caller]
    pub fn load(&self) -> Guard<Option<P>> {
        step();
        self.0.load()
    }

    /// Lets it point to `next`, and returns what it pointed to.
    #[track_caller]
    pub fn swap(&self, next: Option<P>) -> Option<P> {
        step();
        self.0.swap(next)
    }
}

/// Atomics.
pub mod atomic {
    pub use std::sync::atomic::Ordering;

    #[track_caller]
    fn step(order: Ordering) {
        if order != Ordering::Relaxed {
            super::step();
        }
    }

    macro_rules! stepped {
        ($($name:ident $value:ty),*) => { $(
            /// The atomic of the standard library, each access a step.
            #[derive(Debug, Default)]
            pub struct $name(std::sync::atomic::$name);

            impl $name {
                /// With a first value.
                #[must_use]
                pub const fn new(value: $value) -> Self {
                    Self(std::sync::atomic::$name::new(value))
                }

                /// Its value.
                #[track_caller]
                pub fn load(&self, order: Ordering) -> $value {
                    step(order);
                    self.0.load(order)
                }

                /// Gives it a value.
                #[track_caller]
                pub fn store(&self, value: $value, order: Ordering) {
                    step(order);
                    self.0.store(value, order);
                }

                /// Gives it a value, and returns the one before.
                #[track_caller]
                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    step(order);
                    self.0.swap(value, order)
                }
            }
        )* };
    }

    macro_rules! counting {
        ($($name:ident $value:ty),*) => { $(
            impl $name {
                /// Adds, and returns the value before.
                #[track_caller]
                pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    step(order);
                    self.0.fetch_add(value, order)
                }

                /// Gives it the value `next` if it has the value `current`. Returns the value before: as an error, if it
                /// was another.
                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    current: $value,
                    next: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    step(success);
                    self.0.compare_exchange(current, next, success, failure)
                }

                /// Takes away, and returns the value before.
                #[track_caller]
                pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    step(order);
                    self.0.fetch_sub(value, order)
                }
            }
        )* };
    }

    stepped!(AtomicBool bool, AtomicU8 u8, AtomicU16 u16, AtomicU32 u32, AtomicU64 u64, AtomicUsize usize);
    counting!(AtomicU8 u8, AtomicU32 u32, AtomicU64 u64, AtomicUsize usize);
}
