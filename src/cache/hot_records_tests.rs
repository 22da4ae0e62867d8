//! The protocol of hot records: step by step, and under a writer with readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lightning_db_storage::SequenceNumber;
use lightning_db_sync::RwLock;

use super::budget::Room;
use super::hot_records::{FillTicket, HotRecords, Write};

const MIB: usize = 1 << 20;

fn table() -> HotRecords {
    HotRecords::new(MIB, Arc::default(), 11).expect("the table has room")
}

/// Takes a ticket for a key that has missed before.
fn ticket(table: &HotRecords, key: &[u8]) -> Option<FillTicket> {
    table.ticket(key).or_else(|| table.ticket(key))
}

fn fill(table: &HotRecords, key: &[u8], at: u64, value: Option<&[u8]>) {
    let ticket = ticket(table, key).expect("no commit is under way");
    table.fill(&ticket, key, SequenceNumber(at), value);
}

/// A commit that writes the key is about to be published.
fn begin(table: &HotRecords, key: &[u8]) -> Write {
    let mut write = table.announce(key);
    table.pending(&mut write);
    write
}

fn get(table: &HotRecords, key: &[u8]) -> Option<(u64, Option<Vec<u8>>)> {
    table.get(key).map(|hit| (hit.read_at().0, hit.value().map(<[u8]>::to_vec)))
}

/// A table without a free byte.
fn full_table() -> HotRecords {
    let table = table();
    for n in 0..6000u32 {
        fill(&table, &(n + 1_000_000).to_be_bytes(), 1, Some(&[0; 100]));
    }
    table
}

#[test]
fn while_there_is_room_a_record_is_admitted_at_its_first_miss() {
    let table = table();
    let ticket = table.ticket(b"k").expect("there is room");
    table.fill(&ticket, b"k", SequenceNumber(5), Some(b"value"));
    assert_eq!(get(&table, b"k"), Some((5, Some(b"value".to_vec()))));
}

#[test]
fn into_a_full_table_a_record_is_admitted_when_it_has_missed_often() {
    let table = full_table();
    assert!(table.ticket(b"k").is_none(), "its first miss");
    let misses = (2..).find(|_| {
        let ticket = table.ticket(b"k").expect("the key missed before");
        table.fill(&ticket, b"k", SequenceNumber(5), Some(b"value"));
        table.get(b"k").is_some()
    });
    assert!(misses.expect("there is no end") <= 20, "{misses:?}");
}

#[test]
fn records_take_what_pages_leave_and_give_it_back() {
    let room = Arc::new(Room::new(MIB));
    let table = HotRecords::new(MIB / 2, Arc::clone(&room), 11).expect("the table has room");
    let mut key = 0u32;
    let mut fill_up = || {
        for _ in 0..20_000 {
            key += 1;
            fill(&table, &key.to_be_bytes(), 1, Some(&[7; 400]));
        }
        table.stats().bytes
    };
    let alone = fill_up();
    assert!((MIB..=MIB + MIB / 2).contains(&alone), "{alone}");
    room.changed(0, MIB - 1000);
    table.make_room();
    assert!(table.stats().bytes <= MIB / 2 + 1000, "{}", table.stats().bytes);
    assert!(fill_up() <= MIB / 2 + 1000);
    room.changed(MIB - 1000, 0);
    assert!(fill_up() > MIB);
}

#[test]
fn pages_get_their_room_at_once_though_every_record_is_in_use() {
    let room = Arc::new(Room::new(MIB));
    let table = HotRecords::new(MIB / 2, Arc::clone(&room), 11).expect("the table has room");
    let keys: Vec<[u8; 4]> = (0..20_000u32).map(u32::to_be_bytes).collect();
    keys.iter().for_each(|key| fill(&table, key, 1, Some(&[7; 400])));
    let in_use = keys.iter().filter(|key| table.get(*key).is_some()).count();
    let before = table.stats().bytes;
    room.changed(0, MIB / 2);
    table.make_room();
    let left = keys.iter().filter(|key| table.get(*key).is_some()).count();
    assert!(table.stats().bytes <= before - MIB / 2 + 1000);
    // No more than had to.
    assert!(left > in_use / 3, "{left} of {in_use}");
}

#[test]
fn a_record_is_counted() {
    let table = table();
    assert!(table.get(b"k").is_none());
    let ticket = table.ticket(b"k").expect("the key missed before");
    table.fill(&ticket, b"k", SequenceNumber(5), Some(b"value"));
    assert_eq!(get(&table, b"k"), Some((5, Some(b"value".to_vec()))));
    let stats = table.stats();
    assert_eq!((stats.hits, stats.misses), (1, 1));
}

#[test]
fn hot_keys_that_share_a_place_are_all_admitted() {
    let table = table();
    for _ in 0..2 {
        for n in 0..500u32 {
            if let Some(ticket) = table.ticket(&n.to_be_bytes()) {
                table.fill(&ticket, &n.to_be_bytes(), SequenceNumber(1), None);
            }
        }
    }
    let kept = (0..500u32).filter(|n| table.get(&n.to_be_bytes()).is_some()).count();
    assert!(kept >= 495, "{kept}");
}

#[test]
fn an_absent_key_is_a_record_too() {
    let table = table();
    fill(&table, b"k", 5, None);
    assert_eq!(get(&table, b"k"), Some((5, None)));
}

#[test]
fn a_commit_ends_a_record_before_it_is_published() {
    let table = table();
    fill(&table, b"k", 5, Some(b"old"));
    let write = begin(&table, b"k");
    assert_eq!(get(&table, b"k"), None);
    _ = table.settled(&write);
    assert_eq!(get(&table, b"k"), None);
    fill(&table, b"k", 6, Some(b"new"));
    assert_eq!(get(&table, b"k"), Some((6, Some(b"new".to_vec()))));
}

#[test]
fn a_commit_of_a_hot_key_may_fill_in_what_it_wrote() {
    let table = table();
    fill(&table, b"k", 5, Some(b"old"));
    let write = begin(&table, b"k");
    let ticket = table.settled(&write).expect("the key was hot, and nobody else writes it");
    table.fill(&ticket, b"k", SequenceNumber(6), Some(b"new"));
    assert_eq!(get(&table, b"k"), Some((6, Some(b"new".to_vec()))));
    let write = begin(&table, b"k");
    table.fill(&ticket, b"k", SequenceNumber(6), Some(b"late"));
    assert_eq!(get(&table, b"k"), None, "the next commit has begun");
    _ = table.settled(&write);
}

#[test]
fn no_ticket_is_given_while_a_commit_is_under_way() {
    let table = table();
    fill(&table, b"k", 5, Some(b"old"));
    let (first, second) = (begin(&table, b"k"), begin(&table, b"k"));
    assert!(ticket(&table, b"k").is_none());
    assert!(table.settled(&first).is_none(), "another commit is still under way");
    assert!(ticket(&table, b"k").is_none());
    assert!(table.settled(&second).is_none(), "it replaced nothing");
    assert!(ticket(&table, b"k").is_some());
}

#[test]
fn a_fill_that_began_before_a_commit_is_dropped() {
    let table = table();
    let early = ticket(&table, b"k").expect("no commit is under way");
    let write = begin(&table, b"k");
    table.fill(&early, b"k", SequenceNumber(5), Some(b"old"));
    assert_eq!(get(&table, b"k"), None);
    assert!(table.settled(&write).is_none(), "it replaced nothing");
    table.fill(&early, b"k", SequenceNumber(5), Some(b"old"));
    assert_eq!(get(&table, b"k"), None);
}

#[test]
fn a_long_record_is_not_kept() {
    let table = table();
    fill(&table, b"k", 5, Some(&vec![1; MIB / 32]));
    assert_eq!(get(&table, b"k"), None);
}

#[test]
fn too_little_memory_gives_no_table() {
    assert!(HotRecords::new(0, Arc::default(), 1).is_none());
    assert!(HotRecords::new(4_000, Arc::default(), 1).is_none());
}

#[test]
fn memory_stays_within_its_bound_and_can_be_given_back() {
    let table = table();
    // So that every block is there.
    table.all_pending();
    table.all_settled();
    let empty = table.stats().bytes;
    for n in 0..20_000u32 {
        let value = vec![7; (n % 900) as usize];
        fill(&table, &n.to_be_bytes(), 1, Some(&value));
        assert!(table.stats().bytes <= MIB);
    }
    let full = table.stats().bytes;
    assert!(full > MIB / 2, "{full}");
    let freed = table.evict_fraction(0.5);
    assert_eq!(table.stats().bytes, full - freed);
    assert!(freed >= (full - empty) / 2, "{freed} of {full}");
    table.evict_fraction(1.0);
    assert_eq!(table.stats().bytes, empty);
    assert!((0..20_000u32).all(|n| table.get(&n.to_be_bytes()).is_none()));
}

#[test]
fn records_in_use_outlast_records_that_are_not() {
    let table = table();
    for n in 0..50_000u32 {
        fill(&table, &(n + 1_000_000).to_be_bytes(), 1, Some(&[0; 100]));
        let hot = (n % 100).to_be_bytes();
        if table.get(&hot).is_none() {
            fill(&table, &hot, 1, Some(&[1; 100]));
        }
    }
    let kept = (0..100u32).filter(|n| table.get(&n.to_be_bytes()).is_some()).count();
    assert!(kept >= 90, "{kept} of 100 hot records are left");
}

/// A store with versions, the way the engine has one: what the table must agree with.
struct Store {
    versions: Vec<RwLock<BTreeMap<u64, Option<u64>>>>,
    published: AtomicU64,
    done: AtomicBool,
}

/// Tells the readers to stop, also when the writer fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Store {
    /// The newest version of a key that is not newer than `at`: its sequence number and value.
    fn read(&self, key: usize, at: u64) -> (u64, Option<u64>) {
        let versions = self.versions[key].read();
        versions.range(..=at).next_back().map_or((0, None), |(seq, value)| (*seq, *value))
    }
}

/// A value tells the commit that wrote it.
fn check(store: &Store, table: &HotRecords, key: usize, random: u64) -> u64 {
    let name = key.to_be_bytes();
    let snapshot = store.published.load(Ordering::Acquire);
    let (_, expected) = store.read(key, snapshot);
    if let Some(hit) = table.get(&name) {
        let value =
            hit.value().map(|value| u64::from_be_bytes(value.try_into().expect("values are numbers")));
        if hit.read_at().0 <= snapshot {
            assert_eq!(value, expected, "key {key} at {snapshot}, read at {}", hit.read_at());
        } else {
            let (_, then) = store.read(key, hit.read_at().0);
            assert_eq!(value, then, "key {key}, read at {}", hit.read_at());
        }
        return 1;
    }
    if let Some(ticket) = table.ticket(&name) {
        let at = store.published.load(Ordering::Acquire);
        let (_, value) = store.read(key, at);
        // Readers are as slow as the scheduler makes them, between any two steps.
        (0..random % 64).for_each(|_| std::hint::spin_loop());
        if random.is_multiple_of(5) {
            std::thread::yield_now();
        }
        table.fill(&ticket, &name, SequenceNumber(at), value.map(u64::to_be_bytes).as_ref().map(|b| &b[..]));
    }
    0
}

/// xorshift64: tests need no better.
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

/// Lets others run between any two steps, now and then.
fn pause(random: &mut u64) {
    if next(random).is_multiple_of(16) {
        std::thread::yield_now();
    }
}

#[test]
fn no_reader_gets_a_stale_record_after_publication() {
    const KEYS: usize = 40;
    const COMMITS: u64 = 40_000;
    let table = HotRecords::new(64 * 256, Arc::default(), 5).expect("the table has room");
    let store = Store {
        versions: (0..KEYS).map(|_| RwLock::new(BTreeMap::new())).collect(),
        published: AtomicU64::new(0),
        done: AtomicBool::new(false),
    };
    let hits = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 1..=3u64 {
            let (store, table, hits) = (&store, &table, &hits);
            scope.spawn(move || {
                let mut random = reader * 0x9e37_79b9;
                while !store.done.load(Ordering::Acquire) {
                    let key = next(&mut random) as usize % KEYS;
                    hits.fetch_add(check(store, table, key, next(&mut random)), Ordering::Relaxed);
                }
            });
        }
        let _done = Done(&store.done);
        let mut random = 77;
        for seq in 1..=COMMITS {
            let keys: Vec<usize> =
                (0..1 + next(&mut random) % 3).map(|_| next(&mut random) as usize % KEYS).collect();
            let writes: Vec<Write> = keys.iter().map(|key| begin(&table, &key.to_be_bytes())).collect();
            for key in &keys {
                let value = (!next(&mut random).is_multiple_of(4)).then_some(seq);
                store.versions[*key].write().insert(seq, value);
            }
            pause(&mut random);
            store.published.store(seq, Ordering::Release);
            pause(&mut random);
            for (key, write) in keys.iter().zip(&writes) {
                let ticket = table.settled(write).filter(|_| keys.len() == 1);
                if let (Some(ticket), Some(value)) = (ticket, store.read(*key, seq).1) {
                    table.fill(&ticket, &key.to_be_bytes(), SequenceNumber(seq), Some(&value.to_be_bytes()));
                }
            }
        }
    });
    assert!(hits.into_inner() > 100, "the table was of use");
}
