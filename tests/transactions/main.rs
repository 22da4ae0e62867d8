//! Transactions through the public interface: what each isolation level promises, in both modes.

mod bank;
mod conflicts;
mod hermitage;
mod limits;
mod locking;
mod serial;
mod support;
