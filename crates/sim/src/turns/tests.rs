//! Whether one seed is one run, of the whole engine with all its threads.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lightning_db::{Database, Error, KeySource, LightningDbConfig, WalSyncMode};
use lightning_db_sync::simulation::{Failure, Options, Report, run};
use lightning_db_sync::thread;

use crate::machine::Machine;
use crate::random::Random;

fn config(seed: u64) -> LightningDbConfig {
    let modes = [WalSyncMode::Async, WalSyncMode::Sync, WalSyncMode::Periodic(Duration::from_millis(3))];
    LightningDbConfig {
        write_buffer_size: 64 << 10,
        wal_segment_size: 128 << 10,
        max_retained_log: 1 << 20,
        page_size: 1024,
        cache_size: 1 << 20,
        prefetch_enabled: true,
        encryption_enabled: true,
        encryption_key: KeySource::raw([7; 32]),
        background_compaction: true,
        compaction_interval: Duration::from_millis(20),
        parallel_compaction_workers: 2,
        use_optimized_transactions: seed.is_multiple_of(2),
        wal_sync_mode: modes[(seed % 3) as usize],
        ..LightningDbConfig::default()
    }
}

/// Several clients, flushes, merges, a backup, a reopening, a restore.
fn life(seed: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let machine = Machine::new(seed);
    let db = Database::create_in(machine.environment(), "/db", config(seed)).expect("a new database");
    let clients: Vec<_> = (0..3)
        .map(|number| {
            let (db, random) = (Arc::clone(&db), Random::new(seed * 10 + number));
            thread::spawn(&format!("client-{number}"), move || client(&db, random)).expect("a thread")
        })
        .collect();
    db.backup("/repository").expect("a backup");
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    db.backup("/repository").expect("a second backup");
    drop(db);
    let db = Database::open_in(machine.environment(), "/db", config(seed)).expect("it opens again");
    let entries = db.scan(None, None).expect("a scan").collect::<Result<Vec<_>, _>>();
    entries.expect("every entry")
}

fn client(db: &Database, mut random: Random) {
    for _ in 0..60 {
        let key = |random: &mut Random| format!("key-{:03}", random.below(100)).into_bytes();
        match random.below(8) {
            0..4 => db.put(&key(&mut random), &random.noise(1500)).expect("a put"),
            4 => db.delete(&key(&mut random)).expect("a deletion"),
            5 => db.scan(None, None).expect("a scan").take(40).for_each(|entry| _ = entry.expect("an entry")),
            6 => _ = db.get(&key(&mut random)).expect("a value"),
            _ => transfer(db, &key(&mut random), &key(&mut random)),
        }
    }
}

fn transfer(db: &Database, from: &[u8], to: &[u8]) {
    let outcome = db.execute_transaction(|tx| {
        let value = tx.get(from)?.unwrap_or_default();
        tx.put(to, &value)
    });
    assert!(matches!(outcome, Ok(()) | Err(Error::TransactionConflict | Error::Deadlock)), "{outcome:?}");
}

type Outcome = Result<Report<Vec<(Vec<u8>, Vec<u8>)>>, Failure>;

fn simulate(seed: u64) -> Report<Vec<(Vec<u8>, Vec<u8>)>> {
    let outcome: Outcome = run(Options { tail: 1 << 20, ..Options::new(seed) }, move || life(seed));
    outcome.unwrap_or_else(|mut failure| {
        failure.tail.drain(..failure.tail.len().saturating_sub(200));
        panic!("{failure}")
    })
}

#[test]
fn one_seed_is_one_run_with_all_threads() {
    let (mut traces, mut switches) = (HashSet::new(), 0);
    for seed in 0..12 {
        let (first, second) = (simulate(seed), simulate(seed));
        if let Some(at) = first.tail.iter().zip(&second.tail).position(|(one, other)| one != other) {
            let before = first.tail[at.saturating_sub(20)..at].join("\n");
            panic!("seed {seed} differs:\n{before}\n< {}\n> {}", first.tail[at], second.tail[at]);
        }
        assert_eq!((first.trace, &first.value), (second.trace, &second.value), "seed {seed}");
        switches += first.switches;
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 12);
    assert!(switches > 10_000, "{switches} switches");
}
