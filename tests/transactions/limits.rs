//! How many transactions, how long, how large; and what read-only ones refuse.

use std::sync::Arc;
use std::time::Duration;

use lightning_db::{Database, Environment, Error, LightningDbConfig, TransactionOptions};
use lightning_db_storage::clock::ManualClock;
use lightning_db_storage::vfs::MemVfs;

use crate::support::{config, create, database};

fn with_clock(optimistic: bool) -> (Arc<Database>, ManualClock) {
    let clock = ManualClock::new(1_000_000);
    let environment =
        Environment { vfs: Arc::new(MemVfs::new()), clock: Arc::new(clock.clone()), ..Default::default() };
    let config = LightningDbConfig {
        transaction_timeout: Duration::from_secs(10),
        max_active_transactions: 3,
        ..config(optimistic)
    };
    (Database::create_in(environment, "/db", config).expect("created"), clock)
}

fn until(condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it did not happen");
}

#[test]
fn a_transaction_that_is_open_too_long_is_aborted() {
    for optimistic in [true, false] {
        let (db, clock) = with_clock(optimistic);
        db.put(b"k", b"old").expect("put");
        let tx = db.begin_transaction().expect("begun");
        db.put_tx(tx, b"k", b"new").expect("put");
        let mut entries = db.scan_tx(tx, None, None).expect("begun");
        clock.advance(Duration::from_millis(9_999));
        assert_eq!(db.get_tx(tx, b"k").expect("in time").as_deref(), Some(&b"new"[..]));
        clock.advance(Duration::from_millis(1));
        assert!(matches!(db.get_tx(tx, b"k"), Err(Error::TransactionTimedOut)));
        assert!(matches!(db.put_tx(tx, b"k", b"v"), Err(Error::TransactionTimedOut)));
        assert!(matches!(db.scan_tx(tx, None, None), Err(Error::TransactionTimedOut)));
        assert!(matches!(entries.next(), Some(Err(Error::TransactionTimedOut))));
        assert!(entries.next().is_none());
        assert!(matches!(db.commit_transaction(tx), Err(Error::TransactionTimedOut)));
        assert_eq!(db.get(b"k").expect("read").as_deref(), Some(&b"old"[..]));
        db.abort_transaction(tx).expect("nothing is left to do");
        assert!(matches!(db.abort_transaction(tx), Err(Error::TransactionNotFound)));
    }
}

#[test]
fn an_overdue_transaction_gives_its_locks_and_its_place_back_although_nobody_asks() {
    let (db, clock) = with_clock(false);
    let tx = db.begin_transaction().expect("begun");
    db.put_tx(tx, b"k", b"new").expect("put");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| db.put(b"k", b"after"));
        std::thread::sleep(Duration::from_millis(50));
        // More than `lock_timeout`, and not yet the transaction's own.
        clock.advance(Duration::from_millis(9_990));
        assert!(matches!(waiter.join().expect("no panic"), Err(Error::LockTimeout)));
        let waiter = scope.spawn(|| db.put(b"k", b"after"));
        std::thread::sleep(Duration::from_millis(50));
        clock.advance(Duration::from_millis(10));
        waiter.join().expect("no panic").expect("the lock is free");
    });
    assert_eq!(db.get(b"k").expect("read").as_deref(), Some(&b"after"[..]));
    assert!(matches!(db.commit_transaction(tx), Err(Error::TransactionTimedOut)));
}

#[test]
fn only_so_many_are_open_at_once() {
    let (db, clock) = with_clock(true);
    let open: Vec<_> = (0..3).map(|_| db.begin_transaction().expect("begun")).collect();
    assert!(matches!(db.begin_transaction(), Err(Error::TooManyTransactions)));
    assert!(matches!(db.execute_transaction(|_| Ok(())), Err(Error::TooManyTransactions)));
    db.abort_transaction(open[0]).expect("aborted");
    db.begin_transaction().expect("begun");
    assert!(matches!(db.transaction(), Err(Error::TooManyTransactions)));
    clock.advance(Duration::from_secs(10));
    drop(db.transaction().expect("the others are overdue"));
    until(|| db.get_tx(open[1], b"k").is_err());
}

#[test]
fn execute_transaction_does_not_try_for_ever() {
    let (db, clock) = with_clock(true);
    let mut attempts = 0;
    let outcome = db.execute_transaction(|tx| {
        attempts += 1;
        tx.put(b"k", b"mine")?;
        clock.advance(Duration::from_secs(4));
        db.put(b"k", b"other")
    });
    assert!(matches!(outcome, Err(Error::TransactionConflict)));
    assert_eq!(attempts, 3, "after 12 seconds, 10 of which are allowed");
}

#[test]
fn a_transaction_has_a_size() {
    let db = database(true);
    let tx = db.begin_transaction().expect("begun");
    let value = vec![1; 32_000];
    let mut written = 0_u32;
    let refused = loop {
        match db.put_tx(tx, &written.to_be_bytes(), &value) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::TransactionTooLarge), "{refused}");
    assert!((1000..1048).contains(&written), "32 MiB, less what is around {written} values");
    let other = db.begin_transaction().expect("begun");
    assert!(matches!(db.put_tx(other, b"k", &value), Err(Error::TransactionTooLarge)), "all share the room");
    // Writing a key again takes no further room.
    db.put_tx(tx, &0_u32.to_be_bytes(), b"small").expect("put");
    db.put_tx(tx, b"more", &value[..1000]).expect("put");
    db.commit_transaction(tx).expect("committed");
    db.put_tx(other, b"k", &value).expect("there is room again");
    db.abort_transaction(other).expect("aborted");
    assert_eq!(db.scan(None, None).expect("begun").count(), written as usize + 1);
}

#[test]
fn what_a_serializable_transaction_remembers_counts_as_well() {
    let db = database(true);
    let tx = db.begin_serializable_transaction().expect("begun");
    let mut key = vec![7; 60_000];
    let refused = (0_u32..2000).find_map(|number| {
        key[..4].copy_from_slice(&number.to_be_bytes());
        db.get_tx(tx, &key).err()
    });
    assert!(matches!(refused, Some(Error::TransactionTooLarge)));
    db.abort_transaction(tx).expect("aborted");
}

#[test]
fn read_only_transactions_refuse_writes_and_never_conflict() {
    for optimistic in [true, false] {
        for snapshot in [true, false] {
            let db = database(optimistic);
            db.put(b"k", b"old").expect("put");
            let options = TransactionOptions { read_only: true, snapshot };
            let tx = db.begin_transaction_with_options(options).expect("begun");
            assert!(matches!(db.put_tx(tx, b"k", b"v"), Err(Error::TransactionReadOnly)));
            assert!(matches!(db.delete_tx(tx, b"k"), Err(Error::TransactionReadOnly)));
            db.put(b"k", b"new").expect("put");
            db.compact().expect("merged");
            let seen = db.get_tx(tx, b"k").expect("read").expect("there");
            assert_eq!(seen, if snapshot { b"old" } else { b"new" });
            db.commit_transaction(tx).expect("nothing to conflict");
        }
    }
}

#[test]
fn keys_and_values_beyond_the_limits_leave_the_transaction_open() {
    let db = database(true);
    let tx = db.begin_transaction().expect("begun");
    assert!(matches!(db.put_tx(tx, b"", b"v"), Err(Error::EmptyKey)));
    assert!(matches!(db.put_tx(tx, &vec![1; 65_536], b"v"), Err(Error::KeyTooLarge)));
    assert!(matches!(db.get_tx(tx, b""), Err(Error::EmptyKey)));
    db.put_tx(tx, &vec![1; 65_535], b"v").expect("put");
    db.put_tx(tx, b"large", &vec![5; 1 << 20]).expect("put");
    db.commit_transaction(tx).expect("committed");
    assert_eq!(db.get(b"large").expect("read"), Some(vec![5; 1 << 20]));
}

#[test]
fn numbers_are_good_for_one_transaction() {
    let db = database(true);
    let first = db.begin_transaction().expect("begun");
    db.commit_transaction(first).expect("committed");
    for outcome in [db.commit_transaction(first), db.abort_transaction(first), db.put_tx(first, b"k", b"v")] {
        assert!(matches!(outcome, Err(Error::TransactionNotFound)));
    }
    assert!(matches!(db.get_tx(first, b"k"), Err(Error::TransactionNotFound)));
    let scoped = db.transaction().expect("begun");
    assert_ne!(scoped.id(), first);
    db.put_tx(scoped.id(), b"k", b"v").expect("one implementation");
    scoped.commit().expect("committed");
    assert_eq!(db.get(b"k").expect("read").as_deref(), Some(&b"v"[..]));
}

#[test]
fn an_iterator_ends_with_its_transaction() {
    let db = database(true);
    db.put(b"k", b"v").expect("put");
    let tx = db.transaction().expect("begun");
    let mut entries = tx.scan_prefix(b"k").expect("begun");
    tx.commit().expect("committed");
    assert!(matches!(entries.next(), Some(Err(Error::TransactionNotFound))));
    assert!(entries.next().is_none() && entries.next_back().is_none());
}

#[test]
fn a_closed_database_has_no_transactions() {
    let db = create(config(false));
    let tx = db.begin_transaction().expect("begun");
    db.put_tx(tx, b"k", b"v").expect("put");
    db.close().expect("closed");
    assert!(matches!(db.begin_transaction(), Err(Error::Closed)));
    assert!(db.commit_transaction(tx).is_err());
}

fn large(seed: u8) -> Vec<u8> {
    (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn file_count(directory: &std::path::Path) -> usize {
    std::fs::read_dir(directory).expect("listed").count()
}

/// Large values of a transaction are in files until it ends: they read back as small ones do, take no memory, and
/// nothing of them stays when the transaction is aborted.
#[test]
fn large_values_do_not_count_and_leave_nothing_behind() {
    for optimistic in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("db");
        let db = Database::create(&path, config(optimistic)).expect("created");
        db.put(b"large/00", &large(99)).expect("put");
        db.checkpoint().expect("flushed");
        let files = file_count(&path);

        let tx = db.transaction().expect("begun");
        (0..20_u8).for_each(|key| tx.put(format!("large/{key:02}").as_bytes(), &large(key)).expect("put"));
        tx.put(b"large/05", b"small after all").expect("put");
        tx.put(b"large/06", &large(66)).expect("put again");
        assert!(file_count(&path) > files);
        let expected = |key: u8| match key {
            5 => b"small after all".to_vec(),
            6 => large(66),
            _ => large(key),
        };
        for (key, entry) in (0_u8..).zip(tx.scan_prefix(b"large/").expect("begun")) {
            assert!(entry.expect("read").1 == expected(key), "{key}");
        }
        assert!(tx.get(b"large/06").expect("read") == Some(large(66)));
        assert!(db.get(b"large/00").expect("read") == Some(large(99)));
        assert_eq!(db.get(b"large/01").expect("read"), None);
        tx.abort().expect("aborted");
        assert_eq!(file_count(&path), files);

        let tx = db.transaction().expect("begun");
        (0..20_u8).for_each(|key| tx.put(format!("large/{key:02}").as_bytes(), &expected(key)).expect("put"));
        tx.commit().expect("committed");
        db.compact().expect("merged");
        db.close().expect("closed");
        drop(db);
        let db = Database::open(&path, config(optimistic)).expect("opened");
        for key in 0..20_u8 {
            assert!(
                db.get(format!("large/{key:02}").as_bytes()).expect("read") == Some(expected(key)),
                "{key}"
            );
        }
    }
}
