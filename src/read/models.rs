//! Every order in which threads can want one page. Run by `cargo xtask models`.

use std::sync::Arc;

use lightning_db_storage::{Result, SegmentId, StorageError};
use lightning_db_sync::modelled::atomic::{AtomicUsize, Ordering};
use lightning_db_sync::modelled::loom::{self, thread};

use super::in_flight::InFlight;
use super::pages::read_once;
use crate::cache::{Cached, PageCache, PageKey};

const KEY: PageKey = PageKey { segment: SegmentId(1), offset: 128 };

#[derive(Debug, PartialEq)]
struct Page;

impl Cached for Page {
    fn memory_bytes(&self) -> usize {
        1000
    }
}

struct Store {
    cache: PageCache<Page>,
    in_flight: InFlight,
    reading: AtomicUsize,
    reads: AtomicUsize,
    /// So many reads fail.
    failures: usize,
}

impl Store {
    fn new(failures: usize) -> Arc<Self> {
        let (reading, reads) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self {
            cache: PageCache::new(1 << 20),
            in_flight: InFlight::default(),
            reading,
            reads,
            failures,
        })
    }

    fn page(&self) -> Result<Arc<Page>> {
        match self.cache.get(KEY) {
            Some(page) => Ok(page),
            None => read_once(&self.cache, &self.in_flight, KEY, || self.read()),
        }
    }

    fn read(&self) -> Result<Page> {
        let others = self.reading.fetch_add(1, Ordering::AcqRel);
        assert!(others == 0 || self.failures > 0, "a page is read by one thread at a time");
        let before = self.reads.fetch_add(1, Ordering::AcqRel);
        self.reading.fetch_sub(1, Ordering::AcqRel);
        if before < self.failures { Err(StorageError::corrupt("a test", 0, "fails")) } else { Ok(Page) }
    }
}

/// Three threads want the page; returns how many got it.
fn want(store: &Arc<Store>) -> usize {
    let run = || {
        let store = Arc::clone(store);
        thread::spawn(move || store.page().is_ok())
    };
    let threads = [run(), run()];
    let own = store.page().is_ok();
    threads.into_iter().map(|thread| usize::from(thread.join().expect("a thread"))).sum::<usize>()
        + usize::from(own)
}

#[test]
fn a_page_that_many_want_is_read_by_one_at_a_time_and_all_get_it() {
    bounded(|| {
        let store = Store::new(0);
        assert_eq!(want(&store), 3);
        assert_eq!(store.cache.get(KEY).as_deref(), Some(&Page));
    });
}

#[test]
fn a_failure_is_that_of_one_reader_and_the_others_try_themselves() {
    bounded(|| {
        let store = Store::new(1);
        assert_eq!(want(&store), 2);
    });
}

/// `LOOM_MAX_PREEMPTIONS` asks for more.
fn bounded(work: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(3);
    model.check(work);
}
