//! How `cache_size` is divided.

/// One part in this many is for hot records.
const HOT_RECORDS_SHARE: usize = 8;
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
        assert_eq!(CacheBudget::new(800, true).pages(0), 700);
    }
}
