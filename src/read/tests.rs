//! Reading a database, whatever happens to its files meanwhile, against a map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lightning_db_crypto::{KeySource, SeededEntropy};
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::vfs::{MemVfs, OpenHow, Vfs};
use proptest::prelude::*;

use super::Snapshot;
use crate::config::LightningDbConfig;
use crate::database::Database;
use crate::engine::LARGE_VALUE_LEN;
use crate::environment::Environment;
use crate::error::Error;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct World {
    disk: MemVfs,
    config: LightningDbConfig,
}

impl World {
    fn new(config: LightningDbConfig) -> Self {
        Self { disk: MemVfs::new(), config }
    }

    fn environment(&self) -> Environment {
        let entropy = Arc::new(SeededEntropy::new(5));
        Environment { vfs: Arc::new(self.disk.clone()), clock: Arc::new(ManualClock::new(1)), entropy }
    }

    fn create(&self) -> Arc<Database> {
        Database::create_in(self.environment(), "/db", self.config.clone()).expect("created")
    }

    fn open(&self) -> Arc<Database> {
        Database::open_in(self.environment(), "/db", self.config.clone()).expect("opened")
    }
}

fn config(variant: u8) -> LightningDbConfig {
    LightningDbConfig {
        write_buffer_size: 64 << 10,
        wal_segment_size: 128 << 10,
        page_size: 1024,
        cache_size: if variant & 1 == 0 { 64 << 10 } else { 8 << 20 },
        use_lock_free_cache: variant & 2 == 0,
        prefetch_enabled: variant & 4 == 0,
        encryption_enabled: true,
        encryption_key: KeySource::raw([7; 32]),
        background_compaction: false,
        ..LightningDbConfig::default()
    }
}

/// Keys that are beginnings of one another, and keys with long shared beginnings.
fn key(number: u8) -> Vec<u8> {
    match number % 3 {
        0 => vec![number % 5; 1 + usize::from(number / 15)],
        1 => format!("common-beginning-{:02}", number / 3).into_bytes(),
        _ => vec![0xff; 1 + usize::from(number / 60)].into_iter().chain([number / 3]).collect(),
    }
}

fn value(kind: u8, byte: u8) -> Vec<u8> {
    match kind {
        0 => vec![byte; LARGE_VALUE_LEN + usize::from(byte)],
        1 => vec![byte; 3000],
        2 => Vec::new(),
        _ => vec![byte; usize::from(byte) % 40],
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, u8),
    Delete(u8),
    Batch(Vec<(u8, u8)>),
    Flush,
    Merge,
    Compact,
    Evict,
    Reopen,
    Snapshot,
    Forget,
    Check(Check),
}

/// A read, of the database itself or of a snapshot.
#[derive(Clone, Debug)]
struct Check {
    snapshot: u8,
    read: Read,
}

#[derive(Clone, Debug)]
enum Read {
    Get(u8),
    Batch(Vec<u8>),
    /// From which end each entry is taken, over and over.
    Scan(Option<u8>, Option<u8>, bool, Vec<bool>),
    Prefix(Vec<u8>),
    Range(u8, u8),
    Cursor(Option<u8>, Option<u8>, Vec<u8>),
}

/// Mostly few keys, so that they meet again.
fn any_number() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 0u8..30, 1 => any::<u8>()]
}

fn any_read() -> impl Strategy<Value = Read> {
    let bound = || prop::option::of(any::<u8>());
    prop_oneof![
        4 => any_number().prop_map(Read::Get),
        2 => prop::collection::vec(any_number(), 0..80).prop_map(Read::Batch),
        4 => (bound(), bound(), any::<bool>(), prop::collection::vec(any::<bool>(), 1..6))
            .prop_map(|(start, end, reverse, ends)| Read::Scan(start, end, reverse, ends)),
        1 => any::<u8>().prop_map(|number| { let mut key = key(number); key.truncate(3); Read::Prefix(key) }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Read::Range(a, b)),
        2 => (bound(), bound(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(start, end, moves)| Read::Cursor(start, end, moves)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any_number(), 0u8..30, any::<u8>()).prop_map(|(key, kind, byte)| Step::Put(key, kind, byte)),
        6 => any_number().prop_map(Step::Delete),
        4 => prop::collection::vec((any_number(), any::<u8>()), 0..60).prop_map(Step::Batch),
        3 => Just(Step::Flush),
        2 => Just(Step::Merge),
        1 => Just(Step::Compact),
        1 => Just(Step::Evict),
        1 => Just(Step::Reopen),
        2 => Just(Step::Snapshot),
        1 => Just(Step::Forget),
        16 => (any::<u8>(), any_read()).prop_map(|(snapshot, read)| Step::Check(Check { snapshot, read })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_read_shows_what_a_map_holds(
        variant in 0u8..8,
        steps in prop::collection::vec(any_step(), 0..150),
    ) {
        let world = World::new(config(variant));
        let mut db = world.create();
        let mut model = Model::new();
        let mut snapshots: Vec<(Snapshot, Model)> = Vec::new();
        for step in steps {
            match step {
                Step::Reopen => {
                    snapshots.clear();
                    drop(db);
                    db = world.open();
                }
                Step::Snapshot => snapshots.push((db.snapshot(), model.clone())),
                Step::Forget => drop(snapshots.pop()),
                Step::Check(Check { snapshot, read }) => {
                    let place = usize::from(snapshot) % (2 * snapshots.len() + 1);
                    match snapshots.get(place) {
                        Some((snapshot, model)) => check(snapshot, model, &read),
                        None => {
                            check(&db.snapshot(), &model, &read);
                            check_database(&db, &model, &read);
                        }
                    }
                }
                step => apply(&db, &mut model, step),
            }
        }
        for (snapshot, model) in &snapshots {
            check(snapshot, model, &Read::Scan(None, None, false, vec![true]));
        }
        check(&db.snapshot(), &model, &Read::Scan(None, None, true, vec![true]));
    }
}

fn apply(db: &Database, model: &mut Model, step: Step) {
    match step {
        Step::Put(number, kind, byte) => {
            db.put(&key(number), &value(kind, byte)).unwrap();
            model.insert(key(number), value(kind, byte));
        }
        Step::Delete(number) => {
            db.delete(&key(number)).unwrap();
            model.remove(&key(number));
        }
        Step::Batch(items) => {
            let items: Vec<_> = items.iter().map(|(number, byte)| (key(*number), vec![*byte; 9])).collect();
            db.put_batch(&items).unwrap();
            model.extend(items);
        }
        Step::Flush => db.checkpoint().unwrap(),
        Step::Merge => drop(db.engine.merge_once().unwrap()),
        Step::Compact => db.compact().unwrap(),
        Step::Evict => drop(db.evict_cache(0.7).unwrap()),
        Step::Reopen | Step::Snapshot | Step::Forget | Step::Check(_) => unreachable!("done by the caller"),
    }
}

/// The reads that go other ways in the database than in a snapshot: through the newest hot records.
fn check_database(db: &Database, model: &Model, read: &Read) {
    match read {
        Read::Get(number) => {
            // Twice and more, so that the hot records take part.
            for _ in 0..3 {
                assert_eq!(db.get(&key(*number)).unwrap().as_ref(), model.get(&key(*number)));
            }
            let pinned = db.get_pinned(&key(*number)).unwrap();
            assert_eq!(pinned.as_deref(), model.get(&key(*number)).map(Vec::as_slice));
        }
        Read::Batch(numbers) => {
            let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
            let expected: Vec<_> = keys.iter().map(|key| model.get(key).cloned()).collect();
            for _ in 0..3 {
                assert_eq!(db.get_batch(&keys).unwrap(), expected);
            }
        }
        _ => {}
    }
}

fn check(snapshot: &Snapshot, model: &Model, read: &Read) {
    match read {
        Read::Get(number) => {
            assert_eq!(snapshot.get(&key(*number)).unwrap().as_ref(), model.get(&key(*number)));
        }
        Read::Batch(numbers) => {
            let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
            let borrowed: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let mut shown = vec![0; keys.len()];
            let show = |index: usize, value: Option<&[u8]>| {
                assert_eq!(value, model.get(&keys[index]).map(Vec::as_slice));
                shown[index] += 1;
            };
            snapshot.get_batch_with(&borrowed, show).unwrap();
            assert!(shown.iter().all(|count| *count == 1));
        }
        Read::Scan(start, end, reverse, ends) => check_scan(snapshot, model, (*start, *end), *reverse, ends),
        Read::Prefix(prefix) => {
            let expected: Vec<_> =
                entries(model).into_iter().filter(|(key, _)| key.starts_with(prefix)).collect();
            let found: Result<Vec<_>, _> = snapshot.scan_prefix(prefix).unwrap().collect();
            assert_eq!(found.unwrap(), expected);
        }
        Read::Range(low, high) => {
            let bounds = (Bound::Excluded(key(*low)), Bound::Included(key(*high)));
            let inside = |(found, _): &(Vec<u8>, Vec<u8>)| *found > key(*low) && *found <= key(*high);
            let expected: Vec<_> = entries(model).into_iter().filter(inside).collect();
            let found: Result<Vec<_>, _> = snapshot.range(bounds).unwrap().collect();
            assert_eq!(found.unwrap(), expected);
        }
        Read::Cursor(start, end, moves) => {
            check_cursor(snapshot, &within(model, *start, *end), (*start, *end), moves)
        }
    }
}

fn entries(model: &Model) -> Vec<(Vec<u8>, Vec<u8>)> {
    model.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn within(model: &Model, start: Option<u8>, end: Option<u8>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let inside = |(found, _): &(Vec<u8>, Vec<u8>)| {
        start.is_none_or(|start| *found >= key(start)) && end.is_none_or(|end| *found < key(end))
    };
    entries(model).into_iter().filter(inside).collect()
}

fn check_scan(
    snapshot: &Snapshot,
    model: &Model,
    (start, end): (Option<u8>, Option<u8>),
    reverse: bool,
    ends: &[bool],
) {
    let (low, high) = (start.map(key), end.map(key));
    let (low, high) = (low.as_deref(), high.as_deref());
    let scan = if reverse { snapshot.scan_reverse(low, high) } else { snapshot.scan(low, high) };
    let mut scan = scan.unwrap();
    let mut expected = within(model, start, end).into_iter();
    for from_front in ends.iter().cycle() {
        let found = if *from_front { scan.next() } else { scan.next_back() };
        let wanted = if *from_front != reverse { expected.next() } else { expected.next_back() };
        assert_eq!(found.transpose().unwrap(), wanted);
        if wanted.is_none() {
            break;
        }
    }
    assert!(scan.next().is_none() && scan.next_back().is_none());
}

fn check_cursor(
    snapshot: &Snapshot,
    entries: &[(Vec<u8>, Vec<u8>)],
    (start, end): (Option<u8>, Option<u8>),
    moves: &[u8],
) {
    let mut cursor = snapshot.cursor(start.map(key).as_deref(), end.map(key).as_deref()).unwrap();
    // One more than the place of the current entry: 0 is before the first.
    let mut place = 0;
    for step in moves {
        let found = match step % 8 {
            0..=2 => {
                place = (place + 1).min(entries.len() + 1);
                cursor.next()
            }
            3..=5 => {
                place = place.saturating_sub(1);
                cursor.prev()
            }
            6 => {
                place = entries.partition_point(|(found, _)| *found < key(*step)) + 1;
                cursor.seek(&key(*step))
            }
            _ => {
                place = entries.partition_point(|(found, _)| *found < key(*step));
                cursor.seek_back(&key(*step))
            }
        };
        let wanted = place.checked_sub(1).and_then(|place| entries.get(place));
        assert_eq!(found.unwrap(), wanted.map(|(key, value)| (&key[..], &value[..])));
    }
}

fn filled(variant: u8, entries: u32) -> (World, Arc<Database>) {
    let world = World::new(config(variant));
    let db = world.create();
    for first in (0..entries).step_by(500) {
        let part = first..(first + 500).min(entries);
        let items: Vec<_> = part.map(|number| (number.to_be_bytes().to_vec(), vec![1; 50])).collect();
        db.put_batch(&items).unwrap();
    }
    db.compact().unwrap();
    (world, db)
}

#[test]
fn the_first_entry_costs_the_same_however_many_follow() {
    let pages = |entries: u32| {
        let (_world, db) = filled(4 | 1, entries);
        let before = db.engine.caches.pages.stats();
        assert!(db.scan(None, None).unwrap().next().is_some());
        assert!(db.scan_reverse(None, None).unwrap().next().is_some());
        let after = db.engine.caches.pages.stats();
        (after.hits + after.misses) - (before.hits + before.misses)
    };
    // One level more, at each end, is all that a hundred times the entries may cost.
    assert!(pages(20_000) <= pages(200) + 4);
}

#[test]
fn a_batch_looks_at_each_page_once() {
    let (_world, db) = filled(4 | 2 | 1, 5_000);
    let keys: Vec<_> = (0..5_000u32).rev().map(|number| number.to_be_bytes().to_vec()).collect();
    let lookups = || {
        let stats = db.engine.caches.pages.stats();
        stats.hits + stats.misses
    };
    let before = lookups();
    let values = db.get_batch(&keys).unwrap();
    assert!(values.iter().all(|value| value.as_deref() == Some(&[1; 50][..])));
    let together = lookups() - before;
    assert!(together < 1_000, "{together} pages for 5,000 keys");
}

#[test]
fn a_snapshot_does_not_take_what_a_hot_record_learned_later() {
    let world = World::new(config(1));
    let db = world.create();
    let keys = [b"key".to_vec()];
    let is = |value: &str| vec![Some(value.as_bytes().to_vec())];
    db.put(b"key", b"old").unwrap();
    let before = db.snapshot();
    db.put(b"key", b"new").unwrap();
    // What is in memory has no need of hot records.
    db.checkpoint().unwrap();
    (0..4).for_each(|_| assert_eq!(db.get_batch(&keys).unwrap(), is("new")));
    let hits = || db.engine.caches.hot_records.as_ref().unwrap().stats().hits;
    let first = hits();
    assert_eq!(db.get(b"key").unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(hits(), first + 1, "the record is hot");
    assert_eq!(before.get(b"key").unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(before.get_batch(&keys).unwrap(), is("old"));
    assert_eq!(db.snapshot().get_batch(&keys).unwrap(), is("new"));
    db.delete(b"key").unwrap();
    assert_eq!(db.get(b"key").unwrap(), None);
}

#[test]
fn what_reads_can_go_to_other_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Snapshot>();
    is_shared::<super::PinnedValue>();
    is_shared::<super::DatabaseIterator>();
    is_shared::<super::Cursor>();
}

#[test]
fn keys_that_cannot_be_are_refused_before_anything_is_read() {
    let (_world, db) = filled(0, 10);
    let long = vec![1; 65_536];
    assert!(matches!(db.get(b""), Err(Error::EmptyKey)));
    assert!(matches!(db.get(&long), Err(Error::KeyTooLarge)));
    assert!(matches!(db.snapshot().get_pinned(&long), Err(Error::KeyTooLarge)));
    let refused = db.get_batch_with(&[b"a", b""], |_, _| panic!("nothing is shown"));
    assert!(matches!(refused, Err(Error::EmptyKey)));
    assert_eq!(db.get(&long[..65_535]).unwrap(), None);
}

#[test]
fn after_close_every_read_says_so_once() {
    let (_world, db) = filled(0, 100);
    let (snapshot, mut scan, mut cursor) =
        (db.snapshot(), db.scan(None, None).unwrap(), db.cursor(None, None).unwrap());
    assert!(scan.next().is_some_and(|item| item.is_ok()));
    assert!(cursor.next().unwrap().is_some());
    db.close().unwrap();
    assert!(matches!(db.get(b"k"), Err(Error::Closed)));
    assert!(matches!(db.get_batch(&[b"k".to_vec()]), Err(Error::Closed)));
    assert!(matches!(db.scan(None, None), Err(Error::Closed)));
    assert!(matches!(snapshot.get(b"k"), Err(Error::Closed)));
    assert!(matches!(cursor.next(), Err(Error::Closed)));
    assert!(matches!(scan.next(), Some(Err(Error::Closed))));
    assert!(scan.next().is_none() && scan.next_back().is_none());
}

#[test]
fn damage_ends_a_scan_with_an_error_and_never_with_a_gap() {
    let (world, db) = filled(4, 3_000);
    drop(db);
    let name =
        world.disk.list("/db".as_ref()).unwrap().into_iter().find(|entry| entry.name.ends_with(".base"));
    let name = name.unwrap().name;
    let file = world.disk.open(format!("/db/{name}").as_ref(), OpenHow::ReadWrite).unwrap();
    let middle = file.len().unwrap() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
    let db = world.open();
    for reverse in [false, true] {
        let mut scan = if reverse { db.scan_reverse(None, None) } else { db.scan(None, None) }.unwrap();
        let mut passed = 0u32;
        let error = loop {
            match scan.next() {
                Some(Ok((key, _))) => {
                    let number = if reverse { 2_999 - passed } else { passed };
                    assert_eq!(key, number.to_be_bytes());
                    passed += 1;
                }
                Some(Err(error)) => break error,
                None => panic!("the scan ended as if nothing were missing after {passed}"),
            }
        };
        assert!(matches!(&error, Error::Corrupt { file, .. } if file.ends_with(&name)), "{error}");
        assert!(scan.next().is_none());
    }
    let keys: Vec<_> = (0..3_000u32).map(|number| number.to_be_bytes().to_vec()).collect();
    assert!(matches!(db.get_batch(&keys), Err(Error::Corrupt { .. })));
}

#[test]
fn readers_beside_writers_see_whole_commits_and_time_going_forward() {
    let world = World::new(config(1));
    let db = world.create();
    let keys = [b"left".to_vec(), b"right".to_vec()];
    let commit = |number: u64| {
        let value = number.to_be_bytes().to_vec();
        db.put_batch(&[(keys[0].clone(), value.clone()), (keys[1].clone(), value)]).unwrap();
    };
    commit(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    for key in &keys {
                        let value = db.get(key).unwrap().unwrap();
                        assert!(value >= last, "an older value came back");
                        last = value;
                    }
                    let both = db.get_batch(&keys).unwrap();
                    assert_eq!(both[0], both[1], "half a commit");
                    let snapshot = db.snapshot();
                    assert_eq!(snapshot.get(&keys[0]).unwrap(), snapshot.get(&keys[1]).unwrap());
                    let scanned: Vec<_> = db.scan(None, None).unwrap().map(|item| item.unwrap().1).collect();
                    assert!(scanned.len() == 2 && scanned[0] == scanned[1], "half a commit in a scan");
                }
            });
        }
        for number in 1..4_000 {
            commit(number);
            if number % 500 == 0 {
                db.checkpoint().unwrap();
            }
            if number % 1500 == 0 {
                db.compact().unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(db.engine.caches.hot_records.as_ref().unwrap().stats().hits > 0);
}
