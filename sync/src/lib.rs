//! Locks, threads and waiting. The engine has them from here and from nowhere else.
//!
//! Ordinarily this is `parking_lot` and the standard library under another name.

pub mod thread;

pub use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
pub use std::time::Instant;
