//! Transactions: how many, how long, and who waits for whom.

use std::time::{Duration, Instant};

use lightning_db::{Database, Error, LightningDbConfig};

use crate::support::{Machine, plain, small};

#[test]
fn max_active_transactions_is_the_limit() {
    let machine = Machine::new(1);
    let db = machine.create(&LightningDbConfig { max_active_transactions: 2, ..small() });
    let first = db.begin_transaction().expect("the first");
    db.begin_transaction().expect("the second");
    assert!(matches!(db.begin_transaction(), Err(Error::TooManyTransactions)));
    db.abort_transaction(first).expect("abort");
    db.begin_transaction().expect("there is room again");
}

#[test]
fn transaction_timeout_ends_what_is_open_too_long() {
    for (seconds, outlives) in [(5, false), (60, true)] {
        let machine = Machine::new(2);
        let transaction_timeout = Duration::from_secs(seconds);
        let db = machine.create(&LightningDbConfig { transaction_timeout, ..small() });
        let transaction = db.begin_transaction().expect("begin");
        db.put_tx(transaction, b"k", b"v").expect("put");
        machine.clock.advance(Duration::from_secs(10));
        match db.commit_transaction(transaction) {
            Ok(()) => assert!(outlives),
            Err(Error::TransactionTimedOut) => assert!(!outlives),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(db.get(b"k").expect("get").is_some(), outlives);
    }
}

#[test]
fn use_optimized_transactions_finds_conflicts_at_commit_and_otherwise_locks() {
    for use_optimized_transactions in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let lock_timeout = Duration::from_millis(30);
        let config = LightningDbConfig { use_optimized_transactions, lock_timeout, ..plain() };
        let db = Database::create(folder.path().join("db"), config).expect("create");
        let one = db.begin_transaction().expect("begin");
        let two = db.begin_transaction().expect("begin");
        db.put_tx(one, b"k", b"one").expect("put");
        let second = db.put_tx(two, b"k", b"two");
        if use_optimized_transactions {
            second.expect("nobody waits");
            db.commit_transaction(one).expect("the first committer");
            assert!(matches!(db.commit_transaction(two), Err(Error::TransactionConflict)));
        } else {
            assert!(matches!(second, Err(Error::LockTimeout)));
            db.commit_transaction(one).expect("the holder");
        }
    }
}

#[test]
fn lock_timeout_is_how_long_a_writer_waits() {
    for millis in [20, 250] {
        let folder = tempfile::tempdir().expect("a folder");
        let lock_timeout = Duration::from_millis(millis);
        let config = LightningDbConfig { use_optimized_transactions: false, lock_timeout, ..plain() };
        let db = Database::create(folder.path().join("db"), config).expect("create");
        let holder = db.begin_transaction().expect("begin");
        db.put_tx(holder, b"k", b"v").expect("put");
        let began = Instant::now();
        assert!(matches!(db.put(b"k", b"w"), Err(Error::LockTimeout)));
        let waited = began.elapsed();
        assert!(waited >= lock_timeout && waited < lock_timeout + Duration::from_secs(4), "{waited:?}");
    }
}
