//! The program as its users run it: the real binary, its output and its exit status.

mod entries;
mod importing;
mod keys;
mod support;
mod usage;
