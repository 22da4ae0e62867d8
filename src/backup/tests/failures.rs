//! What goes on beside a backup, and records that do not open.

use std::sync::atomic::{AtomicBool, Ordering};

use lightning_db_backup::{PreviousRecord, RecordBody};
use lightning_db_storage::Incarnation;
use lightning_db_storage::vfs::{CallKind, Calls, Effect, Fault};

use super::*;

/// Starts an epoch in the middle of a backup.
struct Rotating<'a> {
    db: &'a Database,
    done: AtomicBool,
}

impl Progress for Rotating<'_> {
    fn advance(&self, _: &'static str, _: u64, _: u64) {
        if !self.done.swap(true, Ordering::Relaxed) {
            self.db.rotate_data_key().expect("an epoch");
        }
    }
}

#[test]
fn a_rotation_during_a_backup_leaves_it_restorable() {
    let mut world = World::new(31);
    world.commits(30);
    let rotating = Rotating { db: &world.db, done: AtomicBool::new(false) };
    world.db.backup_with("/repo", &rotating).expect("a backup");
    assert!(rotating.done.load(Ordering::Relaxed), "in the middle of it");
    let (_, model) = world.restore(RecoveryTarget::Latest, false).expect("a restore");
    assert_eq!(&model, &world.states.last().expect("a state").1);
}

#[test]
fn a_record_that_does_not_open_is_in_the_way_of_names_only() {
    let mut world = World::new(32);
    world.commits(20);
    world.db.create_restore_point("here").expect("a restore point");
    world.backup();
    // A record of some other history, sealed with a key that no keyring of the repository has.
    let store = store_at(&world.environment.vfs, Path::new("/repo")).expect("a store");
    let repository = Repository::open(Arc::clone(&store)).expect("a repository");
    let catalog = repository.catalog().expect("a catalog");
    let entry = catalog.entries().last().expect("a backup");
    let mut keyring = world.db.engine.ctx.keyring.read().duplicate();
    let mut version = entry.record.open("/repo", &keyring).expect("it opens").expect("a version");
    keyring.start_epoch(&*world.environment.entropy, 0).expect("an epoch");
    let mut record = entry.record.clone();
    record.number += 1;
    record.previous = Some(PreviousRecord { number: entry.record.number, hash: entry.hash });
    let RecordBody::Backup(backup) = &mut record.body else { panic!("a backup") };
    backup.incarnation = Incarnation([7; 16]);
    backup.log.clear();
    version.incarnation = backup.incarnation;
    let name = format!("manifests/{:016}", record.number);
    let sealed = record.seal_backup(&version, &keyring, &*world.environment.entropy);
    let bytes = sealed.expect("a record").1;
    store.put_if_absent(&name, &mut |sink| sink.write(&bytes)).expect("put");

    let (_, model) = world.restore(RecoveryTarget::Backup(1), false).expect("another history");
    assert_eq!(&model, &world.states.last().expect("a state").1);
    let by_name = world.restore(RecoveryTarget::Name("here".into()), false);
    assert!(by_name.is_err(), "the name may be there too");
}

#[test]
fn a_backup_whose_hint_cannot_be_written_counts() {
    let mut world = World::new(33);
    world.commits(10);
    world.backup();
    world.db.close().expect("close");
    let plan = FaultPlan::new();
    let vfs = Arc::new(FaultyVfs::over_memory(world.memory.clone(), plan.clone()));
    let environment = Environment { vfs, ..world.environment.clone() };
    world.db = Database::open_in(environment, "/db", config()).expect("open");
    world.commits(10);
    let full = Effect::Fail(std::io::ErrorKind::StorageFull);
    plan.add(Fault::new(Calls::Only(CallKind::Rename), full).on("/repo/head").lasting());
    let report = world.db.backup("/repo").expect("a backup");
    assert_eq!(report.backup, 2);
    let (_, model) = world.restore(RecoveryTarget::Latest, false).expect("a restore");
    assert_eq!(&model, &world.states.last().expect("a state").1);
}

#[test]
fn a_repository_that_somebody_else_signed_is_told_by_the_key_that_was_kept() {
    let mut world = World::new(34);
    world.commits(10);
    world.backup();
    let own = world.db.public_key();
    let verify = |public_key| {
        let options = VerifyOptions { public_key, ..Default::default() };
        Database::verify_repository_with(&world.environment, "/repo", options, &NoProgress).expect("verified")
    };
    for unforged in [verify(None), verify(Some(own))] {
        assert!(unforged.is_sound(), "{:?}", unforged.problems);
        assert_eq!(unforged.signer, Some(own));
    }
    let other = verify(Some(World::new(35).db.public_key()));
    assert!(other.problems.iter().any(|problem| problem.object.starts_with("manifests/")), "{other:?}");
}

/// A first backup brings no log by which the next one would know it again; the second one brings all there is.
#[test]
fn a_process_that_dies_in_a_backup_goes_on_with_the_repository() {
    for (wal_enabled, earlier) in [(true, 0), (true, 1), (true, 2), (false, 0), (false, 1)] {
        let mut crash_at = 0;
        loop {
            let config = || LightningDbConfig { wal_enabled, ..config() };
            let mut world = World::with(34, config());
            world.commits(12);
            for _ in 0..earlier {
                world.backup();
                world.commits(3);
            }
            world.db.close().expect("close");
            let plan = FaultPlan::new();
            let vfs = Arc::new(FaultyVfs::over_memory(world.memory.clone(), plan.clone()));
            let environment = Environment { vfs, ..world.environment.clone() };
            let db = Database::open_in(environment, "/db", config()).expect("open");
            plan.crash_at(crash_at);
            let died = db.backup("/repo").is_err();
            drop(db);

            world.db = Database::open_in(world.environment.clone(), "/db", config()).expect("open again");
            world.commits(5);
            world.db.compact().expect("the trees that were backed up are gone");
            world.commits(5);
            world.db.backup("/repo").unwrap_or_else(|error| {
                panic!("log {wal_enabled}, {earlier} earlier, crash at {crash_at}: {error}")
            });
            let (_, model) = world.restore(RecoveryTarget::Latest, false).expect("a restore");
            assert_eq!(&model, &world.states.last().expect("a state").1);
            if !died {
                assert!(crash_at > 20, "a backup makes more calls than {crash_at}");
                break;
            }
            crash_at += 1;
        }
    }
}

#[test]
fn a_backup_that_was_not_heard_of_is_known_also_when_its_log_was_given_up() {
    for crash_at in 0.. {
        let config = LightningDbConfig { max_retained_log: 128 << 10, ..config() };
        let mut world = World::with(61, config);
        world.commits(5);
        world.backup();
        world.commits(5);
        let died = world.backup_that_dies(crash_at);
        for _ in 0..4 {
            world.db.put(b"large", &vec![7; 150_000]).expect("put");
            world.db.checkpoint().expect("flushed");
        }
        let report = world.db.backup("/repo");
        assert!(report.is_ok(), "crash at {crash_at}: {report:?}");
        if !died {
            assert!(crash_at > 20, "a backup makes more calls than {crash_at}");
            break;
        }
    }
}

#[test]
fn a_first_backup_that_was_not_heard_of_is_known_also_when_the_next_starts_from_the_live_trees() {
    for crash_at in 0.. {
        let mut world = World::with(71, config());
        world.commits(5);
        let died = world.backup_that_dies(crash_at);
        world.commits(5);
        world.db.checkpoint().expect("a run that waits for the repository");
        world.db.rotate_data_key().expect("a data key");
        world.db.reseal(&NoProgress).expect("what waits under the old key is given up, what is live moves");
        let report = world.db.backup("/repo");
        assert!(report.is_ok(), "crash at {crash_at}: {report:?}");
        if !died {
            assert!(crash_at > 20, "a backup makes more calls than {crash_at}");
            break;
        }
    }
}

#[test]
fn of_two_backups_in_a_row_that_were_not_heard_of_the_first_stays_known() {
    for first in 0.. {
        let mut died = false;
        for second in (0..40).step_by(3) {
            let mut world = World::with(67, LightningDbConfig { max_retained_log: 128 << 10, ..config() });
            world.commits(5);
            died = world.backup_that_dies(first);
            let overwrite = |world: &World| {
                for _ in 0..3 {
                    world.db.put(b"large", &vec![7; 150_000]).expect("put");
                    world.db.checkpoint().expect("flushed");
                }
                world.db.compact().expect("merged");
            };
            overwrite(&world);
            world.backup_that_dies(second);
            overwrite(&world);
            let report = world.db.backup("/repo");
            assert!(report.is_ok(), "crashes at {first} and {second}: {report:?}");
        }
        if !died {
            assert!(first > 20, "a backup makes more calls than {first}");
            break;
        }
    }
}

#[test]
fn a_forged_record_with_the_last_number_is_told_and_no_backup_is_lost_behind_it() {
    let mut world = World::new(35);
    world.commits(10);
    world.backup();
    let store = store_at(&world.environment.vfs, Path::new("/repo")).expect("a store");
    let repository = Repository::open(Arc::clone(&store)).expect("a repository");
    let mut record =
        repository.catalog().expect("a catalog").entries().last().expect("a backup").record.clone();
    record.number = 9_999_999_999_999_999;
    record.body = RecordBody::Deletion { backup: 7 };
    record.signer = None;
    let bytes = record.encode_deletion(None);
    store
        .put_if_absent("manifests/9999999999999999", &mut |sink| sink.write(&bytes))
        .expect("whoever can write there can do this");
    world.commits(5);
    let refused = world.db.backup("/repo").expect_err("no number is left");
    assert!(refused.to_string().contains("the last number"), "{refused}");
    let options = VerifyOptions::default();
    let report = Database::verify_repository_with(&world.environment, "/repo", options, &NoProgress);
    let report = report.expect("verified, without an entry for each number");
    assert!(report.problems.len() < 2000 && !report.is_sound());
    let (_, model) = world.restore(RecoveryTarget::Backup(1), false).expect("what is there is there");
    assert_eq!(model, world.states[world.states.len() - 6].1, "as it was backed up");
}
