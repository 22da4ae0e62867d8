//! Reading: one key, many keys, ranges, at one moment.
//!
//! A reader sees a version and a sequence number. Where a key has several values, the newest source decides: memtables,
//! runs, base, in this order.
//!
//! ```text
//! reader.rs     what all reads share: caches, read-ahead, whether the database is open
//! point.rs      one key; batch.rs: many keys at once
//! merge.rs      all sources as one, in the order of keys; range.rs: which keys
//! scan.rs       opens the sources; iterator.rs, cursor.rs: what users hold
//! pages.rs      the page cache before the segments; in_flight.rs, prefetch.rs
//! ```

mod batch;
mod cursor;
mod in_flight;
mod iterator;
mod merge;
#[cfg(all(test, lightning_db_models))]
mod models;
mod pages;
mod pinned;
mod point;
mod prefetch;
mod range;
mod reader;
mod scan;
mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use batch::Show;
pub use cursor::Cursor;
pub use iterator::DatabaseIterator;
pub(crate) use merge::PendingWrites;
pub use pinned::PinnedValue;
pub(crate) use range::KeyRange;
pub(crate) use reader::Reader;
pub(crate) use scan::{Pending, ScanView};
pub use snapshot::Snapshot;
