//! An embedded key-value database that keeps data secret, whole and recoverable.

mod memtable;
mod shared_bytes;
