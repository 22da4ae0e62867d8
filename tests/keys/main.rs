//! The life of keys: slots, rotation, and what a power cut in the middle of it leaves.

mod audit;
mod audit_parts;
mod destruction;
mod freshness;
mod rotation;
mod separation;
#[path = "../support/mod.rs"]
mod support;
