//! Walking a range within a transaction.

use std::sync::Arc;

use super::open::Fate;
use super::read_set::{ScannedRange, Step};
use crate::error::{Error, Result};
use crate::read::DatabaseIterator;

/// The entries of a range as a transaction saw them when the walk began, its own writes included; what it writes later
/// does not show. From either end, ascending by [`next`](Iterator::next) and descending by
/// [`next_back`](DoubleEndedIterator::next_back).
///
/// Nothing comes after an error. When the transaction ends before the walk does, that is an error too:
/// [`TransactionTimedOut`](Error::TransactionTimedOut) or [`TransactionNotFound`](Error::TransactionNotFound).
pub struct TransactionIterator {
    entries: DatabaseIterator,
    fate: Arc<Fate>,
    /// Remembers for a serializable transaction what was seen.
    scanned: Option<Arc<ScannedRange>>,
    done: bool,
}

type Entry = (Vec<u8>, Vec<u8>);

impl TransactionIterator {
    pub(super) fn new(
        entries: DatabaseIterator,
        fate: Arc<Fate>,
        scanned: Option<Arc<ScannedRange>>,
    ) -> Self {
        Self { entries, fate, scanned, done: false }
    }

    fn step(
        &mut self,
        advance: impl FnOnce(&mut DatabaseIterator) -> Option<Result<Entry>>,
        note: impl FnOnce(&[u8]) -> Step<'_>,
    ) -> Option<Result<Entry>> {
        if self.done {
            return None;
        }
        let entry = self.fate.check().and_then(|()| advance(&mut self.entries).transpose());
        let entry = entry.and_then(|entry| self.note(entry, note));
        self.done = !matches!(entry, Ok(Some(_)));
        entry.transpose()
    }

    fn note(&self, entry: Option<Entry>, note: impl FnOnce(&[u8]) -> Step<'_>) -> Result<Option<Entry>> {
        if let Some(scanned) = &self.scanned {
            let step = entry.as_ref().map_or(Step::End, |(key, _)| note(key));
            if !scanned.note(step) {
                return Err(Error::TransactionNotFound);
            }
        }
        Ok(entry)
    }
}

impl Iterator for TransactionIterator {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(DatabaseIterator::next, |key| Step::Up(key))
    }
}

impl DoubleEndedIterator for TransactionIterator {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(DatabaseIterator::next_back, |key| Step::Down(key))
    }
}

impl std::iter::FusedIterator for TransactionIterator {}

impl std::fmt::Debug for TransactionIterator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TransactionIterator")
    }
}
