//! Locks, threads and waiting. The engine has them from here and from nowhere else.
//!
//! Ordinarily this is `parking_lot` and the standard library under another name. With the feature `simulation`, threads
//! that belong to a simulation take turns, and all others behave as without it.

#[cfg(feature = "simulation")]
mod locks;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(feature = "simulation")]
mod time;

pub mod modelled;
pub mod thread;

#[cfg(feature = "simulation")]
pub use locks::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
#[cfg(not(feature = "simulation"))]
pub use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
#[cfg(not(feature = "simulation"))]
pub use std::time::Instant;
#[cfg(feature = "simulation")]
pub use time::Instant;
