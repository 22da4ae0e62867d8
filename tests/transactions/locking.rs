//! Transactions that lock what they write: who waits, who is refused, and who gets the lock next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lightning_db::{Database, Error, LightningDbConfig};

use crate::support::{Actor, End, LEVELS, Level, config, create, database, rows, text};

fn filled(keys: u64) -> Arc<Database> {
    let db = database(false);
    (0..keys).for_each(|key| db.put(&text(key), &text(0)).expect("put"));
    db
}

/// Each of `n` transactions has a key and asks for its neighbour's. The last one closes the circle.
fn circle_of(n: u64, level: Level) {
    let db = filled(n);
    let mut actors: Vec<Actor> = (0..n).map(|_| Actor::begin(&db, level)).collect();
    for (key, actor) in actors.iter().enumerate() {
        actor.put(key as u64, 1 + key as u64).wait().expect("put");
    }
    let last = actors.pop().expect("one");
    let mut waiting = Vec::new();
    for (key, actor) in actors.iter().enumerate() {
        let step = actor.put(key as u64 + 1, 1 + key as u64);
        assert!(step.is_blocked());
        waiting.push(step);
    }
    let refused = last.put(0, n);
    assert_eq!(last.commit([refused]), End::Deadlock);
    // The neighbour of the victim goes on at once, then the one before it, and so on.
    while let (Some(actor), Some(step)) = (actors.pop(), waiting.pop()) {
        let end = actor.commit([step]);
        let overtaken = level > Level::ReadCommitted && actors.len() as u64 + 2 < n;
        assert_eq!(end, if overtaken { End::Conflict } else { End::Committed });
        if overtaken {
            break;
        }
    }
}

#[test]
fn who_closes_a_circle_is_the_victim() {
    for level in LEVELS {
        circle_of(2, level);
        circle_of(3, level);
    }
}

#[test]
fn a_writer_waits_for_the_lock_and_the_first_updater_wins() {
    for (level, end) in [
        (Level::ReadCommitted, End::Committed),
        (Level::Snapshot, End::Conflict),
        (Level::Serializable, End::Conflict),
    ] {
        let db = filled(1);
        let (one, two) = (Actor::begin(&db, level), Actor::begin(&db, level));
        one.put(0, 1).wait().expect("put");
        let waits = two.put(0, 2);
        assert!(waits.is_blocked());
        assert_eq!(one.commit([]), End::Committed);
        assert_eq!(two.commit([waits]), end);
        // After an abort there is nothing to conflict with.
        let (one, two) = (Actor::begin(&db, level), Actor::begin(&db, level));
        one.put(0, 3).wait().expect("put");
        let waits = two.put(0, 4);
        assert!(waits.is_blocked());
        one.abort();
        assert_eq!(two.commit([waits]), End::Committed);
        assert_eq!(rows(&db), [(0, 4)]);
    }
}

#[test]
fn writes_outside_of_transactions_wait_as_well() {
    let db = filled(3);
    let one = Actor::begin(&db, Level::Snapshot);
    one.put(1, 1).wait().expect("put");
    std::thread::scope(|scope| {
        let put = scope.spawn(|| db.put(b"1", b"7"));
        let batch = scope.spawn(|| db.delete_batch(&[b"2".to_vec(), b"1".to_vec(), b"0".to_vec()]));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!put.is_finished() && !batch.is_finished());
        assert_eq!(rows(&db), [(0, 0), (1, 0), (2, 0)], "readers never wait");
        assert_eq!(one.commit([]), End::Committed);
        put.join().expect("no panic").expect("put");
        batch.join().expect("no panic").expect("deleted");
    });
    // Which of the two came first is open.
    assert!([vec![], vec![(1, 7)]].contains(&rows(&db)));
}

#[test]
fn a_lock_is_not_waited_for_longer_than_configured() {
    let lock_timeout = Duration::from_millis(60);
    let db = create(LightningDbConfig { lock_timeout, ..config(false) });
    let holder = db.transaction().expect("begun");
    holder.put(b"k", b"1").expect("put");
    let waiter = db.transaction().expect("begun");
    waiter.put(b"own", b"1").expect("put");
    let began = Instant::now();
    assert!(matches!(waiter.put(b"k", b"2"), Err(Error::LockTimeout)));
    assert!(began.elapsed() >= lock_timeout);
    assert!(matches!(db.put(b"k", b"3"), Err(Error::LockTimeout)));
    waiter.commit().expect("it goes on without that write");
    holder.commit().expect("committed");
    assert_eq!(db.get(b"k").expect("read").as_deref(), Some(&b"1"[..]));
    assert_eq!(db.get(b"own").expect("read").as_deref(), Some(&b"1"[..]));
    db.put(b"k", b"4").expect("all locks are free");
}

#[test]
fn after_a_deadlock_nothing_of_the_victim_is_left() {
    let db = filled(2);
    let (one, two) = (Actor::begin(&db, Level::Snapshot), Actor::begin(&db, Level::Snapshot));
    one.put(0, 1).wait().expect("put");
    two.put(1, 2).wait().expect("put");
    let waits = one.put(1, 1);
    assert!(waits.is_blocked());
    assert!(matches!(two.put(0, 2).wait(), Err(Error::Deadlock)));
    assert!(matches!(two.put(0, 2).wait(), Err(Error::TransactionNotFound)));
    two.abort();
    assert_eq!(one.commit([waits]), End::Committed);
    assert_eq!(rows(&db), [(0, 1), (1, 1)]);
}

#[test]
fn execute_transaction_outlasts_conflicts_and_deadlocks() {
    for optimistic in [true, false] {
        let db = database(optimistic);
        (0..4_u64).for_each(|key| db.put(&text(key), &text(0)).expect("put"));
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let db = &db;
                scope.spawn(move || {
                    for round in 0..50 {
                        let keys = [(thread + round) % 4, (thread * 3 + round * 7 + 1) % 4];
                        let done = db.execute_transaction(|tx| {
                            for key in keys {
                                let old =
                                    tx.get(&text(key))?.map_or(0, |value| crate::support::number(&value));
                                tx.put(&text(key), &text(old + 1))?;
                            }
                            Ok(())
                        });
                        done.expect("committed in the end");
                    }
                });
            }
        });
        assert_eq!(
            rows(&db).iter().map(|(_, count)| count).sum::<u64>(),
            4 * 50 * 2,
            "optimistic: {optimistic}"
        );
    }
}

#[test]
fn execute_transaction_gives_up_what_fails_and_returns_what_the_body_returns() {
    let db = database(true);
    let failed: lightning_db::Result<()> = db.execute_transaction(|tx| {
        tx.put(b"k", b"v")?;
        Err(Error::Cancelled)
    });
    assert!(matches!(failed, Err(Error::Cancelled)));
    assert_eq!(db.get(b"k").expect("read"), None);
    let mut attempts = 0;
    let hopeless: lightning_db::Result<()> = db.execute_transaction(|tx| {
        attempts += 1;
        tx.put(b"k", b"v")?;
        db.put(b"k", b"other")
    });
    assert!(matches!(hopeless, Err(Error::TransactionConflict)));
    assert_eq!(attempts, 100);
    assert!(db.execute_transaction(|tx| Ok(tx.get(b"k")?.is_some())).expect("read"));
}
