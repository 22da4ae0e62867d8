//! The log, write buffers, merges.

use std::path::Path;
use std::time::{Duration, Instant};

use lightning_db::{LightningDbConfig, Vfs, WalSyncMode};
use lightning_db_storage::vfs::CallKind;

use crate::support::{Machine, PATH, small};

/// Waits for something that another thread does.
fn soon(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < deadline, "{what} never happened");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn write_buffer_size_says_how_often_memory_goes_to_a_file() {
    let flushes = |write_buffer_size| {
        let machine = Machine::new(1);
        let db = machine.create(&LightningDbConfig { write_buffer_size, ..small() });
        for index in 0..1500u32 {
            db.put(&index.to_be_bytes(), &[1; 400]).expect("put");
        }
        db.checkpoint().expect("checkpoint");
        db.get_metrics().flushes
    };
    let (small, large) = (flushes(64 << 10), flushes(4 << 20));
    assert!(small >= 4 && large == 1, "{small} flushes of 64 KiB, {large} of 4 MiB");
}

#[test]
fn wal_enabled_writes_a_log_and_without_it_only_a_checkpoint_is_safe() {
    for wal_enabled in [true, false] {
        let machine = Machine::new(2);
        let config = LightningDbConfig { wal_enabled, ..small() };
        let db = machine.create(&config);
        assert_eq!(!machine.files_ending(".wal").is_empty(), wal_enabled);
        db.put(b"kept", b"1").expect("put");
        db.checkpoint().expect("checkpoint");
        db.put(b"only logged", b"2").expect("put");
        machine.kill(db);
        let db = machine.reopen(&config);
        assert!(db.get(b"kept").expect("get").is_some());
        assert_eq!(db.get(b"only logged").expect("get").is_some(), wal_enabled);
    }
}

/// How often the log file that `work` writes to is synced meanwhile. The next one is made ready beside it.
fn log_syncs(machine: &Machine, work: impl FnOnce()) -> usize {
    machine.plan().record();
    work();
    let calls = machine.plan().take_trace();
    let log = calls.iter().find(|call| call.kind == CallKind::MapStore).map(|call| &call.path);
    calls.iter().filter(|call| call.kind == CallKind::SyncData && Some(&call.path) == log).count()
}

fn syncs_of_100_commits(wal_sync_mode: WalSyncMode) -> usize {
    let machine = Machine::new(3);
    let db = machine.create(&LightningDbConfig { wal_sync_mode, ..small() });
    log_syncs(&machine, || {
        (0..100u32).for_each(|index| db.put(&index.to_be_bytes(), b"v").expect("put"));
    })
}

#[test]
fn wal_sync_mode_says_when_a_commit_is_synced() {
    assert_eq!(syncs_of_100_commits(WalSyncMode::Async), 0);
    assert_eq!(syncs_of_100_commits(WalSyncMode::Sync), 100);
    assert_eq!(syncs_of_100_commits(WalSyncMode::Periodic(Duration::from_secs(3600))), 0);

    let machine = Machine::new(4);
    let period = Duration::from_millis(5);
    let db = machine.create(&LightningDbConfig { wal_sync_mode: WalSyncMode::Periodic(period), ..small() });
    let before = machine.disk.op_counts().file_syncs();
    db.put(b"k", b"v").expect("put");
    soon("the periodic sync", || machine.disk.op_counts().file_syncs() > before);
}

#[test]
fn a_batch_is_synced_once() {
    let machine = Machine::new(5);
    let db = machine.create(&LightningDbConfig { wal_sync_mode: WalSyncMode::Sync, ..small() });
    let items: Vec<_> = (0..500u32).map(|index| (index.to_be_bytes().to_vec(), b"v".to_vec())).collect();
    assert_eq!(log_syncs(&machine, || db.put_batch(&items).expect("batch")), 1);
}

#[test]
fn improved_wal_writes_through_a_map_and_otherwise_with_system_calls() {
    for improved_wal in [true, false] {
        let machine = Machine::new(6);
        let db = machine.create(&LightningDbConfig { improved_wal, ..small() });
        let before = machine.plan().counts();
        for index in 0..50u32 {
            db.put(&index.to_be_bytes(), b"v").expect("put");
        }
        let after = machine.plan().counts();
        let grown = |kind| after.of(kind) - before.of(kind);
        let (stores, writes) = (grown(CallKind::MapStore), grown(CallKind::Write));
        let as_configured = if improved_wal { stores >= 50 } else { stores == 0 && writes >= 100 };
        assert!(as_configured, "{stores} stores, {writes} writes");
    }
}

#[test]
fn wal_segment_size_bounds_a_log_file() {
    for wal_segment_size in [128 << 10, 1 << 20] {
        let machine = Machine::new(7);
        let config = LightningDbConfig { wal_segment_size, write_buffer_size: 8 << 20, ..small() };
        let db = machine.create(&LightningDbConfig { max_retained_log: 4 << 20, ..config });
        for index in 0..100u32 {
            db.put(&index.to_be_bytes(), &[7; 10_000]).expect("put");
        }
        let logs = machine.files_ending(".wal");
        let longest = logs.iter().map(|path| machine.len(path)).max().expect("a log");
        assert!(longest <= wal_segment_size, "{longest} bytes");
        let expected = 1_000_000 / wal_segment_size;
        assert!(logs.len() as u64 > expected && logs.len() as u64 <= expected + 4, "{} files", logs.len());
    }
}

#[test]
fn background_compaction_merges_without_being_asked() {
    for background_compaction in [true, false] {
        let machine = Machine::new(8);
        let config = LightningDbConfig {
            background_compaction,
            compaction_interval: Duration::from_millis(5),
            ..small()
        };
        let db = machine.create(&config);
        for round in 0..20u32 {
            db.put(&round.to_be_bytes(), &[1; 100]).expect("put");
            db.checkpoint().expect("checkpoint");
        }
        let runs = || db.stats().expect("stats").runs;
        if background_compaction {
            soon("a merge", || runs() < 6 && db.get_metrics().merges > 0);
        } else {
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!((runs(), db.get_metrics().merges), (20, 0));
            db.compact().expect("compact");
            assert_eq!(runs(), 0);
        }
    }
}

#[test]
fn compaction_interval_says_how_often_an_idle_database_looks_after_itself() {
    let reserve = Path::new(PATH).join("RESERVE");
    for (interval, comes_back) in [(Duration::from_millis(10), true), (Duration::from_secs(3600), false)] {
        let machine = Machine::new(9);
        let db = machine.create(&LightningDbConfig { compaction_interval: interval, ..small() });
        machine.disk.remove_file(&reserve).expect("the room that is set aside");
        let is_there = || machine.disk.metadata(&reserve).is_ok();
        if comes_back {
            soon("setting room aside again", is_there);
        } else {
            std::thread::sleep(Duration::from_millis(100));
            assert!(!is_there());
        }
        drop(db);
    }
}
