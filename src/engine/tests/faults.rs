//! Disks that fill up or fail.

use std::sync::Arc;

use lightning_db_storage::audit::{AuditEvent, AuditRecord};
use lightning_db_storage::vfs::{CallKind, Calls, Effect, Fault, FaultPlan, FaultyVfs, Keep};

use super::support::{Model, PATH, Random, World, assert_holds, small};
use crate::config::{LightningDbConfig, WalSyncMode};
use crate::database::Database;
use crate::engine::About;
use crate::error::Error;

/// A database that was made in order, and is open on a disk that fails as the plan says.
fn on_a_faulty_disk(world: &World, config: &LightningDbConfig) -> (Arc<Database>, FaultPlan) {
    world.create(config).close().expect("close");
    let plan = FaultPlan::new();
    let faulty = Arc::new(FaultyVfs::over_memory(world.disk.clone(), plan.clone()));
    let db = Database::open_in(world.environment_on(faulty), PATH, config.clone()).expect("open");
    (db, plan)
}

#[test]
fn a_full_disk_loses_nothing_and_can_be_cleared() {
    for seed in 0..8u64 {
        let world = World::new(seed);
        let db = world.create(&small());
        let mut random = Random(seed);
        let mut model = Model::new();
        world.disk.set_capacity(Some(4 << 20));
        let mut full = false;
        for index in 0..20_000u32 {
            let key = index.to_be_bytes().to_vec();
            let value: Vec<u8> = (0..900).map(|_| random.next() as u8).collect();
            match db.put(&key, &value) {
                Ok(()) => {
                    model.insert(key, value);
                }
                Err(Error::DiskFull { .. }) => {
                    full = true;
                    break;
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert!(full, "the disk is small");
        assert_holds(&db, &model);
        let keys: Vec<_> = model.keys().cloned().collect();
        for key in &keys[keys.len() - 50..] {
            db.delete(key)
                .unwrap_or_else(|error| panic!("seed {seed}: the reserve leaves room to delete: {error}"));
            model.remove(key);
        }
        assert!(matches!(db.checkpoint(), Ok(()) | Err(Error::DiskFull { .. })));
        assert_holds(&db, &model);
        world.disk.set_capacity(Some(8 << 20));
        for key in &keys[..keys.len() / 2] {
            db.delete(key).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            model.remove(key);
        }
        db.compact().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_holds(&db, &model);
        db.close().expect("close");
        drop(db);
        assert_holds(&world.open(&small()).expect("open"), &model);
    }
}

#[test]
fn a_failed_sync_of_the_log_ends_writing_and_reads_go_on() {
    let world = World::new(1);
    let config = LightningDbConfig { wal_sync_mode: WalSyncMode::Sync, ..small() };
    let (db, plan) = on_a_faulty_disk(&world, &config);
    db.put(b"a", b"1").expect("put");
    plan.add(
        Fault::new(Calls::Only(CallKind::SyncData), Effect::LoseWrites(std::io::ErrorKind::Other)).on(".wal"),
    );
    assert!(db.put(b"b", b"2").is_err());
    assert!(matches!(db.put(b"c", b"3"), Err(Error::Poisoned { .. })));
    assert_eq!(db.get(b"a").expect("get").as_deref(), Some(&b"1"[..]));
    assert_eq!(db.get(b"b").expect("get"), None);
    drop(db);
    let db = world.open(&config).expect("open");
    assert_eq!(db.get(b"a").expect("get").as_deref(), Some(&b"1"[..]));
    db.put(b"d", b"4").expect("writing goes on after opening again");
}

#[test]
fn a_disk_that_is_full_when_the_log_is_synced_is_no_full_disk_to_try_again() {
    let world = World::new(5);
    let config = LightningDbConfig { wal_sync_mode: WalSyncMode::Sync, ..small() };
    let (db, plan) = on_a_faulty_disk(&world, &config);
    let full = Effect::Fail(std::io::ErrorKind::StorageFull);
    plan.add(Fault::new(Calls::Only(CallKind::SyncData), full).on(".wal"));
    let refused = db.put(b"k", b"v");
    assert!(matches!(refused, Err(Error::Poisoned { .. })), "it may be in the log: {refused:?}");
    assert!(matches!(db.put(b"k", b"w"), Err(Error::Poisoned { .. })));
}

#[test]
fn a_flush_that_fails_is_done_again() {
    let world = World::new(2);
    let (db, plan) = on_a_faulty_disk(&world, &small());
    db.put(b"k", b"v").expect("put");
    plan.add(
        Fault::new(Calls::Only(CallKind::Create), Effect::Fail(std::io::ErrorKind::Other))
            .on(".run")
            .lasting(),
    );
    assert!(db.checkpoint().is_err());
    assert_eq!(db.get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
    plan.clear();
    db.checkpoint().expect("the next attempt");
    assert_eq!(db.get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_manifest_that_does_not_fit_leaves_the_large_values_for_the_next_flush() {
    let world = World::new(3);
    let (db, plan) = on_a_faulty_disk(&world, &small());
    let value = vec![3; 200 << 10];
    db.put(b"k", &value).expect("put");
    let full = Effect::Fail(std::io::ErrorKind::StorageFull);
    plan.add(Fault::new(Calls::Only(CallKind::Create), full).on("MANIFEST.tmp").lasting());
    assert!(matches!(db.checkpoint(), Err(Error::DiskFull { .. })));
    plan.clear();
    db.checkpoint().expect("the next attempt");
    db.close().expect("close");
    drop(db);
    assert_eq!(world.open(&small()).expect("open").get(b"k").expect("get"), Some(value));
}

#[test]
fn a_log_segment_made_ready_stays_so_while_the_manifest_cannot_forget_it() {
    let world = World::new(9);
    let (db, plan) = on_a_faulty_disk(&world, &small());
    db.put(b"k", b"1").expect("put");
    db.engine.prepare_ahead().expect("a segment made ready");
    let full = Effect::Fail(std::io::ErrorKind::StorageFull);
    plan.add(Fault::new(Calls::Only(CallKind::Create), full).on("MANIFEST.tmp").lasting());
    db.rotate_data_key().expect("the keyring is stored, and the log goes on under the old key");
    plan.clear();
    db.put(b"k", b"2").expect("put");
    db.rotate_data_key().expect("now the log moves on");
    db.engine.prepare_ahead().expect("another one");
    db.put(b"k", b"3").expect("put");
    world.kill(db);
    let db = world.open(&small()).expect("the log follows");
    assert_eq!(db.get(b"k").expect("get").as_deref(), Some(&b"3"[..]));
    db.close().expect("close");
    drop(db);
    assert_eq!(world.open(&small()).expect("open").get(b"k").expect("get").as_deref(), Some(&b"3"[..]));
}

#[test]
fn a_closed_database_no_longer_writes_to_the_audit_log_of_another_process() {
    let world = World::new(11);
    let db = world.create(&small());
    db.close().expect("close");
    let other = world.open(&small()).expect("open");
    other.rotate_data_key().expect("a new data key");
    // As a copy or a backup does that ends after the close.
    db.engine.note(AuditEvent::Exported, About::default());
    other.rotate_data_key().expect("a new data key");
    let log = other.engine.read_audit().expect("the log");
    let is_exported = |record: &AuditRecord| record.event == AuditEvent::Exported;
    assert_eq!((log.problem, log.records.iter().flatten().any(is_exported)), (None, false));
    other.close().expect("close");
}

#[test]
fn a_closed_database_no_longer_touches_its_manifest_or_keyring() {
    let world = World::new(4);
    let db = world.create(&small());
    db.close().expect("close");
    let other = world.open(&small()).expect("the lock was given back");
    other.put(b"k", b"v").expect("put");
    other.checkpoint().expect("checkpoint");
    assert!(matches!(db.engine.change_manifest(|_| {}), Err(Error::Closed)));
    assert!(matches!(db.rotate_data_key(), Err(Error::Closed)));
    drop((db, other));
    assert_eq!(world.open(&small()).expect("open").get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
}

#[test]
fn values_whose_segment_could_not_be_finished_stay_in_the_log() {
    let world = World::new(6);
    let (db, plan) = on_a_faulty_disk(&world, &small());
    let value = vec![3; 70 << 10];
    db.put(b"k", &value).expect("put");
    let full = Effect::Fail(std::io::ErrorKind::StorageFull);
    plan.add(Fault::new(Calls::Only(CallKind::Write), full).on(".value"));
    assert!(db.checkpoint().is_err());
    assert!(matches!(db.close(), Err(Error::Poisoned { .. })), "who closes is told, too");
    drop(db);
    assert_eq!(world.open(&small()).expect("open").get(b"k").expect("get"), Some(value));
}

#[test]
fn a_close_after_a_failed_sync_does_not_say_that_all_is_well() {
    let world = World::new(7);
    let (db, plan) = on_a_faulty_disk(&world, &small());
    db.put(b"k", b"v").expect("put");
    let lost = Effect::LoseWrites(std::io::ErrorKind::Other);
    plan.add(Fault::new(Calls::Only(CallKind::SyncData), lost).on(".wal"));
    assert!(db.checkpoint().is_err());
    assert!(matches!(db.close(), Err(Error::Poisoned { .. })));
    assert!(matches!(db.close(), Err(Error::Poisoned { .. })), "asked again it is no better");
}

#[test]
fn whoever_closes_beside_another_returns_when_all_is_written() {
    let world = World::new(9);
    let db = world.create(&small());
    for n in 0..200_u32 {
        db.put(&n.to_be_bytes(), &[7; 1000]).expect("put");
    }
    lightning_db_sync::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                db.close().expect("closed");
                assert!(db.engine.lock.lock().is_none(), "the first was not done");
            });
        }
    });
}

#[test]
fn what_a_failed_sync_forgot_is_brought_to_the_disk_by_the_next_open() {
    for call in 0.. {
        let world = World::new(8);
        let (db, plan) = on_a_faulty_disk(&world, &small());
        db.put(b"k", b"v").expect("put");
        let lost = Effect::LoseWrites(std::io::ErrorKind::Other);
        plan.add(Fault::new(Calls::Only(CallKind::SyncData), lost).on(".wal"));
        assert!(db.checkpoint().is_err());
        plan.crash_at(0);
        drop(db);
        world.disk.kill_process();

        let dying = FaultPlan::new();
        dying.crash_at(call);
        let faulty = Arc::new(FaultyVfs::over_memory(world.disk.clone(), dying.clone()));
        let opened = Database::open_in(world.environment_on(faulty), PATH, small());
        let (is_open, was_cut) = (opened.is_ok(), dying.crashed());
        dying.crash_at(0);
        drop(opened);
        world.disk.crash(&mut || 0, Keep::Nothing);
        let db = world.open(&small()).unwrap_or_else(|error| panic!("cut at call {call}: {error}"));
        assert!(
            !is_open || db.get(b"k").expect("get").is_some(),
            "what was shown is there: cut at call {call}"
        );
        if !was_cut {
            return;
        }
    }
}
