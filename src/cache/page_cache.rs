//! Decrypted pages in memory, bounded in bytes.
//!
//! The cache is cut into shards, each a [`Clock`] behind a lock of its own. A hit takes the lock for reading and sets a
//! mark; only misses, evictions and removals take it for writing. Evicted pages are dropped, and so wiped, after the
//! lock was let go.

use std::fmt;
use std::sync::Arc;

use lightning_db_storage::SegmentId;
use lightning_db_storage::page::Page;
use lightning_db_sync::modelled::RwLock;

use super::budget::Room;
use super::clock::{Clock, Mark};
use super::counter::Counter;

/// A shard is at least as large as this, so that each holds enough pages to know which are hot.
const SHARD_BYTES_MIN: usize = 4 << 20;
const SHARDS_MAX: usize = 64;

/// What a cache can hold: it says what it takes.
pub(crate) trait Cached: Send + Sync {
    /// Bytes of memory, those behind pointers included.
    fn memory_bytes(&self) -> usize;
}

impl Cached for Page {
    fn memory_bytes(&self) -> usize {
        Self::memory_bytes(self)
    }
}

/// Where a page is on disk. A segment is never changed, so that a page is never stale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageKey {
    /// The segment that holds the page.
    pub(crate) segment: SegmentId,
    /// Its place in the segment's file.
    pub(crate) offset: u64,
}

/// What a cache has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageCacheStats {
    /// Lookups that found their page.
    pub(crate) hits: u64,
    /// Lookups that did not.
    pub(crate) misses: u64,
    /// Pages that had to go for others, or by [`PageCache::evict_fraction`].
    pub(crate) evictions: u64,
    /// Pages held.
    pub(crate) pages: usize,
    /// Bytes taken, all overhead included.
    pub(crate) bytes: usize,
    /// The most bytes it may take.
    pub(crate) capacity: usize,
}

/// Pages by their place on disk.
pub(crate) struct PageCache<V> {
    shards: Box<[RwLock<Clock<V>>]>,
    room: Arc<Room>,
    hits: Counter,
    misses: Counter,
    evictions: Counter,
}

impl<V: Cached> PageCache<V> {
    /// A cache that takes at most `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        let shards = (capacity / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        Self {
            shards: (0..shards).map(|_| RwLock::new(Clock::new(capacity / shards))).collect(),
            room: Arc::new(Room::new(capacity)),
            hits: Counter::default(),
            misses: Counter::default(),
            evictions: Counter::default(),
        }
    }

    /// The page, if it is here.
    #[inline]
    pub(crate) fn get(&self, key: PageKey) -> Option<Arc<V>> {
        let hash = key.hash();
        let found = self.shard(hash).read().get(hash, key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.add(1);
        found
    }

    /// Whether the page is here; not counted as a use.
    pub(crate) fn contains(&self, key: PageKey) -> bool {
        let hash = key.hash();
        self.shard(hash).read().contains(hash, key)
    }

    /// Keeps a page that was read. When another reader was faster, his is returned, otherwise the same one. A page too
    /// large for the cache is only returned.
    pub(crate) fn insert(&self, key: PageKey, page: Arc<V>) -> Arc<V> {
        self.insert_marked(key, page, Mark::Idle)
    }

    /// Keeps a page that was read ahead: its first use does not make it look like one used twice.
    pub(crate) fn insert_ahead(&self, key: PageKey, page: Arc<V>) -> Arc<V> {
        self.insert_marked(key, page, Mark::Ahead)
    }

    /// Drops every page of a segment that is to be deleted.
    pub(crate) fn remove_segment(&self, segment: SegmentId) {
        for shard in &self.shards {
            let removed =
                self.change(&mut shard.write(), |clock| clock.remove_where(|key| key.segment == segment));
            drop(removed);
        }
    }

    /// Drops about this share of the cached bytes, 0.0 to 1.0, the coldest first. Returns how many bytes were freed.
    pub(crate) fn evict_fraction(&self, fraction: f64) -> usize {
        let keep = 1.0 - fraction.clamp(0.0, 1.0);
        let evict = |shard: &RwLock<Clock<V>>| {
            let mut clock = shard.write();
            let before = clock.bytes();
            let keep_bytes = (clock.resident_bytes() as f64 * keep) as usize;
            let victims = self.change(&mut clock, |clock| clock.shrink_to(keep_bytes));
            let freed = before.saturating_sub(clock.bytes());
            drop(clock);
            self.evictions.add(victims.len() as u64);
            freed
        };
        self.shards.iter().map(evict).sum()
    }

    /// Changes the bound, and evicts what no longer fits.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.room.set_capacity(capacity);
        for shard in &self.shards {
            let bound = capacity / self.shards.len();
            let victims = self.change(&mut shard.write(), |clock| clock.set_capacity(bound));
            self.evictions.add(victims.len() as u64);
        }
    }

    /// What pages may take, and have taken.
    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// What the cache has done and holds.
    pub(crate) fn stats(&self) -> PageCacheStats {
        let mut stats = PageCacheStats {
            hits: self.hits.get(),
            misses: self.misses.get(),
            evictions: self.evictions.get(),
            capacity: self.room.capacity(),
            ..PageCacheStats::default()
        };
        for shard in &self.shards {
            let clock = shard.read();
            stats.pages += clock.residents();
            stats.bytes += clock.bytes();
        }
        stats
    }

    fn insert_marked(&self, key: PageKey, page: Arc<V>, mark: Mark) -> Arc<V> {
        let hash = key.hash();
        let weight = page.memory_bytes();
        let insert = |clock: &mut Clock<V>| clock.insert(hash, key, page, weight, mark);
        let (kept, victims) = self.change(&mut self.shard(hash).write(), insert);
        self.evictions.add(victims.len() as u64);
        kept
    }

    /// Changes a shard, and accounts for it.
    fn change<T>(&self, clock: &mut Clock<V>, change: impl FnOnce(&mut Clock<V>) -> T) -> T {
        let before = clock.bytes();
        let changed = change(clock);
        self.room.changed(before, clock.bytes());
        changed
    }

    fn shard(&self, hash: u64) -> &RwLock<Clock<V>> {
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }
}

impl PageKey {
    /// Spreads places that differ in few bits. Nobody chooses where a page lies, so it needs no secret.
    pub(super) fn hash(self) -> u64 {
        let mut hash = self.segment.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.offset;
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^ (hash >> 32)
    }
}

impl<V: Cached> fmt::Debug for PageCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
