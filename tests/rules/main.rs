//! Rules that keep data, each with the test that fails when the rule is taken out.

mod keys;
mod log;
mod repositories;
#[path = "../support/mod.rs"]
mod support;
mod versions;
