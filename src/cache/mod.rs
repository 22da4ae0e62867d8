//! What is kept in memory of what is on disk: decrypted pages, and the newest values of hot keys. `cache_size` bounds
//! both together.

mod budget;
mod clock;
mod counter;
mod hot_records;
#[cfg(test)]
mod hot_records_tests;
#[cfg(all(test, lightning_db_models))]
mod models;
mod page_cache;
#[cfg(test)]
mod page_cache_tests;
mod prefetch;
mod record;

use std::sync::Arc;

use lightning_db_storage::page::Page;
use lightning_db_sync::modelled::Mutex;

use budget::CacheBudget;
pub(crate) use hot_records::{FillTicket, GROUP, HotHit, HotRecords, Write};
pub(crate) use page_cache::{Cached, PageCache, PageKey};

/// The caches of one open database.
#[derive(Debug)]
pub(crate) struct Caches {
    /// Pages by their place on disk.
    pub(crate) pages: PageCache<Page>,
    /// `None` when the configuration wants none, or leaves too little room for it.
    pub(crate) hot_records: Option<HotRecords>,
    budget: CacheBudget,
    charged: Mutex<usize>,
}

impl Caches {
    /// Caches that together take at most `cache_size` bytes. `hash_seed` is random.
    pub(crate) fn new(cache_size: usize, with_hot_records: bool, hash_seed: u64) -> Self {
        let budget = CacheBudget::new(cache_size, with_hot_records);
        let pages = PageCache::new(budget.pages(0));
        match HotRecords::new(budget.hot_records(), Arc::clone(pages.room()), hash_seed) {
            Some(hot_records) => {
                Self { pages, hot_records: Some(hot_records), budget, charged: Mutex::default() }
            }
            None => {
                let budget = CacheBudget::new(cache_size, false);
                let pages = PageCache::new(budget.pages(0));
                Self { pages, hot_records: None, budget, charged: Mutex::default() }
            }
        }
    }

    /// Makes room for what else counts in `cache_size` and is in memory now: filters, and memtables that snapshots
    /// hold. At most [`Caches::chargeable`] bytes.
    pub(crate) fn charge(&self, bytes: usize) {
        // Held meanwhile, so that what was charged last is what counts.
        let mut charged = self.charged.lock();
        if *charged != bytes {
            *charged = bytes;
            self.pages.set_capacity(self.budget.pages(bytes));
            self.make_room();
        }
    }

    /// To be called when a page was kept: what hot records had of its room they give back.
    pub(crate) fn make_room(&self) {
        if let Some(records) = &self.hot_records {
            records.make_room();
        }
    }

    /// How many bytes may be charged before everything together exceeds `cache_size`.
    pub(crate) fn chargeable(&self) -> usize {
        self.budget.chargeable()
    }

    /// Drops about this share of all that is cached, 0.0 to 1.0, the coldest first. Returns how many bytes were freed.
    pub(crate) fn evict_fraction(&self, fraction: f64) -> usize {
        let records = self.hot_records.as_ref().map_or(0, |records| records.evict_fraction(fraction));
        records + self.pages.evict_fraction(fraction)
    }
}
