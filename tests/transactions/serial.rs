//! Serializable transactions of many threads have the effect of running one after another.
//!
//! Each write appends the transaction's number to a key's list, so the final lists tell in which order transactions
//! wrote a key, and a list that somebody read tells how much of it was there. From that follows who must come before
//! whom; if that is without a circle, there is an order that explains everything that was seen.

use std::collections::{BTreeMap, BTreeSet};

use lightning_db::{Database, Error, Result, TransactionId};
use parking_lot::Mutex;

use crate::support::{LEVELS, Level, begin, database};

const KEYS: u64 = 40;
const THREADS: u64 = 4;
const ROUNDS: u64 = 150;

type Key = Vec<u8>;
type List = Vec<u64>;

/// What a committed transaction saw: how long the list of a key was. What it appended is in the final lists.
#[derive(Debug, Default)]
struct Seen {
    number: u64,
    lists: BTreeMap<Key, List>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn key(number: u64) -> Key {
    format!("{number:02}").into_bytes()
}

fn decode(value: &[u8]) -> List {
    let text = std::str::from_utf8(value).expect("text");
    text.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().expect("a number")).collect()
}

fn encode(list: &[u64]) -> Vec<u8> {
    list.iter().map(u64::to_string).collect::<Vec<_>>().join(",").into_bytes()
}

/// A few reads, scans and appends. The lists are remembered as they were without the transaction's own writes.
fn attempt(db: &Database, tx: TransactionId, random: &mut Random, seen: &mut Seen) -> Result<()> {
    let mut note = |key: &Key, mut list: List| {
        list.retain(|other| *other != seen.number);
        seen.lists.entry(key.clone()).or_insert(list);
    };
    for _ in 0..2 + random.below(3) {
        let place = random.below(KEYS);
        let chosen = key(place);
        match random.below(5) {
            0 | 1 => note(&chosen, decode(&db.get_tx(tx, &chosen)?.unwrap_or_default())),
            2 => {
                let last = (place + random.below(6)).min(KEYS - 1);
                let entries = db.scan_tx(tx, Some(&chosen), Some(&key(last)))?;
                let found = entries.collect::<Result<BTreeMap<_, _>>>()?;
                for inside in (place..last).map(key) {
                    note(&inside, decode(found.get(&inside).map_or(&[], Vec::as_slice)));
                }
            }
            _ => {
                let mut list = decode(&db.get_tx(tx, &chosen)?.unwrap_or_default());
                note(&chosen, list.clone());
                list.retain(|other| *other != seen.number);
                list.push(seen.number);
                db.put_tx(tx, &chosen, &encode(&list))?;
            }
        }
        if random.below(4) == 0 {
            std::thread::yield_now();
        }
    }
    Ok(())
}

fn run(optimistic: bool, level: Level) -> (Vec<Seen>, BTreeMap<Key, List>) {
    let db = database(optimistic);
    let history = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (db, history) = (&db, &history);
            scope.spawn(move || {
                let mut random = Random(0x1234_5678_9abc + thread * 0x9e37_79b9);
                for round in 0..ROUNDS {
                    let mut seen = Seen { number: 1 + thread * ROUNDS + round, ..Default::default() };
                    let tx = begin(db, level);
                    let done =
                        attempt(db, tx, &mut random, &mut seen).and_then(|()| db.commit_transaction(tx));
                    match done {
                        Ok(()) => history.lock().push(seen),
                        Err(Error::TransactionConflict | Error::Deadlock) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if round % 40 == 17 {
                        db.checkpoint().expect("flushed");
                    }
                }
            });
        }
    });
    let entries = db.scan(None, None).expect("begun").map(|entry| entry.expect("read"));
    (history.into_inner(), entries.map(|(key, value)| (key, decode(&value))).collect())
}

/// Who must come before whom.
fn order(history: &[Seen], lists: &BTreeMap<Key, List>) -> BTreeSet<(u64, u64)> {
    let mut before = BTreeSet::new();
    for list in lists.values() {
        before.extend(list.windows(2).map(|pair| (pair[0], pair[1])));
    }
    for seen in history {
        for (key, list) in &seen.lists {
            let whole = lists.get(key).map_or(&[][..], Vec::as_slice);
            assert!(whole.starts_with(list), "{seen:?} saw what never was: {whole:?}");
            before.extend(list.last().map(|writer| (*writer, seen.number)));
            // It came before who appended next.
            before.extend(whole.get(list.len()).map(|next| (seen.number, *next)));
        }
    }
    before.retain(|(first, second)| first != second);
    before
}

fn has_circle(history: &[Seen], before: &BTreeSet<(u64, u64)>) -> bool {
    let mut left: BTreeSet<u64> = history.iter().map(|seen| seen.number).collect();
    loop {
        let blocked: BTreeSet<u64> =
            before.iter().filter(|(first, _)| left.contains(first)).map(|(_, second)| *second).collect();
        let count = left.len();
        left.retain(|number| blocked.contains(number));
        if left.is_empty() || left.len() == count {
            return !left.is_empty();
        }
    }
}

fn check(optimistic: bool) {
    let (history, lists) = run(optimistic, Level::Serializable);
    assert!(history.len() > 100, "most commit: {}", history.len());
    assert!(!has_circle(&history, &order(&history, &lists)));
}

#[test]
fn optimistic_transactions_are_serializable() {
    check(true);
}

#[test]
fn locking_transactions_are_serializable() {
    check(false);
}

#[test]
fn only_what_was_committed_is_in_the_lists_and_no_append_is_lost() {
    for level in LEVELS.into_iter().filter(|level| *level > Level::ReadCommitted) {
        for optimistic in [true, false] {
            let (history, lists) = run(optimistic, level);
            let committed: BTreeSet<u64> = history.iter().map(|seen| seen.number).collect();
            for list in lists.values() {
                assert!(list.iter().all(|number| committed.contains(number)));
                assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), list.len());
            }
            // The order is complete enough to find circles: each reader is in it.
            assert!(order(&history, &lists).len() > history.len());
        }
    }
}
