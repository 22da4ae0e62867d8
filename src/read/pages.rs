//! Pages from the cache, and from their segments when they are not there.

use std::sync::Arc;

use lightning_db_storage::Result;
use lightning_db_storage::page::Page;
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSource};
use lightning_db_storage::tree::{PageSource, read_page};

use super::Reader;
use super::in_flight::InFlight;
use crate::cache::{Cached, Caches, PageCache, PageKey};

/// The pages of one database.
///
/// A page that is cached was authenticated when it was read, and its place never holds another one.
pub(super) struct PageStore {
    pub(super) caches: Arc<Caches>,
    in_flight: InFlight,
}

impl PageStore {
    pub(super) fn new(caches: Arc<Caches>) -> Self {
        Self { caches, in_flight: InFlight::default() }
    }

    /// The page at `ptr`; read from `blocks` when it is not in the cache.
    #[inline]
    pub(super) fn page(
        &self,
        blocks: &dyn BlockSource,
        kind: BlockKind,
        ptr: &BlockPtr,
    ) -> Result<Arc<Page>> {
        match self.caches.pages.get(key_of(ptr)) {
            Some(page) => Ok(page),
            None => self.read(blocks, kind, ptr),
        }
    }

    /// Reads a page that nobody needs yet, unless it is here or on its way. Whoever needs it hears of a failure then.
    pub(super) fn read_ahead(&self, blocks: &dyn BlockSource, kind: BlockKind, ptr: &BlockPtr) {
        let key = key_of(ptr);
        let Some(_flight) = self.in_flight.begin(key).filter(|_| !self.caches.pages.contains(key)) else {
            return;
        };
        if let Ok(page) = read_page(blocks, kind, ptr) {
            self.caches.pages.insert_ahead(key, Arc::new(page));
            self.caches.make_room();
        }
    }

    /// Whether there is no need to read the page ahead.
    pub(super) fn contains(&self, ptr: &BlockPtr) -> bool {
        self.caches.pages.contains(key_of(ptr))
    }

    fn read(&self, blocks: &dyn BlockSource, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<Page>> {
        let read = || read_page(blocks, kind, ptr);
        let page = read_once(&self.caches.pages, &self.in_flight, key_of(ptr), read)?;
        self.caches.make_room();
        Ok(page)
    }
}

/// The pages that a cursor or a batch walks through, with read-ahead.
pub(super) struct ViewPages {
    pub(super) reader: Arc<Reader>,
    pub(super) blocks: Arc<dyn BlockSource>,
}

impl PageSource for ViewPages {
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<Page>> {
        self.reader.pages.page(&*self.blocks, kind, ptr)
    }

    fn prefetch(&self, kind: BlockKind, ptrs: &[BlockPtr]) {
        self.reader.prefetch(&self.blocks, kind, ptrs);
    }
}

/// The pages that a read of one key goes through.
pub(super) struct PointPages<'a> {
    pub(super) pages: &'a PageStore,
    pub(super) blocks: &'a dyn BlockSource,
}

impl PageSource for PointPages<'_> {
    #[inline]
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<Page>> {
        self.pages.page(self.blocks, kind, ptr)
    }
}

/// Reads a page that the cache lacked, unless another thread is at it: then its page will do.
pub(super) fn read_once<V: Cached>(
    cache: &PageCache<V>,
    in_flight: &InFlight,
    key: PageKey,
    read: impl FnOnce() -> Result<V>,
) -> Result<Arc<V>> {
    let flight = in_flight.begin(key);
    if flight.is_none() {
        in_flight.wait(key);
        // Not there when the other reader failed, or when the page does not fit the cache.
        if let Some(page) = cache.get(key) {
            return Ok(page);
        }
    }
    let page = Arc::new(read()?);
    Ok(cache.insert(key, page))
}

fn key_of(ptr: &BlockPtr) -> PageKey {
    PageKey { segment: ptr.segment, offset: ptr.offset }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use lightning_db_storage::tree::{Cursor, ReadAhead, TreeRef};

    use super::*;
    use crate::config::LightningDbConfig;
    use crate::read::testing::{TestStore, put};

    fn reader(prefetch_enabled: bool) -> Arc<Reader> {
        reader_with(&LightningDbConfig { prefetch_enabled, ..LightningDbConfig::default() })
    }

    fn reader_with(config: &LightningDbConfig) -> Arc<Reader> {
        Reader::new(config, Arc::new(Caches::new(8 << 20, false, 1)))
    }

    fn store_with_tree() -> (Arc<TestStore>, TreeRef) {
        store_with_pages_of(1024, 20)
    }

    fn store_with_pages_of(page_size: usize, value_len: usize) -> (Arc<TestStore>, TreeRef) {
        let store = TestStore::new();
        let entries: Vec<_> =
            (0u32..2000).map(|number| (number.to_be_bytes().to_vec(), put(vec![1; value_len]))).collect();
        let (tree, _) = store.tree(&entries, page_size);
        (store, tree)
    }

    fn scan(reader: &Arc<Reader>, store: &Arc<TestStore>, tree: TreeRef) -> usize {
        let blocks: Arc<dyn BlockSource> = Arc::clone(store) as _;
        let pages: Arc<dyn PageSource> = Arc::new(ViewPages { reader: Arc::clone(reader), blocks });
        let mut cursor = Cursor::new(pages, tree, reader.read_ahead());
        let mut count = 0;
        let mut on_entry = cursor.seek_first().expect("sound");
        while on_entry {
            count += 1;
            on_entry = cursor.next().expect("sound");
        }
        count
    }

    fn distinct_reads(store: &TestStore) -> (usize, usize) {
        let mut reads: Vec<_> = store.reads.lock().iter().map(|ptr| (ptr.segment, ptr.offset)).collect();
        let all = reads.len();
        reads.sort_unstable();
        reads.dedup();
        (all, reads.len())
    }

    #[test]
    fn a_page_is_read_once_with_and_without_reading_ahead() {
        for prefetch_enabled in [false, true] {
            let (store, tree) = store_with_tree();
            let reader = reader(prefetch_enabled);
            assert_eq!(scan(&reader, &store, tree), 2000);
            assert_eq!(scan(&reader, &store, tree), 2000);
            let (all, distinct) = distinct_reads(&store);
            // A reader who missed just before the other one was done may read once more.
            assert!(distinct > 40 && all <= distinct + distinct / 4, "{all} reads of {distinct} pages");
        }
    }

    #[test]
    fn read_ahead_is_done_by_other_threads_and_only_when_wanted() {
        for prefetch_enabled in [false, true] {
            let (store, tree) = store_with_tree();
            let reader = reader(prefetch_enabled);
            assert_eq!(reader.read_ahead(), ReadAhead { distance: if prefetch_enabled { 8 } else { 0 } });
            // Slow enough for the others to be at it.
            store.set_pause(Duration::from_millis(1));
            scan(&reader, &store, tree);
            let here = std::thread::current().id();
            let elsewhere = store.readers.lock().iter().filter(|thread| **thread != here).count();
            assert_eq!(elsewhere > 0, prefetch_enabled, "{elsewhere} pages");
        }
    }

    #[test]
    fn as_many_threads_read_ahead_as_are_configured() {
        for prefetch_workers in [1, 4] {
            let (store, tree) = store_with_tree();
            let config =
                LightningDbConfig { prefetch_workers, prefetch_distance: 16, ..LightningDbConfig::default() };
            store.set_pause(Duration::from_millis(2));
            scan(&reader_with(&config), &store, tree);
            let here = std::thread::current().id();
            let others: HashSet<_> =
                store.readers.lock().iter().copied().filter(|thread| *thread != here).collect();
            let expected = if prefetch_workers == 1 { 1..=1 } else { 2..=4 };
            assert!(expected.contains(&others.len()), "{} threads of {prefetch_workers}", others.len());
        }
    }

    #[test]
    fn no_more_is_read_ahead_than_the_configured_distance() {
        for prefetch_distance in [1, 32] {
            let (store, tree) = store_with_pages_of(4096, 200);
            let config = LightningDbConfig { prefetch_distance, ..LightningDbConfig::default() };
            let reader = reader_with(&config);
            let blocks: Arc<dyn BlockSource> = Arc::clone(&store) as _;
            let pages: Arc<dyn PageSource> = Arc::new(ViewPages { reader: Arc::clone(&reader), blocks });
            let mut cursor = Cursor::new(pages, tree, reader.read_ahead());
            assert!(cursor.seek_first().expect("sound"));
            // Some 20 leaves of 100.
            (0..400).for_each(|_| assert!(cursor.next().expect("sound")));
            let many = || distinct_reads(&store).1 > 32;
            // The threads need a while; how long, nothing tells.
            let tries = if prefetch_distance == 1 { 20 } else { 2000 };
            let found = (0..tries).any(|_| {
                std::thread::sleep(Duration::from_millis(2));
                many()
            });
            assert_eq!(found, prefetch_distance > 1, "{} pages", distinct_reads(&store).1);
        }
    }

    #[test]
    fn pages_that_wait_to_be_read_ahead_hold_nothing_when_the_scan_is_over() {
        let (store, tree) = store_with_pages_of(4096, 200);
        let config =
            LightningDbConfig { prefetch_workers: 1, prefetch_distance: 32, ..LightningDbConfig::default() };
        let reader = reader_with(&config);
        // The one worker needs longer for its first page than this test for all.
        store.set_pause(Duration::from_millis(20));
        {
            let blocks: Arc<dyn BlockSource> = Arc::clone(&store) as _;
            let pages: Arc<dyn PageSource> = Arc::new(ViewPages { reader: Arc::clone(&reader), blocks });
            let mut cursor = Cursor::new(pages, tree, reader.read_ahead());
            assert!(cursor.seek_first().expect("sound"));
            (0..400).for_each(|_| assert!(cursor.next().expect("sound")));
        }
        let holders = Arc::strong_count(&store);
        assert!(holders <= 2, "{holders}: the test, and the page that is being read");
        reader.close();
    }

    #[test]
    fn what_fails_ahead_fails_again_when_it_is_needed_and_not_for_ever() {
        let (store, tree) = store_with_tree();
        let reader = reader(true);
        let root = tree.root.expect("a root");
        store.fail_reads(true);
        reader.pages.read_ahead(&*store, BlockKind::Inner, &root);
        assert!(reader.pages.page(&*store, BlockKind::Inner, &root).is_err());
        store.fail_reads(false);
        assert!(reader.pages.page(&*store, BlockKind::Inner, &root).is_ok());
    }

    #[test]
    fn many_threads_that_want_one_page_read_it_once() {
        let (store, tree) = store_with_tree();
        let reader = reader(false);
        let root = tree.root.expect("a root");
        store.set_pause(Duration::from_millis(30));
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    reader.pages.page(&*store, BlockKind::Inner, &root).expect("read");
                });
            }
        });
        assert_eq!(store.reads.lock().len(), 1);
    }

    #[test]
    fn closing_ends_the_threads_and_wipes_the_cache() {
        let (store, tree) = store_with_tree();
        let reader = reader(true);
        scan(&reader, &store, tree);
        assert!(reader.caches().pages.stats().pages > 0);
        reader.close();
        assert!(reader.check_open().is_err());
        assert_eq!(reader.caches().pages.stats().pages, 0);
        assert_eq!(Arc::strong_count(&reader.pages), 2, "of the reader and its prefetcher, of no thread");
    }
}
