//! The program as its users run it: the real binary, its output and its exit status.
#![expect(
    clippy::disallowed_methods,
    reason = "the files that users and accidents change lie on a real disk"
)]

mod entries;
mod importing;
mod keys;
mod observing;
mod recovering;
mod services;
mod support;
mod usage;
