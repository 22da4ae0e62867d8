//! The engine against a model, on a simulated file system.

mod basics;
mod checkpoints;
mod crash;
mod dictionaries;
mod faults;
mod log;
mod merging;
mod races;
mod support;
