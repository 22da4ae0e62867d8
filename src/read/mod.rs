//! Reading: one key, many keys, ranges, at one moment.
//!
//! A reader sees a version and a sequence number. Where a key has several values, the newest source decides: memtables,
//! runs, base, in this order.

mod merge;
mod range;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use merge::{MergeCursor, PendingWrites, Source};
pub(crate) use range::KeyRange;
