//! Closing and dropping while everything is under way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lightning_db::{Database, Error, Snapshot};

use super::{EndAll, Random, config, seconds};

const WRITERS: usize = 3;

/// What a thread does until it is told that the life is over.
type Work = Box<dyn FnOnce(&Database, &dyn Fn() -> bool) + Send>;

/// What writers of one life of a database acknowledged: each writes its keys in their order.
#[derive(Default)]
struct Acknowledged([AtomicU64; WRITERS]);

fn key(writer: usize, number: u64) -> Vec<u8> {
    format!("writer-{writer}-{number:08}").into_bytes()
}

/// The database ended under a call; any other error is one.
fn ended(error: &Error, what: &str) {
    assert!(matches!(error, Error::Closed | Error::Cancelled), "{what}: {error}");
}

/// Writes until the database is closed, or told to end.
fn write(db: &Database, writer: usize, acknowledged: &AtomicU64, over: impl Fn() -> bool) {
    let mut random = Random(writer as u64 + 900);
    let mut number = acknowledged.load(Ordering::Relaxed);
    while !over() {
        number += 1;
        let (key, value) = (key(writer, number), random.value());
        let written = match random.below(3) {
            0 => db.put(&key, &value),
            1 => db.put_batch(&[(key.clone(), value.clone()), (key, value)]),
            _ => db.execute_transaction(|tx| tx.put(&key, &value)),
        };
        match written {
            Ok(()) => acknowledged.store(number, Ordering::Relaxed),
            Err(error) => return ended(&error, "a write"),
        }
    }
}

fn read(db: &Database, over: &dyn Fn() -> bool) {
    while !over() {
        let mut before = Vec::new();
        let entries = match db.scan(None, None) {
            Ok(entries) => entries,
            Err(error) => return ended(&error, "a scan"),
        };
        for entry in entries {
            match entry {
                Ok((key, _)) => {
                    assert!(before < key, "in order");
                    before = key;
                }
                Err(error) => return ended(&error, "a scan"),
            }
        }
    }
}

fn maintain(db: &Database, repository: &Path, over: impl Fn() -> bool) {
    for round in 0_u64.. {
        if over() {
            return;
        }
        let done = match round % 5 {
            0 => db.backup(repository).map(drop),
            1 => db.compact(),
            2 => db.checkpoint(),
            3 => db.rotate_data_key().map(drop),
            _ => db
                .create_named_checkpoint(&format!("{}", db.last_sequence().0))
                .and_then(|made| db.drop_named_checkpoint(&made.name)),
        };
        if let Err(error) = done {
            return ended(&error, "maintenance");
        }
    }
}

fn assert_nothing_is_lost(db: &Database, acknowledged: &Acknowledged) {
    for (writer, count) in acknowledged.0.iter().enumerate() {
        let acknowledged = count.load(Ordering::Relaxed);
        let there = db.scan_prefix(format!("writer-{writer}-").as_bytes()).expect("scan").count() as u64;
        // The one that was under way may have been committed or not.
        assert!((acknowledged..=acknowledged + 1).contains(&there), "{there} of {acknowledged} are there");
        assert_eq!(db.get(&key(writer, there)).expect("get").is_some(), there > 0, "and no others");
        count.store(there, Ordering::Relaxed);
    }
}

/// One life after another, each ended by `end` in the middle of everything.
fn live(end: impl Fn(Arc<Database>, &dyn Fn())) {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, repository) = (directory.path().join("db"), directory.path().join("repo"));
    Database::create(&path, config(true)).expect("a new database").close().expect("close");
    let acknowledged = Arc::new(Acknowledged::default());
    let mut random = Random(77);
    let until = Instant::now() + Duration::from_secs(seconds());
    let mut lives = 0;
    while lives < 3 || Instant::now() < until {
        lives += 1;
        let db = Database::open(&path, config(lives % 2 == 0)).expect("open");
        assert_nothing_is_lost(&db, &acknowledged);
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let run = |work: Work| {
            let (db, over) = (Arc::clone(&db), Arc::clone(&over));
            std::thread::spawn(move || {
                let _end = EndAll(&over);
                work(&db, &|| over.load(Ordering::Relaxed));
            })
        };
        let mut threads: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let acknowledged = Arc::clone(&acknowledged);
                run(Box::new(move |db, over| write(db, writer, &acknowledged.0[writer], over)))
            })
            .collect();
        threads.push(run(Box::new(|db, over| read(db, over))));
        let repository = repository.clone();
        threads.push(run(Box::new(move |db, over| maintain(db, &repository, over))));
        std::thread::sleep(Duration::from_millis(random.below(250)));
        end(db, &|| over.store(true, Ordering::Relaxed));
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    }
    let db = Database::open(&path, config(true)).expect("open");
    assert_nothing_is_lost(&db, &acknowledged);
    assert!(acknowledged.0.iter().all(|count| count.load(Ordering::Relaxed) > 0), "something was written");
}

fn assert_closed(held: &Snapshot) {
    match held.get(b"writer-0-00000001") {
        Err(Error::Closed) => {}
        other => panic!("a snapshot of a closed database reads {other:?}"),
    }
}

#[test]
fn closing_in_the_middle_of_everything_loses_nothing() {
    live(|db, _| {
        let held = db.snapshot();
        db.close().expect("close");
        assert_closed(&held);
        db.close().expect("closing again does nothing");
    });
}

#[test]
fn whoever_drops_the_last_handle_closes() {
    live(|db, over| {
        over();
        drop(db);
    });
}
