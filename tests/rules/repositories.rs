//! Repositories, copies and space: which history is whose, what is kept for whom, what a change costs.

use std::path::Path;

use lightning_db::{
    Database, Error, HealthProblemKind, KeySource, LightningDbConfig, NoProgress, RecoveryTarget,
    RestoreOptions, SequenceNumber, Vfs,
};

use crate::support::{KEY, Machine, Model, PATH, Random, assert_holds, small};

const REPOSITORY: &str = "/repository";

fn restore(machine: &Machine, place: &str, target: RecoveryTarget) -> Result<SequenceNumber, Error> {
    let options = RestoreOptions { target, encryption_key: KeySource::raw(KEY), ..RestoreOptions::default() };
    let report = Database::restore_with(&machine.environment(), REPOSITORY, place, options, &NoProgress);
    report.map(|report| report.sequence)
}

fn put_noise(db: &Database, random: &mut Random, keys: std::ops::Range<u32>, len: usize) {
    for index in keys {
        db.put(format!("key-{index:06}").as_bytes(), &random.noise(len)).expect("put");
    }
}

#[test]
fn log_is_kept_for_a_repository_up_to_a_cap_and_the_gap_is_announced() {
    let machine = Machine::new(1);
    let mut random = Random(1);
    let config = small();
    let db = machine.create(&config);
    put_noise(&db, &mut random, 0..10, 100);
    db.checkpoint().expect("checkpoint");
    assert!(db.stats().expect("stats").wal_bytes <= 3 * config.wal_segment_size, "kept for nobody");
    let first = db.backup(REPOSITORY).expect("backup");

    put_noise(&db, &mut random, 10..300, 1000);
    db.checkpoint().expect("checkpoint");
    let second = db.backup(REPOSITORY).expect("backup");
    assert!(second.lost_log.is_empty(), "less than the cap is kept, flushed or not");
    let between = SequenceNumber(150);
    assert_eq!(restore(&machine, "/between", RecoveryTarget::Sequence(between)).expect("restore"), between);

    put_noise(&db, &mut random, 0..3000, 1000);
    db.checkpoint().expect("checkpoint");
    let kept = db.stats().expect("stats").wal_bytes;
    assert!(kept <= config.max_retained_log + 3 * config.wal_segment_size, "{kept} bytes of log are kept");
    assert!(db.get_metrics().log_gaps > 0, "the metric tells");
    let health = db.health_check().expect("health");
    assert!(health.problems.iter().any(|problem| problem.kind == HealthProblemKind::LogGap), "{health}");
    let third = db.backup(REPOSITORY).expect("backup");
    assert!(!third.lost_log.is_empty(), "the report tells");
    let lost = SequenceNumber(third.lost_log[0].0.0 + 1);
    let unreachable = restore(&machine, "/lost", RecoveryTarget::Sequence(lost));
    assert!(matches!(unreachable, Err(Error::TargetNotReachable { .. })), "{unreachable:?}");
    assert!(machine.disk.metadata(Path::new("/lost")).is_err(), "nothing is left behind");
    assert_eq!(restore(&machine, "/latest", RecoveryTarget::Latest).expect("restore"), db.last_sequence());
    let backup = RecoveryTarget::Backup(first.backup);
    assert_eq!(restore(&machine, "/first", backup).expect("restore"), first.sequence);
}

/// The newest record cannot be read, or is gone while the hint still names it.
#[test]
fn nothing_older_is_restored_in_the_place_of_a_record_that_cannot_be_read() {
    for gone in [false, true] {
        let machine = Machine::new(7);
        let db = machine.create(&small());
        for number in 0..3_u8 {
            db.put(&[number], b"row").expect("put");
            db.backup(REPOSITORY).expect("backup");
        }
        db.create_restore_point("point").expect("point");
        db.put(b"last", b"row").expect("put");
        db.backup(REPOSITORY).expect("backup");
        let record = Path::new(REPOSITORY).join("manifests/0000000000000004");
        if gone {
            machine.disk.remove_file(&record).expect("remove");
        } else {
            machine.disk.corrupt(&record, 200, 1).expect("flip");
        }
        for (place, target) in [
            ("/latest", RecoveryTarget::Latest),
            ("/name", RecoveryTarget::Name("point".into())),
            ("/sequence", RecoveryTarget::Sequence(SequenceNumber(4))),
        ] {
            let refused = restore(&machine, place, target);
            assert!(
                matches!(&refused, Err(Error::Corrupt { file, .. }) if file.ends_with("manifests/0000000000000004")),
                "{place}: {refused:?}"
            );
        }
        let left = restore(&machine, "/left", RecoveryTarget::Backup(3)).expect("what is left");
        assert_eq!(left, SequenceNumber(3));
    }
}

#[test]
fn of_two_copies_that_both_went_on_the_second_to_back_up_is_refused() {
    let machine = Machine::new(2);
    let db = machine.create(&small());
    db.put(b"common", b"past").expect("put");
    db.backup(REPOSITORY).expect("backup");
    db.close().expect("close");
    drop(db);
    machine.disk.copy_tree(Path::new(PATH), Path::new("/copy")).expect("copy");
    let open = |path| Database::open_in(machine.environment(), path, small()).expect("open");
    let (one, two) = (open(PATH), open("/copy"));
    one.put(b"key", b"one").expect("put");
    two.put(b"key", b"two").expect("put");
    one.backup(REPOSITORY).expect("the first to come");
    assert!(matches!(two.backup(REPOSITORY), Err(Error::Diverged { .. })));
    one.put(b"more", b"one").expect("put");
    one.backup(REPOSITORY).expect("the first goes on");
    restore(&machine, "/restored", RecoveryTarget::Latest).expect("restore");
    let restored = open("/restored");
    assert_eq!(restored.get(b"key").expect("get").as_deref(), Some(&b"one"[..]));
}

#[test]
fn a_checkpoint_is_of_its_moment_whatever_either_side_does_afterwards() {
    let machine = Machine::new(3);
    let (mut random, mut model) = (Random(3), Model::new());
    let db = machine.create(&small());
    for _ in 0..400 {
        let (key, value) = (random.key(200), random.value(300));
        db.put(&key, &value).expect("put");
        model.insert(key, value);
    }
    db.create_checkpoint("/checkpoint").expect("checkpoint");
    let mut later = model.clone();
    for _ in 0..200 {
        let (key, value) = (random.key(200), random.value(300));
        db.put(&key, &value).expect("put");
        later.insert(key, value);
    }
    db.compact().expect("compact");
    machine.power_cut(db, &mut random, lightning_db_storage::vfs::Keep::Everything);
    let copy = Database::open_in(machine.environment(), "/checkpoint", small()).expect("open");
    assert_holds(&copy, &model, "the checkpoint");
    copy.put(b"only in the copy", b"").expect("put");
    copy.compact().expect("compact");
    let incarnation = copy.stats().expect("stats").incarnation;
    drop(copy);
    let db = machine.reopen(&small());
    assert_holds(&db, &later, "the original");
    assert_ne!(db.stats().expect("stats").incarnation, incarnation, "each has a history of its own");
}

#[test]
fn a_backup_costs_what_changed() {
    let machine = Machine::new(4);
    let mut random = Random(4);
    let config = LightningDbConfig {
        write_buffer_size: 1 << 20,
        max_retained_log: 64 << 20,
        wal_segment_size: 4 << 20,
        page_size: 4096,
        ..small()
    };
    let db = machine.create(&config);
    put_noise(&db, &mut random, 0..20_000, 100);
    db.compact().expect("compact");
    let full = db.backup(REPOSITORY).expect("backup");
    for _ in 0..200 {
        let index = random.below(20_000) as u32;
        put_noise(&db, &mut random, index..index + 1, 100);
    }
    // The merge rewrites a third of the leaves; the repository does not have to take them.
    db.compact().expect("compact");
    let second = db.backup(REPOSITORY).expect("backup");
    assert!(
        second.segment_bytes * 100 <= full.segment_bytes * 3,
        "{} bytes for 1% of changes, {} at first",
        second.segment_bytes,
        full.segment_bytes
    );
    assert_eq!(restore(&machine, "/restored", RecoveryTarget::Latest).expect("restore"), db.last_sequence());
}

#[test]
fn files_hold_mostly_what_is_live() {
    let machine = Machine::new(5);
    let mut random = Random(5);
    let db = machine.create(&LightningDbConfig { page_size: 4096, ..small() });
    put_noise(&db, &mut random, 0..3000, 200);
    for round in 0..6 {
        // Every other stretch of neighbours, so that files are dead in parts.
        for first in (0..3000).step_by(100).filter(|first| (first / 100 + round) % 2 == 0) {
            put_noise(&db, &mut random, first..first + 100, 200);
        }
        db.compact().expect("compact");
        let stats = db.stats().expect("stats");
        let files = machine.file_bytes() - stats.wal_bytes;
        assert!(stats.live_bytes * 100 >= files * 70, "{} of {files} bytes are live", stats.live_bytes);
    }
}

#[test]
fn the_background_keeps_most_of_the_files_live() {
    let machine = Machine::new(6);
    let mut random = Random(6);
    let config = LightningDbConfig {
        page_size: 4096,
        background_compaction: true,
        compaction_interval: std::time::Duration::from_millis(5),
        ..small()
    };
    let db = machine.create(&config);
    put_noise(&db, &mut random, 0..3000, 200);
    db.compact().expect("compact");
    // Some of the neighbours everywhere: every file is a little more than half live.
    for first in (0..3000).step_by(200) {
        put_noise(&db, &mut random, first..first + 86, 200);
    }
    db.checkpoint().expect("checkpoint");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let stats = db.stats().expect("stats");
        let files = machine.file_bytes().saturating_sub(stats.wal_bytes);
        if db.get_metrics().merges > 0 && stats.live_bytes * 100 >= files * 70 {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{} of {files} bytes are live", stats.live_bytes);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
