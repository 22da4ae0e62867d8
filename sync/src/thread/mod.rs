//! Threads.

#[cfg(not(feature = "simulation"))]
mod real;
#[cfg(feature = "simulation")]
mod simulated;

#[cfg(not(feature = "simulation"))]
pub use real::{JoinHandle, Scope, ScopedJoinHandle, is_current, scope, sleep, spawn, spawn_scoped};
#[cfg(feature = "simulation")]
pub use simulated::{JoinHandle, Scope, ScopedJoinHandle, is_current, scope, sleep, spawn, spawn_scoped};
