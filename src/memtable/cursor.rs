//! Walking a memtable in key order, both ways, as it was at a sequence number.

use std::ops::Bound;
use std::sync::Arc;

use lightning_db_storage::{Result, SequenceNumber};

use super::Memtable;
use super::entry::{KeyEntry, MemHit};

/// A place in a memtable. It shows each key once, in its newest version that is not newer than the cursor's sequence
/// number, deletions included. A cursor that ran off either end is nowhere, until it seeks again.
///
/// It takes keys from the memtable in batches, each under a short lock. What a writer adds between two batches is newer
/// than any published sequence number, so that a cursor at one misses nothing.
pub(crate) struct MemCursor {
    table: Arc<Memtable>,
    at: SequenceNumber,
    /// Keys that follow one another without a gap.
    batch: Vec<Arc<KeyEntry>>,
    position: usize,
    current: Option<MemHit>,
}

impl MemCursor {
    /// A cursor that is nowhere yet. `at` must have been published.
    pub(crate) fn new(table: Arc<Memtable>, at: SequenceNumber) -> Self {
        Self { table, at, batch: Vec::new(), position: 0, current: None }
    }

    /// Goes to the first key. Says whether there is one, as all that move the cursor do.
    ///
    /// # Errors
    /// Those of reading the file, when the memtable was spilled; the same holds for all that move the cursor.
    pub(crate) fn seek_first(&mut self) -> Result<bool> {
        self.load_from(Bound::Unbounded)
    }

    /// Goes to the last key.
    pub(crate) fn seek_last(&mut self) -> Result<bool> {
        self.load_before(None)
    }

    /// Goes to the first key that is `key` or above.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.load_from(Bound::Included(key))
    }

    /// Goes to the last key below `key`. To include a key, seek back from the same with a zero byte added.
    pub(crate) fn seek_back(&mut self, key: &[u8]) -> Result<bool> {
        self.load_before(Some(key))
    }

    /// Goes to the next key.
    pub(crate) fn next(&mut self) -> Result<bool> {
        if self.current.is_none() {
            return Ok(false);
        }
        self.position += 1;
        self.forward()
    }

    /// Goes to the key before.
    pub(crate) fn prev(&mut self) -> Result<bool> {
        if self.current.is_none() {
            return Ok(false);
        }
        self.backward()
    }

    /// The key here and its version.
    pub(crate) fn current(&self) -> Option<(&[u8], &MemHit)> {
        self.current.as_ref().map(|hit| (self.batch[self.position].key(), hit))
    }

    /// The key here.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.current().map(|(key, _)| key)
    }

    fn load_from(&mut self, start: Bound<&[u8]>) -> Result<bool> {
        self.clear();
        self.table.batch_from(start, &mut self.batch)?;
        self.forward()
    }

    fn load_before(&mut self, end: Option<&[u8]>) -> Result<bool> {
        self.clear();
        self.table.batch_before(end, &mut self.batch)?;
        self.position = self.batch.len();
        self.backward()
    }

    /// Finds the first visible key from `position` on.
    fn forward(&mut self) -> Result<bool> {
        loop {
            while let Some(entry) = self.batch.get(self.position) {
                self.current = entry.visible(self.at);
                if self.current.is_some() {
                    return Ok(true);
                }
                self.position += 1;
            }
            self.current = None;
            let Some(last) = self.batch.last().map(Arc::clone) else { return Ok(false) };
            self.clear();
            self.table.batch_from(Bound::Excluded(last.key()), &mut self.batch)?;
        }
    }

    /// Finds the last visible key before `position`.
    fn backward(&mut self) -> Result<bool> {
        loop {
            while let Some(before) = self.position.checked_sub(1) {
                self.position = before;
                self.current = self.batch[before].visible(self.at);
                if self.current.is_some() {
                    return Ok(true);
                }
            }
            self.current = None;
            let Some(first) = self.batch.first().map(Arc::clone) else { return Ok(false) };
            self.clear();
            self.table.batch_before(Some(first.key()), &mut self.batch)?;
            self.position = self.batch.len();
        }
    }

    fn clear(&mut self) {
        self.current = None;
        self.batch.clear();
        self.position = 0;
    }
}
