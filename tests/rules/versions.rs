//! Versions of rows: what merges keep, what readers see.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lightning_db::LightningDbConfig;

use crate::support::{Machine, Model, Random, assert_holds, seeds, small};

/// Merges go on all the time.
fn merging() -> LightningDbConfig {
    LightningDbConfig {
        background_compaction: true,
        compaction_interval: Duration::from_millis(2),
        ..small()
    }
}

#[test]
fn deleted_rows_never_come_back_whichever_files_are_merged() {
    for seed in seeds(4) {
        let machine = Machine::new(seed);
        let db = machine.create(&merging());
        let (mut random, mut model) = (Random(seed), Model::new());
        // All keys are in the base before their deletions are in younger files.
        for index in 0..400u32 {
            let key = format!("key-{index:05}").into_bytes();
            db.put(&key, b"in the base").expect("put");
            model.insert(key, b"in the base".to_vec());
        }
        db.compact().expect("compact");
        for round in 0..40 {
            for _ in 0..25 {
                let key = random.key(400);
                if random.below(3) > 0 {
                    db.delete(&key).expect("delete");
                    model.remove(&key);
                } else {
                    let value = random.value(100);
                    db.put(&key, &value).expect("put");
                    model.insert(key, value);
                }
            }
            db.checkpoint().expect("checkpoint");
            std::thread::sleep(Duration::from_millis(3));
            if round % 8 == 7 {
                assert_holds(&db, &model, &format!("seed {seed}, round {round}"));
            }
        }
        machine.kill(db);
        assert_holds(&machine.reopen(&small()), &model, &format!("seed {seed}, opened again"));
    }
}

#[test]
fn a_read_never_returns_what_was_replaced_before_it_began() {
    let machine = Machine::new(3);
    let db = machine.create(&small());
    let (acknowledged, done) = (AtomicU64::new(0), AtomicBool::new(false));
    db.put(b"hot", &0u64.to_le_bytes()).expect("put");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let before = acknowledged.load(Ordering::Acquire);
                    let value = db.get(b"hot").expect("get").expect("it is always there");
                    let found = u64::from_le_bytes(value.try_into().expect("eight bytes"));
                    assert!(found >= before, "{found} was read after {before} was acknowledged");
                }
            });
        }
        for number in 1..=30_000u64 {
            db.put(b"hot", &number.to_le_bytes()).expect("put");
            acknowledged.store(number, Ordering::Release);
            if number % 64 == 0 {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_snapshot_sees_its_own_moment_however_hot_a_newer_value_is() {
    let machine = Machine::new(4);
    let db = machine.create(&small());
    db.put(b"key", b"old").expect("put");
    db.put(b"gone", b"old").expect("put");
    let snapshot = db.snapshot();
    db.put(b"key", b"new").expect("put");
    db.delete(b"gone").expect("delete");
    for _ in 0..50 {
        assert_eq!(db.get(b"key").expect("get").as_deref(), Some(&b"new"[..]));
        assert_eq!(db.get(b"gone").expect("get"), None);
        assert_eq!(snapshot.get(b"key").expect("get").as_deref(), Some(&b"old"[..]));
        assert_eq!(snapshot.get(b"gone").expect("get").as_deref(), Some(&b"old"[..]));
    }
    db.compact().expect("compact");
    assert_eq!(snapshot.get(b"key").expect("get").as_deref(), Some(&b"old"[..]));
    assert_eq!(snapshot.scan(None, None).expect("scan").count(), 2);
}

#[test]
fn what_snapshots_hold_does_not_stay_in_memory() {
    let machine = Machine::new(5);
    let config = LightningDbConfig { compaction_interval: Duration::from_millis(5), ..small() };
    let db = machine.create(&config);
    let mut random = Random(5);
    let mut snapshots = Vec::new();
    for round in 0..120u32 {
        for _ in 0..8 {
            db.put(b"one key, many versions", &random.noise(8000)).expect("put");
        }
        db.put(b"round", &round.to_be_bytes()).expect("put");
        snapshots.push(db.snapshot());
    }
    // Seven megabytes of versions, all of them in use.
    let limit = (config.cache_size + 4 * config.write_buffer_size) as u64;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while db.get_metrics().memory_used_bytes > limit {
        assert!(std::time::Instant::now() < deadline, "{} bytes", db.get_metrics().memory_used_bytes);
        std::thread::sleep(Duration::from_millis(5));
    }
    for (round, snapshot) in (0u32..).zip(&snapshots) {
        assert_eq!(snapshot.get(b"round").expect("get").as_deref(), Some(&round.to_be_bytes()[..]));
    }
}
