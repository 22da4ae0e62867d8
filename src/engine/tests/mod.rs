//! The engine against a model, on a simulated file system.

mod basics;
mod crash;
mod faults;
mod merging;
mod support;
