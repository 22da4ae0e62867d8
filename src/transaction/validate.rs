//! Whether a transaction may commit after all the commits that came before it.
//!
//! Snapshot isolation: nobody else changed a key that the transaction wrote, since it began; the first committer wins.
//! Serializable: nobody changed anything that it read either. Everything that it saw is then still so at the moment of
//! its commit, and the commits are in an order in which the transactions could have run one after another.

use std::collections::BTreeSet;
use std::ops::Bound;

use lightning_db_storage::SequenceNumber;

use super::key::Key;
use super::read_set::{Between, ReadSet};
use crate::engine::{CommitView, Validate};
use crate::error::{Error, Result};

/// What must not have changed since a transaction began.
struct Footprint {
    began: SequenceNumber,
    written: Vec<Key>,
    read: BTreeSet<Key>,
    scanned: Vec<Between>,
}

/// The check that a commit makes when all earlier commits are known.
pub(super) fn unchanged(began: SequenceNumber, written: Vec<Key>, reads: ReadSet) -> Validate {
    let (read, scanned) = reads.finish();
    let footprint = Footprint { began, written, read, scanned };
    Box::new(move |view| footprint.check(view))
}

impl Footprint {
    fn check(&self, view: &CommitView<'_>) -> Result<()> {
        for key in self.written.iter().chain(&self.read) {
            if view.changed_since(key.bytes(), self.began)? {
                return Err(Error::TransactionConflict);
            }
        }
        for (start, end) in &self.scanned {
            if view.range_changed_since(bytes(start), bytes(end), self.began)? {
                return Err(Error::TransactionConflict);
            }
        }
        Ok(())
    }
}

fn bytes(bound: &Bound<Key>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key.bytes()),
        Bound::Excluded(key) => Bound::Excluded(key.bytes()),
        Bound::Unbounded => Bound::Unbounded,
    }
}
