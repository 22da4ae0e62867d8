//! Put, get, delete, close, open.

use std::path::Path;
use std::time::Duration;

use lightning_db_crypto::KeySource;
use lightning_db_storage::vfs::{OpenHow, Vfs};

use super::support::{Model, PATH, Random, World, assert_accounts, assert_holds, small};
use crate::config::{LightningDbConfig, WalSyncMode};
use crate::database::Database;
use crate::engine::LARGE_VALUE_LEN;
use crate::error::Error;

#[test]
fn what_was_put_is_there_and_what_was_deleted_is_not() {
    let world = World::new(1);
    let db = world.create(&small());
    db.put(b"a", b"1").expect("put");
    db.put(b"b", b"").expect("put");
    db.put(b"a", b"2").expect("put");
    db.delete(b"c").expect("delete");
    assert_eq!(db.get(b"a").expect("get").as_deref(), Some(&b"2"[..]));
    assert_eq!(db.get(b"b").expect("get").as_deref(), Some(&b""[..]));
    assert_eq!(db.get(b"c").expect("get"), None);
    assert_eq!(db.last_sequence().0, 4);
    db.put_batch(&[(b"x".to_vec(), b"1".to_vec()), (b"x".to_vec(), b"2".to_vec())]).expect("batch");
    assert_eq!(db.get(b"x").expect("get").as_deref(), Some(&b"2"[..]));
    assert_eq!(db.last_sequence().0, 5, "a batch is one commit");
}

#[test]
fn limits_are_errors_and_change_nothing() {
    let world = World::new(2);
    let db = world.create(&small());
    assert!(matches!(db.put(b"", b"x"), Err(Error::EmptyKey)));
    assert!(matches!(db.put(&vec![1; 65_536], b"x"), Err(Error::KeyTooLarge)));
    db.put(&vec![1; 65_535], b"x").expect("the longest key");
    assert!(matches!(db.put_batch(&[(b"k".to_vec(), vec![]), (vec![], vec![])]), Err(Error::EmptyKey)));
    assert_eq!(db.get(b"k").expect("get"), None);
    assert_eq!(db.last_sequence().0, 1);
    db.checkpoint().expect("checkpoint");
    assert_eq!(db.get(&vec![1; 65_535]).expect("get").as_deref(), Some(&b"x"[..]));
}

/// Who comes second finds out with the lock in hand, and takes nothing of the first one's away.
#[test]
fn a_creation_beside_another_one_destroys_nothing() {
    let world = World::new(5);
    let directory = Path::new(PATH);
    world.disk.create_dir(directory).expect("a directory");
    let first = world.disk.lock(&directory.join("LOCK")).expect("free");
    let make = |name| drop(world.disk.open(&directory.join(name), OpenHow::CreateNew).expect("a file"));
    let is_there = |name| world.disk.metadata(&directory.join(name)).is_ok();
    make("KEYRING");
    let second = || Database::create_in(world.environment(), PATH, small());
    assert!(matches!(second(), Err(Error::Locked { .. })));
    assert!(is_there("KEYRING"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            make("MANIFEST");
            drop(first);
        });
        assert!(matches!(second(), Err(Error::AlreadyExists { .. })));
    });
    assert!(is_there("KEYRING") && is_there("MANIFEST"));
}

/// Whoever reads shares the lock, and holds it only for a while.
#[test]
fn readers_do_not_refuse_each_other_and_a_writer_waits_for_them() {
    let world = World::new(4);
    let db = world.create(&small());
    db.put(b"k", b"v").expect("put");
    assert!(matches!(world.read_only(&small()), Err(Error::Locked { .. })), "somebody writes");
    world.kill(db);
    let lock = Path::new(PATH).join("LOCK");
    let reader = world.disk.lock_shared(&lock).expect("nobody writes");
    let other = world.read_only(&small()).expect("beside a reader that is still opening");
    assert_eq!(other.get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            drop(reader);
        });
        let db = world.open(&small()).expect("once the reader is done");
        assert_eq!(db.get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
    });
}

#[test]
fn a_closed_database_opens_with_everything_and_refuses_until_then() {
    let world = World::new(3);
    let config = small();
    let db = world.create(&config);
    assert!(matches!(
        Database::create_in(world.environment(), PATH, config.clone()),
        Err(Error::AlreadyExists { .. })
    ));
    assert!(matches!(world.open(&config), Err(Error::Locked { .. })));
    db.put(b"k", b"v").expect("put");
    db.close().expect("close");
    assert!(matches!(db.put(b"k", b"w"), Err(Error::Closed)));
    db.close().expect("again");

    let wrong = LightningDbConfig { encryption_key: KeySource::raw([8; 32]), ..config.clone() };
    assert!(matches!(world.open(&wrong), Err(Error::WrongKey { .. })));
    let none =
        LightningDbConfig { encryption_enabled: false, encryption_key: KeySource::none(), ..config.clone() };
    assert!(matches!(world.open(&none), Err(Error::KeyRequired { .. })));

    let db = world.open(&config).expect("open");
    assert_eq!(db.get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
    assert_eq!(db.last_sequence().0, 1);
}

#[test]
fn an_unencrypted_database_refuses_a_key() {
    let world = World::new(4);
    let plain = LightningDbConfig { encryption_enabled: false, encryption_key: KeySource::none(), ..small() };
    world.create(&plain).put(b"k", b"v").expect("put");
    assert!(matches!(world.open(&small()), Err(Error::NotEncrypted { .. })));
    assert_eq!(world.open(&plain).expect("open").get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
}

#[test]
fn what_is_missing_or_something_else_is_named() {
    let world = World::new(5);
    assert!(matches!(world.open(&small()), Err(Error::NotFound { .. })));
    world.disk.create_dir(Path::new(PATH)).expect("new directory");
    assert!(matches!(world.open(&small()), Err(Error::NotFound { .. })));
    let foreign = Path::new(PATH).join("notes.txt");
    world.disk.open(&foreign, lightning_db_storage::vfs::OpenHow::CreateNew).expect("create");
    let created = Database::create_in(world.environment(), PATH, small());
    assert!(matches!(created, Err(Error::AlreadyExists { .. })));
    assert!(world.disk.metadata(&foreign).is_ok(), "what is not ours stays");
}

#[test]
fn random_work_with_reopening_equals_a_model() {
    for seed in 0..6 {
        let world = World::new(seed);
        let mut random = Random(seed);
        let mut config = small();
        config.improved_wal = seed % 2 == 0;
        config.wal_sync_mode = if seed % 3 == 0 { WalSyncMode::Sync } else { WalSyncMode::Async };
        config.background_compaction = seed % 2 == 1;
        let mut db = world.create(&config);
        let mut model = Model::new();
        for step in 0..3000 {
            work(&db, &mut model, &mut random);
            match random.below(400) {
                0 => db.checkpoint().expect("checkpoint"),
                1 => db.compact().expect("compact"),
                2 => {
                    db.close().expect("close");
                    drop(db);
                    db = world.open(&config).expect("open");
                }
                _ => {}
            }
            if step % 1000 == 999 {
                assert_holds(&db, &model);
                assert_accounts(&db);
            }
        }
    }
}

fn work(db: &Database, model: &mut Model, random: &mut Random) {
    let key = random.key(300);
    match random.below(20) {
        0..4 => {
            db.delete(&key).expect("delete");
            model.remove(&key);
        }
        4 => {
            let items: Vec<_> = (0..20).map(|_| (random.key(300), random.value(60))).collect();
            db.put_batch(&items).expect("batch");
            model.extend(items);
        }
        5 if random.below(8) == 0 => {
            let value = vec![random.next() as u8; LARGE_VALUE_LEN + random.below(100_000) as usize];
            db.put(&key, &value).expect("put");
            model.insert(key, value);
        }
        _ => {
            let value = random.value(300);
            db.put(&key, &value).expect("put");
            model.insert(key, value);
        }
    }
}

#[test]
fn a_read_only_open_writes_nothing_and_sees_the_log() {
    let world = World::new(8);
    let config = small();
    let db = world.create(&config);
    db.put(b"flushed", b"1").expect("put");
    db.checkpoint().expect("checkpoint");
    db.put(b"logged", &vec![3; LARGE_VALUE_LEN]).expect("put");
    world.kill(db);
    let before = world.disk.op_counts().bytes_written;
    let files = world.disk.files();
    let db = world.read_only(&config).expect("open");
    assert_eq!(db.get(b"flushed").expect("get").as_deref(), Some(&b"1"[..]));
    assert_eq!(db.get(b"logged").expect("get").map(|value| value.len()), Some(LARGE_VALUE_LEN));
    assert!(matches!(db.put(b"x", b"y"), Err(Error::ReadOnly)));
    assert!(matches!(db.checkpoint(), Err(Error::ReadOnly)));
    let again = world.read_only(&config).expect("a second reader");
    assert_eq!(again.last_sequence(), db.last_sequence());
    assert_eq!((world.disk.op_counts().bytes_written, world.disk.files()), (before, files));
    assert!(world.open(&config).is_ok(), "readers do not keep a writer out");
}

#[test]
fn no_plaintext_reaches_any_file() {
    let canary = b"CANARY-0123456789";
    let world = World::new(9);
    let db = world.create(&LightningDbConfig { compression_enabled: false, ..small() });
    for index in 0..400u32 {
        let key = [canary.as_slice(), &index.to_be_bytes()].concat();
        db.put(&key, &canary.repeat(20)).expect("put");
    }
    db.put(b"large", &canary.repeat(10_000)).expect("put");
    db.create_restore_point("CANARY-0123456789").expect("restore point");
    db.compact().expect("compact");
    db.put(canary, canary).expect("put");
    for path in world.disk.files() {
        let file = world.disk.open(&path, lightning_db_storage::vfs::OpenHow::Read).expect("open");
        let mut bytes = vec![0; file.len().expect("length") as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        let found = bytes.windows(canary.len()).any(|window| window == canary);
        assert!(!found, "plaintext in {}", path.display());
    }
}

#[test]
fn commits_from_many_threads_are_all_there_and_numbered_once() {
    let world = World::new(10);
    let config =
        LightningDbConfig { wal_sync_mode: WalSyncMode::Sync, background_compaction: true, ..small() };
    let db = world.create(&config);
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let db = &db;
            scope.spawn(move || {
                for index in 0..300u32 {
                    let key = [thread.to_be_bytes(), index.to_be_bytes()].concat();
                    db.put(&key, &[thread as u8; 100]).expect("put");
                }
            });
        }
    });
    assert_eq!(db.last_sequence().0, 8 * 300);
    world.kill(db);
    let db = world.open(&config).expect("open");
    for thread in 0..8u32 {
        for index in 0..300u32 {
            let key = [thread.to_be_bytes(), index.to_be_bytes()].concat();
            assert_eq!(db.get(&key).expect("get"), Some(vec![thread as u8; 100]));
        }
    }
}

#[test]
fn restore_points_are_durable_and_unique() {
    let world = World::new(11);
    let config = small();
    let db = world.create(&config);
    db.put(b"k", b"v").expect("put");
    assert_eq!(db.create_restore_point("before").expect("restore point").0, 1);
    assert!(matches!(db.create_restore_point("before"), Err(Error::AlreadyExists { .. })));
    assert!(matches!(db.create_restore_point(""), Err(Error::InvalidArgument { .. })));
    world.kill(db);
    let db = world.open(&config).expect("open");
    assert!(matches!(db.create_restore_point("before"), Err(Error::AlreadyExists { .. })));
    let names = db.engine.catalog.read(|manifest| manifest.restore_points.len());
    assert_eq!(names, 1);
}
