//! A memtable that is written out: flushed, or spilled while readers are in it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lightning_db_crypto::{DatabaseId, Keyring, SeededEntropy};
use lightning_db_storage::page::{EntryKind, Page};
use lightning_db_storage::pointer::{BlockKind, BlockPtr, BlockSink, Codec};
use lightning_db_storage::tree::{BuildOptions, EntryStream, PageSource, build};
use lightning_db_storage::{Generation, Result, SegmentId, SequenceNumber, StorageError, ZeroizingBytes};
use proptest::prelude::*;

use super::tests::{collect, commits, put};
use super::{MemCursor, MemValue, Memtable, SpilledRun, versions};

/// Pages in place of a file; counts how often one is read, and fails when told to.
#[derive(Default)]
struct Pages {
    blocks: HashMap<u64, Vec<u8>>,
    reads: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
}

impl BlockSink for Pages {
    fn append(&mut self, _kind: BlockKind, raw: &[u8]) -> Result<BlockPtr> {
        let offset = self.blocks.len() as u64;
        self.blocks.insert(offset, raw.to_vec());
        let len = raw.len() as u32;
        Ok(BlockPtr {
            segment: SegmentId(1),
            offset,
            stored_len: len,
            raw_len: len,
            codec: Codec::Stored,
            birth: Generation(1),
            tag: [0; 16],
        })
    }
}

impl PageSource for Pages {
    fn page(&self, kind: BlockKind, ptr: &BlockPtr) -> Result<Arc<Page>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(StorageError::corrupt("spill", ptr.offset, "told to fail"));
        }
        let raw = ZeroizingBytes::new(self.blocks[&ptr.offset].clone());
        Ok(Arc::new(Page::parse(kind, raw).expect("a page that was built")))
    }
}

fn write(stream: &mut dyn EntryStream, mut pages: Pages) -> Result<SpilledRun> {
    let keyring = Keyring::create(None, DatabaseId([1; 16]), &SeededEntropy::new(1), 0)?;
    let hasher = keyring.content_hasher();
    let options = BuildOptions { page_size: 1024, hasher: &hasher, drop_tombstones: false, filter: None };
    let tree = build(stream, &mut pages, options)?;
    Ok(SpilledRun { tree, pages: Arc::new(pages), file: PathBuf::from("spill") })
}

/// Spills a memtable into pages in memory.
pub(super) fn spill(table: &Memtable) -> usize {
    table.spill(|stream| write(stream, Pages::default())).expect("pages in memory take everything")
}

#[test]
fn a_spilled_memtable_gives_its_memory_back() {
    let table = Arc::new(Memtable::new(1));
    for seq in 1..=3000u64 {
        table.insert(&(seq % 1000).to_be_bytes(), SequenceNumber(seq), put(&[seq as u8; 100]));
    }
    let before = table.memory_bytes();
    assert!(!table.is_spilled());
    assert_eq!(spill(&table), before);
    assert!(table.is_spilled());
    assert!(table.memory_bytes() < 1000, "{}", table.memory_bytes());
    assert_eq!(table.len(), 1000);
    assert_eq!(table.last_sequence(), Some(SequenceNumber(3000)));
    let hit = table.get(&5u64.to_be_bytes(), SequenceNumber(1004)).unwrap().expect("a version is visible");
    assert_eq!(hit.seq, SequenceNumber(5));
    assert_eq!(spill(&table), 0, "it is spilled once");
}

#[test]
fn cursors_go_on_through_a_spill() {
    for forward in [true, false] {
        let table = Arc::new(Memtable::new(1));
        for seq in 1..=2000u64 {
            table.insert(&seq.to_be_bytes(), SequenceNumber(seq), put(&seq.to_be_bytes()));
        }
        let mut cursor = MemCursor::new(Arc::clone(&table), SequenceNumber(1500));
        let mut on = if forward { cursor.seek_first() } else { cursor.seek_last() }.unwrap();
        for _ in 0..700 {
            assert!(on);
            on = if forward { cursor.next() } else { cursor.prev() }.unwrap();
        }
        spill(&table);
        let rest = collect(&mut cursor, on, forward);
        let expected: Vec<u64> = if forward { (701..=1500).collect() } else { (1..=800).rev().collect() };
        assert!(rest.iter().map(|(_, seq, _)| *seq).eq(expected));
    }
}

#[test]
fn a_spill_that_fails_leaves_the_versions_in_memory() {
    let table = Memtable::new(1);
    (1..=100u64).for_each(|seq| table.insert(&seq.to_be_bytes(), SequenceNumber(seq), put(b"v")));
    let failed = table.spill(|_| Err(StorageError::DiskFull { path: PathBuf::from("spill") }));
    assert!(matches!(failed, Err(StorageError::DiskFull { .. })));
    let short = table.spill(|stream| {
        stream.advance()?;
        write(stream, Pages::default())
    });
    assert!(matches!(short, Err(StorageError::Corrupt { .. })), "a key is lacking");
    assert!(!table.is_spilled());
    assert!((1..=100u64).all(|seq| table.get(&seq.to_be_bytes(), SequenceNumber(100)).unwrap().is_some()));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_not_an_absent_key() {
    let table = Arc::new(Memtable::new(1));
    (1..=100u64).for_each(|seq| table.insert(&seq.to_be_bytes(), SequenceNumber(seq), put(b"v")));
    let pages = Pages::default();
    let (reads, fails) = (Arc::clone(&pages.reads), Arc::clone(&pages.fails));
    table.spill(|stream| write(stream, pages)).unwrap();
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    assert!(table.get(&1u64.to_be_bytes(), SequenceNumber(100)).unwrap().is_some());
    assert!(reads.load(Ordering::Relaxed) > 0);
    fails.store(true, Ordering::Relaxed);
    assert!(table.get(&1u64.to_be_bytes(), SequenceNumber(100)).is_err());
    assert!(table.newest_sequence(&1u64.to_be_bytes()).is_err());
    let mut cursor = MemCursor::new(table, SequenceNumber(100));
    assert!(cursor.seek_first().is_err() && cursor.current().is_none());
    assert!(cursor.seek_last().is_err() && cursor.current().is_none());
}

#[test]
fn extents_come_through_a_spill() {
    let table = Memtable::new(1);
    table.insert(b"k", SequenceNumber(1), MemValue::Extent(b"reference"[..].into()));
    spill(&table);
    let hit = table.get(b"k", SequenceNumber(1)).unwrap().expect("the key was written");
    assert!(matches!(&hit.value, MemValue::Extent(bytes) if **bytes == *b"reference"));
}

#[test]
fn readers_that_come_and_go_see_the_same_before_during_and_after_a_spill() {
    for _ in 0..20 {
        let table = Arc::new(Memtable::new(1));
        for seq in 1..=600u64 {
            table.insert(&(seq % 200).to_be_bytes(), SequenceNumber(seq), put(&seq.to_be_bytes()));
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for reader in 0..2u64 {
                let (table, done) = (&table, &done);
                scope.spawn(move || {
                    let mut last_round = false;
                    while !last_round {
                        last_round = done.load(Ordering::Acquire);
                        let at = 400 + reader * 100;
                        let mut cursor = MemCursor::new(Arc::clone(table), SequenceNumber(at));
                        let on = cursor.seek_first().unwrap();
                        let rows = collect(&mut cursor, on, true);
                        assert_eq!(rows.len(), 200);
                        assert!(rows.iter().all(|(_, seq, _)| *seq <= at && *seq > at - 200));
                    }
                });
            }
            spill(&table);
            done.store(true, Ordering::Release);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flush_writes_the_newest_version_of_each_key(commits in commits()) {
        let (table, model) = super::tests::build(&commits);
        let mut stream = table.stream();
        for (key, versions) in &model {
            prop_assert!(stream.advance().unwrap());
            prop_assert_eq!(stream.key(), &key[..]);
            let value = stream.value();
            let newest = versions.values().next_back().and_then(Option::as_deref);
            prop_assert_eq!(value.kind(), if newest.is_some() { EntryKind::Put } else { EntryKind::Delete });
            prop_assert_eq!(value.bytes(), newest.unwrap_or_default());
        }
        prop_assert!(!stream.advance().unwrap());
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(entry) = versions::decode(b"k", &bytes) {
            let mut before = None;
            entry.each_version(|hit| {
                assert!(before.is_none_or(|before| hit.seq < before), "newest first");
                before = Some(hit.seq);
            });
            let hit = entry.visible(SequenceNumber(u64::MAX)).expect("there is a version");
            prop_assert_eq!(hit.seq, entry.newest_sequence());
        }
    }
}
