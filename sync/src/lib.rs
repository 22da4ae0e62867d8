//! Locks, threads and waiting. The engine has them from here and from nowhere else.
//!
//! Ordinarily this is `parking_lot`, `arc_swap` and the standard library under another name. With the feature `simulation`, threads
//! that belong to a simulation take turns, and all others behave as without it.

#[cfg(feature = "simulation")]
mod locks;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(feature = "simulation")]
mod stepped;
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
#[cfg(feature = "simulation")]
pub use stepped::{Swap, SwapOption, atomic};
#[cfg(feature = "simulation")]
pub use time::Instant;
#[cfg(not(feature = "simulation"))]
pub use {
    arc_swap::ArcSwap as Swap,
    std::{sync::atomic, time::Instant},
};

/// A shared pointer of type `P` that can be exchanged, or nothing.
#[cfg(not(feature = "simulation"))]
pub type SwapOption<P> = arc_swap::ArcSwapAny<Option<P>>;

#[cfg(all(test, not(feature = "simulation")))]
mod tests {
    use std::any::TypeId;

    #[test]
    fn ordinarily_nothing_is_added() {
        assert_eq!(TypeId::of::<crate::Mutex<u8>>(), TypeId::of::<parking_lot::Mutex<u8>>());
        assert_eq!(TypeId::of::<crate::RwLock<u8>>(), TypeId::of::<parking_lot::RwLock<u8>>());
        assert_eq!(TypeId::of::<crate::Condvar>(), TypeId::of::<parking_lot::Condvar>());
        assert_eq!(TypeId::of::<crate::Swap<u8>>(), TypeId::of::<arc_swap::ArcSwap<u8>>());
        assert_eq!(TypeId::of::<crate::Instant>(), TypeId::of::<std::time::Instant>());
        assert_eq!(
            TypeId::of::<crate::thread::JoinHandle<u8>>(),
            TypeId::of::<std::thread::JoinHandle<u8>>()
        );
        assert_eq!(TypeId::of::<crate::atomic::AtomicU64>(), TypeId::of::<std::sync::atomic::AtomicU64>());
    }
}
