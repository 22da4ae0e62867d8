//! The contents of a memtable while they are in memory: a hash table for points, an ordered index for ranges, both
//! over the same entries.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use lightning_db_sync::RwLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::entry::{KeyEntry, MemHit};
use super::index::OrderedIndex;

/// So many locks that a reader rarely meets the writer.
const SHARDS: usize = 64;

pub(super) struct Memory {
    shards: Box<[RwLock<HashTable<Arc<KeyEntry>>>]>,
    index: RwLock<OrderedIndex>,
    hash_seed: u64,
    len: AtomicUsize,
    entry_bytes: AtomicUsize,
    table_bytes: AtomicUsize,
    index_bytes: AtomicUsize,
}

impl Memory {
    pub(super) fn new(hash_seed: u64) -> Self {
        let index = OrderedIndex::new();
        let index_bytes = AtomicUsize::new(index.memory_bytes());
        Self {
            shards: (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect(),
            index: RwLock::new(index),
            hash_seed,
            len: AtomicUsize::new(0),
            entry_bytes: AtomicUsize::new(0),
            table_bytes: AtomicUsize::new(0),
            index_bytes,
        }
    }

    /// Adds a version. Only one thread at a time inserts, so that a key that is absent stays absent until it is added
    /// here.
    pub(super) fn insert(&self, key: &[u8], hit: MemHit) {
        let hash = self.hash(key);
        let known = self.with_entry(hash, key, |entry| entry.push(hit.clone()));
        if let Some((came, went)) = known {
            self.entry_bytes.fetch_add(came, Ordering::Relaxed);
            self.entry_bytes.fetch_sub(went, Ordering::Relaxed);
            return;
        }
        let bytes = KeyEntry::memory_bytes_at_first(key, &hit.value);
        self.entry_bytes.fetch_add(bytes, Ordering::Relaxed);
        let entry = KeyEntry::new(key, hit, Vec::new());
        self.insert_in_table(hash, Arc::clone(&entry));
        let mut index = self.index.write();
        index.insert(entry);
        self.index_bytes.store(index.memory_bytes(), Ordering::Relaxed);
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    /// What `look` says of the key's entry.
    pub(super) fn with<R>(&self, key: &[u8], look: impl FnOnce(&KeyEntry) -> R) -> Option<R> {
        self.with_entry(self.hash(key), key, look)
    }

    /// See [`OrderedIndex::batch_from`].
    pub(super) fn batch_from(&self, start: Bound<&[u8]>, out: &mut Vec<Arc<KeyEntry>>) {
        self.index.read().batch_from(start, out);
    }

    /// See [`OrderedIndex::batch_before`].
    pub(super) fn batch_before(&self, end: Option<&[u8]>, out: &mut Vec<Arc<KeyEntry>>) {
        self.index.read().batch_before(end, out);
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let parts = [&self.entry_bytes, &self.table_bytes, &self.index_bytes];
        parts.iter().map(|part| part.load(Ordering::Relaxed)).sum()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.hash_seed)
    }

    /// Middle bits choose the shard: a table uses the low ones for its places and the high ones for its tags.
    fn shard(&self, hash: u64) -> &RwLock<HashTable<Arc<KeyEntry>>> {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn with_entry<R>(&self, hash: u64, key: &[u8], look: impl FnOnce(&KeyEntry) -> R) -> Option<R> {
        let shard = self.shard(hash).read();
        shard.find(hash, |entry| entry.key() == key).map(|entry| look(entry))
    }

    fn insert_in_table(&self, hash: u64, entry: Arc<KeyEntry>) {
        let mut shard = self.shard(hash).write();
        let before = shard.allocation_size();
        shard.insert_unique(hash, entry, |entry| self.hash(entry.key()));
        self.table_bytes.fetch_add(shard.allocation_size().saturating_sub(before), Ordering::Relaxed);
    }
}
