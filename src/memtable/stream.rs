//! A memtable as a stream of entries: what a flush and a spill write.

use std::ops::Bound;
use std::sync::Arc;

use lightning_db_storage::page::EntryValue;
use lightning_db_storage::tree::EntryStream;
use lightning_db_storage::{Result, ZeroizingBytes};

use super::entry::KeyEntry;
use super::memory::Memory;
use super::{MemCursor, versions};

/// The newest version of each key, deletions included: what a flush writes.
pub(crate) struct MemStream {
    cursor: MemCursor,
    started: bool,
}

impl MemStream {
    pub(super) fn new(cursor: MemCursor) -> Self {
        Self { cursor, started: false }
    }
}

impl EntryStream for MemStream {
    fn advance(&mut self) -> Result<bool> {
        if self.started {
            return self.cursor.next();
        }
        self.started = true;
        self.cursor.seek_first()
    }

    fn key(&self) -> &[u8] {
        self.cursor.key().unwrap_or_default()
    }

    fn value(&self) -> EntryValue<'_> {
        let hit = self.cursor.current().map(|(_, hit)| hit);
        hit.map_or(EntryValue::Delete, |hit| EntryValue::new(hit.value.kind(), hit.value.bytes()))
    }
}

/// All versions of each key, encoded: what a spill writes. Nothing may be inserted meanwhile.
pub(super) struct VersionsStream<'a> {
    memory: &'a Memory,
    batch: Vec<Arc<KeyEntry>>,
    position: usize,
    encoded: ZeroizingBytes,
    started: bool,
}

impl<'a> VersionsStream<'a> {
    pub(super) fn new(memory: &'a Memory) -> Self {
        Self { memory, batch: Vec::new(), position: 0, encoded: ZeroizingBytes::default(), started: false }
    }
}

impl EntryStream for VersionsStream<'_> {
    fn advance(&mut self) -> Result<bool> {
        if self.started {
            self.position += 1;
        }
        if self.position >= self.batch.len() {
            let last = self.batch.last().map(Arc::clone);
            if self.started && last.is_none() {
                return Ok(false);
            }
            self.batch.clear();
            self.position = 0;
            let start = last.as_ref().map_or(Bound::Unbounded, |last| Bound::Excluded(last.key()));
            self.memory.batch_from(start, &mut self.batch);
        }
        self.started = true;
        let Some(entry) = self.batch.get(self.position) else { return Ok(false) };
        self.encoded = versions::encode(entry);
        Ok(true)
    }

    fn key(&self) -> &[u8] {
        self.batch[self.position].key()
    }

    fn value(&self) -> EntryValue<'_> {
        EntryValue::Versions(&self.encoded)
    }
}
