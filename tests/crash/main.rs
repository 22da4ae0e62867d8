//! Killed processes and power cuts: what was promised is there afterwards, and nothing else than a prefix of what was
//! done.

mod killed;
mod power;
#[path = "../support/mod.rs"]
mod support;
