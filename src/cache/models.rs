//! Every order in which a few threads can use the caches. Run by `cargo xtask models`.

use std::sync::Arc;

use lightning_db_storage::{SegmentId, SequenceNumber};
use lightning_db_sync::modelled::atomic::{AtomicU64, Ordering};
use lightning_db_sync::modelled::loom::{self, thread};

use super::{Cached, HotRecords, PageCache, PageKey};

const KEY: &[u8] = b"k";

/// A database with one key, whose value after commit `n` is `n`.
struct OneKey {
    table: HotRecords,
    published: AtomicU64,
}

impl OneKey {
    fn new() -> Arc<Self> {
        let table = HotRecords::laid_out(1, 1 << 20, Arc::default(), 7);
        // So that its block is there: how one comes into being is left to the standard library, which is not modelled.
        let mut write = table.announce(KEY);
        table.pending(&mut write);
        assert!(table.settled(&write).is_none(), "nothing was there to be replaced");
        Arc::new(Self { table, published: AtomicU64::new(0) })
    }

    /// As the engine commits.
    fn commit(&self, sequence: u64) {
        let mut write = self.table.announce(KEY);
        self.table.pending(&mut write);
        self.published.store(sequence, Ordering::Release);
        if let Some(ticket) = self.table.settled(&write) {
            self.table.fill(&ticket, KEY, SequenceNumber(sequence), Some(&sequence.to_le_bytes()));
        }
    }

    /// As the engine goes back to a checkpoint.
    fn change_everything(&self, sequence: u64) {
        self.table.all_pending();
        self.published.store(sequence, Ordering::Release);
        self.table.all_settled();
    }

    /// As the engine reads one key, and what must hold of the answer.
    fn read(&self) {
        let newest = self.published.load(Ordering::Acquire);
        if let Some(hit) = self.table.get(KEY) {
            let bytes = hit.value().expect("the key is never absent");
            let value = u64::from_le_bytes(bytes.try_into().expect("a number"));
            assert!(value >= newest, "a stale hit: {value} after {newest} was published");
            // So a snapshot at `newest` takes the hit only where it is right.
            assert_eq!(value, hit.read_at().0, "a record is what was read at its moment");
            return;
        }
        let ticket = self.table.ticket(KEY);
        let at = self.published.load(Ordering::Acquire);
        if let Some(ticket) = ticket {
            self.table.fill(&ticket, KEY, SequenceNumber(at), Some(&at.to_le_bytes()));
        }
    }
}

#[test]
fn no_hit_is_stale_after_publication() {
    bounded(|| {
        let db = OneKey::new();
        let writer = thread::spawn({
            let db = Arc::clone(&db);
            move || (1..=2).for_each(|sequence| db.commit(sequence))
        });
        db.read();
        db.read();
        writer.join().expect("the writer");
        db.read();
    });
}

#[test]
fn no_hit_is_stale_after_everything_changed() {
    bounded(|| {
        let db = OneKey::new();
        let writer = thread::spawn({
            let db = Arc::clone(&db);
            move || db.change_everything(1)
        });
        db.read();
        db.read();
        writer.join().expect("the writer");
        db.read();
    });
}

/// Two readers: one fills what the other finds.
#[test]
fn no_reader_finds_a_stale_record_that_another_one_filled_in() {
    bounded(|| {
        let db = OneKey::new();
        let run = |work: fn(&OneKey)| {
            let db = Arc::clone(&db);
            thread::spawn(move || work(&db))
        };
        let threads = [run(|db| db.commit(1)), run(OneKey::read)];
        db.read();
        for thread in threads {
            thread.join().expect("a thread");
        }
        db.read();
    });
}

/// `LOOM_MAX_PREEMPTIONS` asks for more.
fn bounded(work: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(2);
    model.check(work);
}

/// A page that knows its place.
#[derive(Debug, PartialEq)]
struct Page(u64);

impl Cached for Page {
    fn memory_bytes(&self) -> usize {
        1000
    }
}

fn place(offset: u64) -> PageKey {
    PageKey { segment: SegmentId(offset % 2), offset }
}

#[test]
fn a_place_gives_its_own_page_and_the_bound_holds_however_pages_come_and_go() {
    loom::model(|| {
        let cache: Arc<PageCache<Page>> = Arc::new(PageCache::new(3500));
        let expect = |cache: &PageCache<Page>, offset: u64| {
            assert!(cache.get(place(offset)).is_none_or(|page| *page == Page(offset)));
        };
        let reader = thread::spawn({
            let cache = Arc::clone(&cache);
            move || {
                assert_eq!(*cache.insert(place(1), Arc::new(Page(1))), Page(1));
                expect(&cache, 2);
                assert_eq!(*cache.insert_ahead(place(2), Arc::new(Page(2))), Page(2));
                expect(&cache, 1);
            }
        });
        let other = thread::spawn({
            let cache = Arc::clone(&cache);
            move || {
                cache.insert(place(3), Arc::new(Page(3)));
                cache.remove_segment(SegmentId(1));
                cache.insert(place(1), Arc::new(Page(1)));
                cache.insert(place(4), Arc::new(Page(4)));
            }
        });
        cache.set_capacity(2500);
        expect(&cache, 3);
        reader.join().expect("the reader");
        other.join().expect("the other one");
        let stats = cache.stats();
        assert!(stats.bytes <= stats.capacity, "{stats:?}");
    });
}
