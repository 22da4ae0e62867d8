//! How `cache_size` is divided.

use lightning_db_sync::modelled::atomic::{AtomicUsize, Ordering};

/// One part in this many is always for hot records.
const HOT_RECORDS_SHARE: usize = 4;
/// One part in this many is left to pages whatever else is charged: without inner pages every read goes to disk.
const PAGES_SHARE_MIN: usize = 8;

/// The division of `cache_size` between hot records, pages, and what is charged to it besides: filters that are in
/// memory, and memtables that snapshots hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheBudget {
    cache_size: usize,
    hot_records: usize,
}

impl CacheBudget {
    /// Divides `cache_size` bytes.
    pub(crate) fn new(cache_size: usize, with_hot_records: bool) -> Self {
        let hot_records = if with_hot_records { cache_size / HOT_RECORDS_SHARE } else { 0 };
        Self { cache_size, hot_records }
    }

    /// Bytes for hot records.
    pub(crate) const fn hot_records(&self) -> usize {
        self.hot_records
    }

    /// Bytes for pages, when `charged` bytes are in use besides.
    pub(crate) fn pages(&self, charged: usize) -> usize {
        let rest = self.cache_size - self.hot_records;
        rest.saturating_sub(charged).max(self.cache_size / PAGES_SHARE_MIN)
    }

    /// The most that may be charged, so that everything together stays within `cache_size`. Who is about to go beyond
    /// leaves a filter on disk, or spills a memtable.
    pub(crate) const fn chargeable(&self) -> usize {
        self.cache_size - self.hot_records - self.cache_size / PAGES_SHARE_MIN
    }
}

/// What pages may take, and what they have taken of it. Hot records may have the rest as long as no page needs it.
#[derive(Debug, Default)]
pub(crate) struct Room {
    capacity: AtomicUsize,
    taken: AtomicUsize,
}

impl Room {
    /// Room of `capacity` bytes, of which nothing is taken.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: AtomicUsize::new(capacity), taken: AtomicUsize::new(0) }
    }

    /// The most that pages may take.
    pub(super) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Changes what pages may take.
    pub(super) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// Pages took `before` bytes, and now take `after`.
    pub(super) fn changed(&self, before: usize, after: usize) {
        if after >= before {
            self.taken.fetch_add(after - before, Ordering::AcqRel);
        } else {
            self.taken.fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    /// What pages leave.
    pub(super) fn free(&self) -> usize {
        self.capacity().saturating_sub(self.taken.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_to_the_whole() {
        for with_hot_records in [true, false] {
            for cache_size in [0, 1, 7, 1 << 20, 64 << 20, usize::MAX / 2] {
                let budget = CacheBudget::new(cache_size, with_hot_records);
                for charged in [0, budget.chargeable() / 3, budget.chargeable()] {
                    assert_eq!(budget.hot_records() + budget.pages(charged) + charged, cache_size);
                }
                assert!(budget.pages(usize::MAX) >= cache_size / PAGES_SHARE_MIN);
            }
        }
    }

    #[test]
    fn without_hot_records_pages_get_their_part() {
        assert_eq!(CacheBudget::new(800, false).pages(0), 800);
        assert_eq!(CacheBudget::new(800, true).pages(0), 600);
    }
}
