//! Transactions: several reads and writes as one, apart from those of others.
//!
//! ```text
//! manager.rs     from the beginning of a transaction to its end
//! registry.rs    which transactions are open, and how the others ended
//! open.rs        what an open transaction has; write_set.rs: what it wrote; read_set.rs: what it read
//! lock_table.rs  locks on keys, deadlocks
//! validate.rs    whether it may commit
//! scan.rs        ranges: its own writes over what is committed
//! handle.rs      the form that ends with its scope; retry.rs: the form that begins again after a conflict
//! reaper.rs      time-outs
//! ```
//!
//! What a transaction writes stays in its memory until it commits, and goes through the engine's one way to commit
//! then: nothing of an aborted transaction was ever anywhere else. What it reads is a version of the database that
//! does not change, with its own writes on top.
//!
//! Locks, in the order in which they may be taken: a transaction's slot; the registry; the lock table. A thread waits
//! for a key's lock with the slot locked, never with the registry.

mod handle;
mod key;
mod lock_table;
mod manager;
mod open;
mod read_set;
mod reaper;
mod registry;
mod retry;
mod scan;
mod validate;
mod write_set;

use std::fmt;

pub use handle::Transaction;
pub(crate) use manager::Transactions;
pub(crate) use open::{Isolation, Mode};
pub(crate) use retry::Retries;
pub use scan::TransactionIterator;

use crate::config::TransactionOptions;

/// The number of a transaction of one open database. Numbers are not used again until the database is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(u64);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Mode {
    /// Reads and writes, as if transactions ran one after another.
    pub(crate) const SERIALIZABLE: Self = Self { isolation: Isolation::Serializable, read_only: false };
}

impl From<TransactionOptions> for Mode {
    fn from(options: TransactionOptions) -> Self {
        let isolation = if options.snapshot { Isolation::Snapshot } else { Isolation::ReadCommitted };
        Self { isolation, read_only: options.read_only }
    }
}
