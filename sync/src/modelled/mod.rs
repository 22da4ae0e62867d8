//! Locks, atomics and pointers of the code that is tried out under every order in which its threads can run. Ordinarily
//! they are those of this crate; with `--cfg lightning_db_models` those of
//! `loom`, and work only inside of a model.

#[cfg(lightning_db_models)]
mod explored;

#[cfg(lightning_db_models)]
pub use {
    explored::{
        Condvar, Guard, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Swap, SwapOption,
    },
    loom,
};

/// Atomics.
#[cfg(lightning_db_models)]
pub mod atomic {
    pub use super::explored::AtomicU64;
    pub use loom::sync::atomic::{
        AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering,
    };
}

#[cfg(not(lightning_db_models))]
pub use {
    crate::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Swap, SwapOption, atomic,
    },
    arc_swap::Guard,
};
