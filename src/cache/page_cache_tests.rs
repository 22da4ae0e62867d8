//! The page cache: its bound, what it keeps, and threads that share it.

use std::collections::VecDeque;
use std::sync::Arc;

use lightning_db_storage::SegmentId;
use proptest::prelude::*;

use super::page_cache::{Cached, PageCache, PageKey};

/// A page that knows where it belongs.
#[derive(Debug)]
struct FakePage {
    key: PageKey,
    bytes: usize,
}

impl Cached for FakePage {
    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

const PAGE: usize = 4096;

fn key(n: u64) -> PageKey {
    PageKey { segment: SegmentId(n % 4), offset: n * 1000 }
}

fn page(key: PageKey, bytes: usize) -> Arc<FakePage> {
    Arc::new(FakePage { key, bytes })
}

/// Reads a page as the engine does. Says whether it was cached.
fn read(cache: &PageCache<FakePage>, n: u64) -> bool {
    let key = key(n);
    match cache.get(key) {
        Some(page) => {
            assert_eq!(page.key, key);
            true
        }
        None => {
            cache.insert(key, page(key, PAGE));
            false
        }
    }
}

/// The least recently used page goes: what a scan ruins.
struct Lru {
    pages: VecDeque<u64>,
    capacity: usize,
}

impl Lru {
    fn read(&mut self, n: u64) -> bool {
        let known = self.pages.iter().position(|page| *page == n);
        if let Some(place) = known {
            self.pages.remove(place);
        } else if self.pages.len() == self.capacity {
            self.pages.pop_front();
        }
        self.pages.push_back(n);
        known.is_some()
    }
}

fn rate(hits: usize, of: usize) -> f64 {
    hits as f64 / of as f64
}

/// xorshift64: tests need no better.
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

#[test]
fn a_scan_does_not_drive_out_what_is_used_often() {
    const HOT: u64 = 200;
    let cache = PageCache::new(1 << 20);
    let mut lru = Lru { pages: VecDeque::new(), capacity: (1 << 20) / PAGE };
    let (mut random, mut scanned) = (1, 1_000_000);
    let (mut car_hits, mut lru_hits, mut reads) = (0, 0, 0);
    for round in 0..60 {
        for _ in 0..300 {
            let n = next(&mut random) % HOT;
            let (car, other) = (read(&cache, n), lru.read(n));
            if round >= 10 {
                reads += 1;
                car_hits += usize::from(car);
                lru_hits += usize::from(other);
            }
        }
        // As long as the whole cache, and never seen again.
        for _ in 0..300 {
            scanned += 1;
            read(&cache, scanned);
            lru.read(scanned);
        }
    }
    let (car, lru) = (rate(car_hits, reads), rate(lru_hits, reads));
    assert!(car > 0.9, "{car}");
    assert!(lru < 0.6, "{lru}: the scan is one that hurts");
}

#[test]
fn pages_read_ahead_and_used_once_are_as_cold_as_any_others() {
    const HOT: u64 = 200;
    let cache = PageCache::new(1 << 20);
    let (mut random, mut scanned) = (1, 1_000_000);
    let (mut hits, mut reads) = (0, 0);
    for round in 0..60 {
        for _ in 0..300 {
            let hit = read(&cache, next(&mut random) % HOT);
            if round >= 10 {
                reads += 1;
                hits += usize::from(hit);
            }
        }
        for _ in 0..300 {
            scanned += 1;
            cache.insert_ahead(key(scanned), page(key(scanned), PAGE));
            assert!(cache.contains(key(scanned)));
            assert!(read(&cache, scanned));
        }
    }
    assert!(rate(hits, reads) > 0.9, "{}", rate(hits, reads));
}

/// First a few pages are used again and again, then a window moves over many: the cache follows both.
#[test]
fn it_adapts_to_what_is_asked_of_it() {
    const PAGES: u64 = (1 << 20) / (PAGE as u64 + 200);
    let cache = PageCache::new(1 << 20);
    let mut random = 3;
    let mut phase = |pages: &dyn Fn(u64, u64) -> u64| {
        let hits = (0..30_000).filter(|step| read(&cache, pages(*step, next(&mut random)))).count();
        rate(hits, 30_000)
    };
    let frequent = phase(&|_, random| random % (PAGES * 9 / 10));
    let recent = phase(&|step, random| 1_000_000 + step / 10 + random % (PAGES / 2));
    let frequent_again = phase(&|_, random| random % (PAGES * 9 / 10));
    assert!(frequent > 0.95, "{frequent}");
    assert!(recent > 0.8, "{recent}");
    assert!(frequent_again > 0.9, "{frequent_again}");
}

#[test]
fn a_segment_that_goes_takes_its_pages_along() {
    let cache = PageCache::new(8 << 20);
    (0..400).for_each(|n| assert!(!read(&cache, n)));
    cache.remove_segment(SegmentId(1));
    for n in 0..400 {
        assert_eq!(cache.contains(key(n)), key(n).segment != SegmentId(1));
    }
    assert_eq!(cache.stats().pages, 300);
}

#[test]
fn the_bound_can_move_and_memory_can_be_given_back() {
    let cache = PageCache::new(16 << 20);
    (0..10_000).for_each(|n| assert!(!read(&cache, n)));
    let full = cache.stats();
    assert!(full.bytes <= full.capacity && full.bytes > full.capacity / 10 * 9, "{full:?}");
    let freed = cache.evict_fraction(0.25);
    assert_eq!(cache.stats().bytes, full.bytes - freed);
    assert!(freed > full.bytes / 5 && freed < full.bytes / 3, "{freed}");
    cache.set_capacity(2 << 20);
    let small = cache.stats();
    assert_eq!(small.capacity, 2 << 20);
    assert!(small.bytes <= 2 << 20 && small.pages > 300, "{small:?}");
    let before = (small.pages, small.evictions);
    cache.evict_fraction(1.0);
    let empty = cache.stats();
    assert_eq!((empty.pages, empty.evictions), (0, before.1 + before.0 as u64));
    cache.set_capacity(0);
    assert_eq!(cache.stats().bytes, 0);
    assert!(!read(&cache, 1) && !read(&cache, 1), "nothing is kept");
}

#[test]
fn a_page_too_large_for_the_cache_is_handed_back() {
    let cache = PageCache::new(1 << 20);
    let large = cache.insert(key(1), page(key(1), 1 << 20));
    assert_eq!(large.bytes, 1 << 20);
    assert!(cache.get(key(1)).is_none());
}

#[test]
fn evicted_pages_are_dropped() {
    let cache = PageCache::new(1 << 20);
    let watched: Vec<_> = (0..2000)
        .map(|n| {
            let page = page(key(n), PAGE);
            let weak = Arc::downgrade(&page);
            cache.insert(key(n), page);
            weak
        })
        .collect();
    let alive = watched.iter().filter(|page| page.strong_count() > 0).count();
    assert_eq!(alive, cache.stats().pages);
    assert_eq!(cache.stats().evictions, 2000 - alive as u64);
}

#[test]
fn threads_share_one_copy_of_a_page_and_keep_the_bound() {
    let cache = PageCache::new(4 << 20);
    std::thread::scope(|scope| {
        for thread in 1..=4u64 {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = thread * 0x9e37_79b9;
                for step in 0..20_000 {
                    let n = next(&mut random) % 3000;
                    match (step + thread) % 1000 {
                        0 => cache.remove_segment(SegmentId(n % 4)),
                        1 => drop(cache.evict_fraction(0.1)),
                        2 => cache.set_capacity((2 + n as usize % 3) << 20),
                        _ => drop(read(cache, n)),
                    }
                }
            });
        }
    });
    cache.set_capacity(4 << 20);
    let stats = cache.stats();
    assert!(stats.bytes <= 4 << 20, "{stats:?}");
    assert_eq!(cache.insert(key(1), page(key(1), PAGE)).key, key(1));
    let first = cache.get(key(1)).expect("the page was just inserted");
    assert!(Arc::ptr_eq(&first, &cache.insert(key(1), page(key(1), PAGE))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Sizes, bounds and orders at random: never over the bound, never another page than the one that was asked for.
    #[test]
    fn the_bound_holds_whatever_is_done(
        steps in proptest::collection::vec((0u64..300, 0usize..20_000, 0u8..40), 1..800),
        capacity in 0usize..400_000,
    ) {
        let cache = PageCache::new(capacity);
        for (n, bytes, what) in steps {
            let key = key(n);
            match what {
                0 => cache.remove_segment(key.segment),
                1 => drop(cache.evict_fraction(f64::from(n as u32) / 300.0)),
                2 => cache.set_capacity(bytes * 20),
                3..8 => drop(cache.insert_ahead(key, page(key, bytes))),
                _ => match cache.get(key) {
                    Some(page) => prop_assert_eq!(page.key, key),
                    None => prop_assert_eq!(cache.insert(key, page(key, bytes)).key, key),
                },
            }
            let stats = cache.stats();
            prop_assert!(stats.bytes <= stats.capacity, "{:?}", stats);
        }
    }
}
