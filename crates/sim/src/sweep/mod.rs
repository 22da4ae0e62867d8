//! Sweeps: short workloads, and everything that can go wrong in them, one after the other.
//!
//! ```text
//! script.rs    the workloads
//! stage.rs     a machine on which one runs, and its ledger
//! ledger.rs    what the database was told, and so what it may hold
//! judge.rs     what was left is started again and asked for everything
//! crashes.rs   every call that changes something, as the moment of a crash; ending.rs: what is left then
//! faults.rs    every call as the one that fails or lies; kinds.rs: in which ways
//! full.rs      a disk that is full at any size
//! runner.rs    many small jobs on a few threads
//! ```

pub mod crashes;
mod ending;
pub mod faults;
mod full;
mod judge;
mod kinds;
mod ledger;
mod runner;
mod script;
mod stage;
