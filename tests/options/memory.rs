//! Caches, memory maps, read-ahead.

use std::sync::Arc;
use std::time::Duration;

use lightning_db::{Database, LightningDbConfig};
use lightning_db_storage::vfs::CallKind;

use crate::support::{Machine, Random, small};

/// About a megabyte that does not compress, in the base, opened anew.
fn loaded(config: &LightningDbConfig) -> (Machine, Arc<Database>) {
    let machine = Machine::new(1);
    let db = machine.create(&LightningDbConfig { page_size: 4096, ..small() });
    let mut random = Random(1);
    for index in 0..4000u32 {
        db.put(&key(index), &random.noise(250)).expect("put");
    }
    db.compact().expect("compact");
    db.close().expect("close");
    drop(db);
    let db = machine.reopen(config);
    (machine, db)
}

fn key(index: u32) -> Vec<u8> {
    format!("key-{index:06}").into_bytes()
}

fn unmapped() -> LightningDbConfig {
    LightningDbConfig { mmap_size: Some(0), prefetch_enabled: false, ..small() }
}

fn reads(machine: &Machine) -> u64 {
    machine.plan().counts().of(CallKind::Read)
}

#[test]
fn cache_size_bounds_what_is_cached_and_what_must_be_read_again() {
    let read_twice = |cache_size| {
        let (machine, db) = loaded(&LightningDbConfig { cache_size, ..unmapped() });
        for _ in 0..2 {
            (0..4000).for_each(|index| assert!(db.get(&key(index)).expect("get").is_some()));
        }
        let cached = db.stats().expect("stats").cache_bytes;
        assert!(cached <= cache_size as u64, "{cached} bytes in a cache of {cache_size}");
        reads(&machine)
    };
    let (small, large) = (read_twice(256 << 10), read_twice(16 << 20));
    assert!(small * 2 > large * 3, "{small} reads with a small cache, {large} with a large one");
}

#[test]
fn evicting_gives_memory_back() {
    let (machine, db) = loaded(&LightningDbConfig { cache_size: 16 << 20, ..unmapped() });
    (0..4000).for_each(|index| drop(db.get(&key(index)).expect("get")));
    let before = reads(&machine);
    (0..4000).step_by(100).for_each(|index| drop(db.get(&key(index)).expect("get")));
    assert_eq!(reads(&machine), before, "all of it is in memory");
    let cached = db.stats().expect("stats").cache_bytes;
    assert!(db.evict_cache(1.0).expect("evict") > 0);
    assert!(db.stats().expect("stats").cache_bytes * 2 < cached);
    drop(db.get(&key(7)).expect("get"));
    assert!(reads(&machine) > before);
}

#[test]
fn mmap_size_maps_all_or_some_or_nothing() {
    let maps = |mmap_size| {
        let (machine, db) = loaded(&LightningDbConfig { mmap_size, ..unmapped() });
        drop(db);
        machine.plan().counts().of(CallKind::MapRead)
    };
    let (all, some) = (maps(Some(1 << 30)), maps(Some(600 << 10)));
    assert!(some > 0 && all > some, "{all} maps, {some} of them");
    assert_eq!((maps(Some(0)), maps(None)), (0, 0), "nothing that the disk can do ends the process unasked");
}

#[test]
fn use_lock_free_cache_keeps_hot_records_apart_from_pages() {
    let reads_of_a_hot_key = |use_lock_free_cache| {
        // No page fits the cache, a record does.
        let machine = Machine::new(2);
        let config = LightningDbConfig {
            page_size: 65_536,
            cache_size: 128 << 10,
            use_lock_free_cache,
            compression_enabled: false,
            ..unmapped()
        };
        let db = machine.create(&config);
        let mut random = Random(2);
        (0..8000).for_each(|index| db.put(&key(index), &random.noise(20)).expect("put"));
        db.compact().expect("compact");
        (0..20).for_each(|_| drop(db.get(&key(1000)).expect("get")));
        let mut of_the_hot_key = 0;
        for index in 0..40 {
            // Other pages come and go between.
            drop(db.get(&key(index * 200)).expect("get"));
            let before = reads(&machine);
            assert!(db.get(&key(1000)).expect("get").is_some());
            of_the_hot_key += reads(&machine) - before;
        }
        of_the_hot_key
    };
    let (with, without) = (reads_of_a_hot_key(true), reads_of_a_hot_key(false));
    assert!(with == 0 && without > 0, "{with} reads with a table of hot records, {without} without");
}

/// How many reads of files a scan of the first `entries` entries causes, those that are made ahead of it included.
fn reads_of_a_scan(entries: usize, config: LightningDbConfig) -> u64 {
    let (machine, db) = loaded(&LightningDbConfig { cache_size: 16 << 20, ..config });
    let before = reads(&machine);
    let scanned = db.scan(None, None).expect("scan").take(entries).filter(Result::is_ok).count();
    assert_eq!(scanned, entries);
    // What was asked for ahead comes in a moment.
    let mut seen = reads(&machine);
    loop {
        std::thread::sleep(Duration::from_millis(60));
        let now = reads(&machine);
        if now == seen {
            return now - before;
        }
        seen = now;
    }
}

#[test]
fn prefetch_enabled_and_distance_say_how_far_a_scan_reads_ahead() {
    let ahead = |prefetch_distance| {
        reads_of_a_scan(900, LightningDbConfig { prefetch_enabled: true, prefetch_distance, ..unmapped() })
    };
    let (without, near, far) = (reads_of_a_scan(900, unmapped()), ahead(4), ahead(200));
    assert!(near > without, "{near} reads with read-ahead, {without} without");
    assert!(far > near + 20, "{far} reads with a distance of 200 pages, {near} with one of 4");
}
