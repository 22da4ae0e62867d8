//! Committed versions of keys that are not in a run yet.
//!
//! One writer at a time inserts, under the commit lock and in the order of sequence numbers; any number of readers read
//! meanwhile. A version is inserted before its sequence number is published, and readers read at published sequence
//! numbers, so that they see a commit whole or not at all. A memtable that is frozen gets no more versions.

mod cursor;
mod entry;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod index;
mod memory;
#[cfg(test)]
mod spill_tests;
mod spilled;
mod stream;
#[cfg(test)]
mod tests;
mod versions;

use std::ops::Bound;
use std::sync::Arc;

use lightning_db_storage::tree::EntryStream;
use lightning_db_storage::{Result, SequenceNumber, StorageError};
use lightning_db_sync::Swap;
use lightning_db_sync::atomic::{AtomicU64, Ordering};

pub(crate) use cursor::MemCursor;
use entry::KeyEntry;
pub(crate) use entry::{MemHit, MemValue};
use memory::Memory;
pub(crate) use spilled::SpilledRun;
pub(crate) use stream::MemStream;
use stream::VersionsStream;

/// Versions of keys: points in constant time, ranges in order.
pub(crate) struct Memtable {
    contents: Swap<Contents>,
    /// 0 while there is none.
    first: AtomicU64,
    last: AtomicU64,
}

/// Where the versions are. All of them are there, wherever that is.
enum Contents {
    Memory(Memory),
    Spilled(SpilledRun),
}

impl Memtable {
    /// An empty one. `hash_seed` is random, so that nobody can choose keys that collide.
    pub(crate) fn new(hash_seed: u64) -> Self {
        let contents = Swap::from_pointee(Contents::Memory(Memory::new(hash_seed)));
        Self { contents, first: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    /// Adds the version that commit `seq` wrote. A second write of one commit to a key takes the place of the first.
    /// The caller holds the commit lock, and comes in the order of sequence numbers.
    pub(crate) fn insert(&self, key: &[u8], seq: SequenceNumber, value: MemValue) {
        debug_assert!(seq.0 >= self.last.load(Ordering::Relaxed), "commits are applied in their order");
        let Contents::Memory(memory) = &**self.contents.load() else {
            unreachable!("only a frozen memtable is spilled");
        };
        memory.insert(key, MemHit { seq, value });
        if self.first.load(Ordering::Relaxed) == 0 {
            self.first.store(seq.0, Ordering::Release);
        }
        self.last.store(seq.0, Ordering::Release);
    }

    /// The newest version of `key` that is not newer than `at`, a deletion included. `None` says nothing about older
    /// memtables and runs.
    ///
    /// # Errors
    /// Those of reading the file, when the memtable was spilled; the same holds for the other reads.
    pub(crate) fn get(&self, key: &[u8], at: SequenceNumber) -> Result<Option<MemHit>> {
        if self.first_sequence().is_none_or(|first| first > at) {
            return Ok(None);
        }
        Ok(self.with(key, |entry| entry.visible(at))?.flatten())
    }

    /// The commit that wrote `key` last, published or not.
    pub(crate) fn newest_sequence(&self, key: &[u8]) -> Result<Option<SequenceNumber>> {
        self.with(key, KeyEntry::newest_sequence)
    }

    /// Whether a commit after `than` wrote a key between `start` and `end`.
    pub(crate) fn any_newer_in_range(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        than: SequenceNumber,
    ) -> Result<bool> {
        if self.last_sequence().is_none_or(|last| last <= than) {
            return Ok(false);
        }
        let mut batch = Vec::new();
        self.batch_from(start, &mut batch)?;
        while let Some(last) = batch.last().map(Arc::clone) {
            for entry in batch.drain(..) {
                if !is_before(entry.key(), end) {
                    return Ok(false);
                }
                if entry.newest_sequence() > than {
                    return Ok(true);
                }
            }
            self.batch_from(Bound::Excluded(last.key()), &mut batch)?;
        }
        Ok(false)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        match &**self.contents.load() {
            Contents::Memory(memory) => memory.len(),
            Contents::Spilled(run) => run.tree.entries as usize,
        }
    }

    /// Whether nothing was ever inserted.
    pub(crate) fn is_empty(&self) -> bool {
        self.last_sequence().is_none()
    }

    /// What the memtable takes from the heap, all overhead included.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &**self.contents.load() {
            Contents::Memory(memory) => memory.memory_bytes(),
            Contents::Spilled(_) => size_of::<Contents>(),
        }
    }

    /// The oldest commit in here.
    pub(crate) fn first_sequence(&self) -> Option<SequenceNumber> {
        Some(SequenceNumber(self.first.load(Ordering::Acquire))).filter(|first| first.0 != 0)
    }

    /// The newest commit in here.
    pub(crate) fn last_sequence(&self) -> Option<SequenceNumber> {
        Some(SequenceNumber(self.last.load(Ordering::Acquire))).filter(|last| last.0 != 0)
    }

    /// The newest version of each key, ascending: what a flush writes. The memtable is frozen.
    pub(crate) fn stream(self: &Arc<Self>) -> MemStream {
        MemStream::new(MemCursor::new(Arc::clone(self), SequenceNumber(u64::MAX)))
    }

    /// Moves all versions of a frozen memtable out of memory: `write` builds a tree of what the stream gives it, in a
    /// temporary sealed file. Readers go on undisturbed, from then on through the file. Returns how many bytes of
    /// memory that frees, once the readers that are in it have left; 0 when it was spilled before.
    ///
    /// # Errors
    /// Those of `write`, and `Corrupt` when its tree lacks keys; the versions then stay in memory.
    pub(crate) fn spill(
        &self,
        write: impl FnOnce(&mut dyn EntryStream) -> Result<SpilledRun>,
    ) -> Result<usize> {
        let contents = self.contents.load_full();
        let Contents::Memory(memory) = &*contents else { return Ok(0) };
        let run = write(&mut VersionsStream::new(memory))?;
        if run.tree.entries != memory.len() as u64 {
            return Err(StorageError::corrupt(&run.file, 0, "a spilled memtable lacks keys"));
        }
        self.contents.store(Arc::new(Contents::Spilled(run)));
        Ok(memory.memory_bytes())
    }

    /// Whether the versions were moved out of memory.
    pub(crate) fn is_spilled(&self) -> bool {
        matches!(**self.contents.load(), Contents::Spilled(_))
    }

    fn with<R>(&self, key: &[u8], look: impl FnOnce(&KeyEntry) -> R) -> Result<Option<R>> {
        match &**self.contents.load() {
            Contents::Memory(memory) => Ok(memory.with(key, look)),
            Contents::Spilled(run) => run.with(key, look),
        }
    }

    /// Appends keys that follow one another from `start` on, ascending; none when there are none.
    fn batch_from(&self, start: Bound<&[u8]>, out: &mut Vec<Arc<KeyEntry>>) -> Result<()> {
        match &**self.contents.load() {
            Contents::Memory(memory) => {
                memory.batch_from(start, out);
                Ok(())
            }
            Contents::Spilled(run) => run.batch_from(start, out),
        }
    }

    /// Appends the keys that lead up to `end` and are below it, ascending; none when there are none.
    fn batch_before(&self, end: Option<&[u8]>, out: &mut Vec<Arc<KeyEntry>>) -> Result<()> {
        match &**self.contents.load() {
            Contents::Memory(memory) => {
                memory.batch_before(end, out);
                Ok(())
            }
            Contents::Spilled(run) => run.batch_before(end, out),
        }
    }
}

fn is_before(key: &[u8], end: Bound<&[u8]>) -> bool {
    match end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= end,
        Bound::Excluded(end) => key < end,
    }
}
