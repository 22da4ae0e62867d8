//! The contents of a memtable once they were written to a temporary file.

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use lightning_db_storage::bytes::Malformed;
use lightning_db_storage::page::EntryValue;
use lightning_db_storage::tree::{self, Cursor, PageSource, ReadAhead, TreeRef};
use lightning_db_storage::{Result, StorageError};

use super::entry::KeyEntry;
use super::versions;

/// A batch ends at either, whichever comes first: a spilled memtable must not come back into memory as a whole.
const BATCH_KEYS: usize = 64;
const BATCH_BYTES: usize = 256 << 10;

/// A tree that holds all versions of a memtable's keys.
pub(crate) struct SpilledRun {
    /// The tree. Its entries are of the kind `Versions`.
    pub(crate) tree: TreeRef,
    /// Where its pages come from. It owns the file, and deletes it when it is dropped.
    pub(crate) pages: Arc<dyn PageSource>,
    /// The file, for errors.
    pub(crate) file: PathBuf,
}

impl SpilledRun {
    /// What `look` says of the key's entry.
    pub(super) fn with<R>(&self, key: &[u8], look: impl FnOnce(&KeyEntry) -> R) -> Result<Option<R>> {
        let Some(hit) = tree::get(&*self.pages, &self.tree, key)? else { return Ok(None) };
        Ok(Some(look(&*self.decode(key, hit.value())?)))
    }

    /// Appends keys that follow one another from `start` on, ascending.
    pub(super) fn batch_from(&self, start: Bound<&[u8]>, out: &mut Vec<Arc<KeyEntry>>) -> Result<()> {
        let mut cursor = self.cursor();
        let mut on = match start {
            Bound::Unbounded => cursor.seek_first()?,
            Bound::Included(key) => cursor.seek(key)?,
            Bound::Excluded(key) => cursor.seek(key)? && (cursor.key() != key || cursor.next()?),
        };
        let mut room = Room::default();
        while on {
            out.push(self.decode(cursor.key(), cursor.value())?);
            on = room.is_left_after(cursor.value()) && cursor.next()?;
        }
        Ok(())
    }

    /// Appends the keys that lead up to `end`, ascending.
    pub(super) fn batch_before(&self, end: Option<&[u8]>, out: &mut Vec<Arc<KeyEntry>>) -> Result<()> {
        let mut cursor = self.cursor();
        let mut on = match end {
            Some(key) => cursor.seek_back(key)?,
            None => cursor.seek_last()?,
        };
        let mut room = Room::default();
        while on {
            out.push(self.decode(cursor.key(), cursor.value())?);
            on = room.is_left_after(cursor.value()) && cursor.prev()?;
        }
        out.reverse();
        Ok(())
    }

    fn cursor(&self) -> Cursor<&dyn PageSource> {
        Cursor::new(&*self.pages, self.tree, ReadAhead::default())
    }

    fn decode(&self, key: &[u8], value: EntryValue<'_>) -> Result<Arc<KeyEntry>> {
        let EntryValue::Versions(encoded) = value else {
            return Err(self.damaged(Malformed { what: "kind of a spilled entry" }));
        };
        versions::decode(key, encoded).map_err(|malformed| self.damaged(malformed))
    }

    fn damaged(&self, malformed: Malformed) -> StorageError {
        StorageError::corrupt(&self.file, 0, malformed.to_string())
    }
}

/// What is left of a batch's room.
#[derive(Default)]
struct Room {
    keys: usize,
    bytes: usize,
}

impl Room {
    fn is_left_after(&mut self, value: EntryValue<'_>) -> bool {
        self.keys += 1;
        self.bytes += value.bytes().len();
        self.keys < BATCH_KEYS && self.bytes < BATCH_BYTES
    }
}
