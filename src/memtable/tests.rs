//! A memtable against a model, and under a writer with readers.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db_storage::SequenceNumber;
use proptest::prelude::*;

use super::spill_tests::spill;
use super::{MemCursor, MemHit, MemValue, Memtable};

/// All versions of all keys: what a memtable should hold.
pub(super) type Model = BTreeMap<Vec<u8>, BTreeMap<u64, Option<Vec<u8>>>>;

pub(super) fn put(bytes: &[u8]) -> MemValue {
    MemValue::Put(bytes.into())
}

pub(super) fn value_of(hit: &MemHit) -> Option<Vec<u8>> {
    match &hit.value {
        MemValue::Put(bytes) => Some(bytes.to_vec()),
        MemValue::Delete => None,
        MemValue::Extent(_) => panic!("no extent was inserted"),
    }
}

pub(super) fn visible(model: &Model, at: u64) -> Vec<(Vec<u8>, u64, Option<Vec<u8>>)> {
    let newest = |(key, versions): (&Vec<u8>, &BTreeMap<u64, Option<Vec<u8>>>)| {
        let (seq, value) = versions.range(..=at).next_back()?;
        Some((key.clone(), *seq, value.clone()))
    };
    model.iter().filter_map(newest).collect()
}

pub(super) fn collect(
    cursor: &mut MemCursor,
    mut on: bool,
    forward: bool,
) -> Vec<(Vec<u8>, u64, Option<Vec<u8>>)> {
    let mut seen = Vec::new();
    while on {
        let (key, hit) = cursor.current().expect("the cursor is on a key");
        seen.push((key.to_vec(), hit.seq.0, value_of(hit)));
        on = if forward { cursor.next() } else { cursor.prev() }.unwrap();
    }
    assert!(cursor.current().is_none());
    seen
}

/// Writes to keys, `None` for a deletion.
pub(super) type Commit = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Commits of up to four writes each over few keys, so that keys have many versions and neighbours.
pub(super) fn commits() -> impl Strategy<Value = Vec<Commit>> {
    let key = prop_oneof![
        proptest::collection::vec(0u8..3, 0..4),
        (0u16..400).prop_map(|n| format!("a prefix longer than a head {n:05}").into_bytes()),
        (0u16..400).prop_map(|n| n.to_be_bytes().to_vec()),
    ];
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8));
    proptest::collection::vec(proptest::collection::vec((key, value), 1..5), 1..250)
}

pub(super) fn build(commits: &[Commit]) -> (Arc<Memtable>, Model) {
    let table = Arc::new(Memtable::new(7));
    let mut model = Model::new();
    for (seq, commit) in (1u64..).zip(commits) {
        for (key, value) in commit {
            let mem_value = value.as_deref().map_or(MemValue::Delete, put);
            table.insert(key, SequenceNumber(seq), mem_value);
            model.entry(key.clone()).or_default().insert(seq, value.clone());
        }
    }
    (table, model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_version_is_read_at_its_time(commits in commits(), probes in proptest::collection::vec(0u64..260, 1..6), spilled: bool) {
        let (table, model) = build(&commits);
        if spilled {
            spill(&table);
        }
        prop_assert_eq!(table.len(), model.len());
        for at in probes {
            let expected = visible(&model, at);
            for key in model.keys() {
                let got = table.get(key, SequenceNumber(at)).unwrap().map(|hit| (hit.seq.0, value_of(&hit)));
                let want = expected.iter().find(|(k, _, _)| k == key).map(|(_, seq, value)| (*seq, value.clone()));
                prop_assert_eq!(got, want);
            }
            let mut cursor = MemCursor::new(Arc::clone(&table), SequenceNumber(at));
            let on = cursor.seek_first().unwrap();
            prop_assert_eq!(&collect(&mut cursor, on, true), &expected);
            let on = cursor.seek_last().unwrap();
            let mut backward = collect(&mut cursor, on, false);
            backward.reverse();
            prop_assert_eq!(&backward, &expected);
        }
    }

    #[test]
    fn cursors_seek_and_turn(commits in commits(), at in 0u64..260, key in proptest::collection::vec(0u8..3, 0..4), turns in proptest::collection::vec(any::<bool>(), 0..200), spilled: bool) {
        let (table, model) = build(&commits);
        if spilled {
            spill(&table);
        }
        let expected = visible(&model, at);
        let keys: Vec<&[u8]> = expected.iter().map(|(key, _, _)| &key[..]).collect();
        let from = keys.partition_point(|k| *k < &key[..]);
        let mut cursor = MemCursor::new(table, SequenceNumber(at));
        prop_assert_eq!(cursor.seek_back(&key).unwrap(), from > 0);
        prop_assert_eq!(cursor.key(), from.checked_sub(1).map(|i| keys[i]));
        prop_assert_eq!(cursor.seek(&key).unwrap(), from < keys.len());
        let mut place = from;
        for forward in turns {
            prop_assert_eq!(cursor.key(), keys.get(place).copied());
            if place == keys.len() || (!forward && place == 0) {
                break;
            }
            place = if forward { place + 1 } else { place - 1 };
            prop_assert_eq!(if forward { cursor.next() } else { cursor.prev() }.unwrap(), place < keys.len());
        }
    }

    #[test]
    fn conflicts_are_seen_in_keys_and_ranges(commits in commits(), than in 0u64..260, a in 0u16..400, b in 0u16..400, spilled: bool) {
        let (table, model) = build(&commits);
        if spilled {
            spill(&table);
        }
        let than = SequenceNumber(than);
        for (key, versions) in &model {
            let newest = versions.keys().next_back().copied().map(SequenceNumber);
            prop_assert_eq!(table.newest_sequence(key).unwrap(), newest);
        }
        let (low, high) = (a.min(b).to_be_bytes(), a.max(b).to_be_bytes());
        let newer = |bounds: (Bound<&[u8]>, Bound<&[u8]>)| {
            model.range::<[u8], _>(bounds).any(|(_, versions)| versions.keys().any(|seq| *seq > than.0))
        };
        let mut ranges = vec![(Bound::Unbounded, Bound::Unbounded), (Bound::Included(&low[..]), Bound::Included(&high[..]))];
        if low != high {
            ranges.push((Bound::Excluded(&low[..]), Bound::Excluded(&high[..])));
        }
        for bounds in ranges {
            prop_assert_eq!(table.any_newer_in_range(bounds.0, bounds.1, than).unwrap(), newer(bounds));
        }
    }
}

#[test]
fn a_commit_that_writes_a_key_twice_leaves_its_last_write() {
    let table = Memtable::new(1);
    assert!(table.is_empty());
    assert_eq!((table.first_sequence(), table.last_sequence()), (None, None));
    table.insert(b"k", SequenceNumber(5), put(b"first"));
    table.insert(b"k", SequenceNumber(5), MemValue::Delete);
    table.insert(b"other", SequenceNumber(6), put(b"x"));
    let hit = table.get(b"k", SequenceNumber(9)).unwrap().expect("the key was written");
    assert_eq!((hit.seq.0, value_of(&hit)), (5, None));
    assert!(table.get(b"k", SequenceNumber(4)).unwrap().is_none());
    assert_eq!(table.first_sequence(), Some(SequenceNumber(5)));
    assert_eq!(table.last_sequence(), Some(SequenceNumber(6)));
}

#[test]
fn keys_in_any_order_of_arrival_are_walked_in_theirs() {
    const KEYS: u32 = 20_000;
    let orders: [fn(u32) -> u32; 3] = [|n| n, |n| KEYS - 1 - n, |n| n * 7919 % KEYS];
    for order in orders {
        let table = Arc::new(Memtable::new(1));
        for n in 0..KEYS {
            table.insert(&order(n).to_be_bytes(), SequenceNumber(u64::from(n) + 1), put(b"v"));
        }
        for forward in [true, false] {
            let mut cursor = MemCursor::new(Arc::clone(&table), SequenceNumber(u64::MAX));
            let on = if forward { cursor.seek_first() } else { cursor.seek_last() }.unwrap();
            let mut rows = collect(&mut cursor, on, forward);
            if !forward {
                rows.reverse();
            }
            assert_eq!(rows.len(), KEYS as usize);
            assert!(rows.iter().zip(0..).all(|((key, _, _), n): (_, u32)| key[..] == n.to_be_bytes()));
        }
    }
}

#[test]
fn memory_grows_with_what_is_held() {
    let table = Memtable::new(1);
    let empty = table.memory_bytes();
    for seq in 1..=1000u64 {
        table.insert(&seq.to_be_bytes(), SequenceNumber(seq), put(&[0; 1000]));
    }
    let full = table.memory_bytes() - empty;
    assert!((1_008_000..1_400_000).contains(&full), "{full}");
    for seq in 1001..=2000u64 {
        table.insert(b"one key", SequenceNumber(seq), put(&[0; 1000]));
    }
    let versions = table.memory_bytes() - empty - full;
    assert!((1_000_000..1_200_000).contains(&versions), "{versions}");
}

/// Each commit writes one number under all keys: a reader at a published sequence number must see that number under
/// every key, by point and by scan in both directions.
#[test]
fn readers_beside_the_writer_see_whole_commits() {
    const KEYS: u64 = 300;
    const COMMITS: u64 = 150;
    let table = Arc::new(Memtable::new(3));
    let published = Arc::new(AtomicU64::new(0));
    let read = |forward: bool| {
        let (table, published) = (Arc::clone(&table), Arc::clone(&published));
        move || {
            loop {
                let at = published.load(Ordering::Acquire);
                let mut cursor = MemCursor::new(Arc::clone(&table), SequenceNumber(at));
                let on = if forward { cursor.seek_first() } else { cursor.seek_last() }.unwrap();
                let rows = collect(&mut cursor, on, forward);
                assert_eq!(rows.len() as u64, if at == 0 { 0 } else { KEYS });
                for (key, seq, value) in rows {
                    assert_eq!((seq, value.as_deref()), (at, Some(&at.to_be_bytes()[..])));
                    let hit = table.get(&key, SequenceNumber(at)).unwrap().expect("the key is there");
                    assert_eq!(hit.seq.0, at);
                }
                if at == COMMITS {
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(read(true));
        scope.spawn(read(false));
        for seq in 1..=COMMITS {
            for key in 0..KEYS {
                let key = (key * 7919 % KEYS).to_be_bytes();
                table.insert(&key, SequenceNumber(seq), put(&seq.to_be_bytes()));
            }
            published.store(seq, Ordering::Release);
        }
    });
}
