//! What each option changes, seen from outside: in files, sizes, calls to the file system, threads, errors.

mod memory;
mod process;
mod refused;
mod storage;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod writing;
