//! Conflicts are found whatever happened to the conflicting commit since, and only where there are any.

use lightning_db::{Database, Error, LightningDbConfig};

use crate::support::{Level, begin, config, create, database, number, text};

fn conflicts(outcome: lightning_db::Result<()>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(Error::TransactionConflict) => true,
        Err(error) => panic!("{error}"),
    }
}

/// A lost update is refused after `meanwhile` as well as at once; a write of another key is not.
fn update_is_not_lost(optimistic: bool, meanwhile: impl Fn(&Database)) {
    for level in [Level::Snapshot, Level::Serializable] {
        let db = database(optimistic);
        db.put(b"account", &text(100)).expect("put");
        db.checkpoint().expect("flushed");
        let tx = begin(&db, level);
        let bystander = begin(&db, level);
        let balance = number(&db.get_tx(tx, b"account").expect("read").expect("there"));
        db.put(b"account", &text(150)).expect("put");
        meanwhile(&db);
        let update = db.put_tx(tx, b"account", &text(balance + 1)).and_then(|()| db.commit_transaction(tx));
        assert!(conflicts(update), "{level:?}");
        assert_eq!(db.get(b"account").expect("read"), Some(text(150)));
        db.put_tx(bystander, b"other", b"value").expect("put");
        assert!(!conflicts(db.commit_transaction(bystander)), "{level:?}");
    }
}

#[test]
fn an_update_is_not_lost() {
    for optimistic in [true, false] {
        update_is_not_lost(optimistic, |_| {});
        update_is_not_lost(optimistic, |db| db.checkpoint().expect("flushed"));
        update_is_not_lost(optimistic, |db| {
            db.checkpoint().expect("flushed");
            db.compact().expect("merged");
        });
        update_is_not_lost(optimistic, |db| {
            for round in 0..5 {
                db.put(&[b'x', round], b"filler").expect("put");
                db.checkpoint().expect("flushed");
            }
            db.compact().expect("merged");
        });
    }
}

#[test]
fn a_deletion_conflicts_as_an_update_does() {
    for optimistic in [true, false] {
        let db = database(optimistic);
        db.put(b"k", b"v").expect("put");
        let tx = db.begin_transaction().expect("begun");
        db.delete(b"k").expect("deleted");
        db.checkpoint().expect("flushed");
        let update = db.put_tx(tx, b"k", b"w").and_then(|()| db.commit_transaction(tx));
        assert!(conflicts(update));
        assert_eq!(db.get(b"k").expect("read"), None);
    }
}

#[test]
fn what_was_committed_before_the_beginning_does_not_conflict() {
    for optimistic in [true, false] {
        let db = database(optimistic);
        for round in 0..20 {
            let tx = db.begin_transaction().expect("begun");
            assert_eq!(
                db.get_tx(tx, b"k").expect("read").map(|value| number(&value)),
                (round > 0).then_some(round)
            );
            db.put_tx(tx, b"k", &text(round + 1)).expect("put");
            if round % 3 == 0 {
                db.checkpoint().expect("flushed");
            }
            db.commit_transaction(tx).expect("committed");
        }
    }
}

/// More is committed while a transaction is open than is kept for it: it conflicts rather than miss something.
#[test]
fn a_transaction_that_is_older_than_what_is_known_conflicts() {
    let db = create(LightningDbConfig { write_buffer_size: 64 << 10, ..config(true) });
    let old = db.begin_transaction().expect("begun");
    db.put_tx(old, b"mine", b"value").expect("put");
    let value = vec![7; 4096];
    let mut written = 0;
    let mut key = 0_u32;
    while written < 96 << 20 {
        let batch: Vec<_> = (0..64).map(|i| ((key + i).to_be_bytes().to_vec(), value.clone())).collect();
        key += 64;
        written += 64 * value.len();
        db.put_batch(&batch).expect("put");
    }
    db.checkpoint().expect("flushed");
    assert!(conflicts(db.commit_transaction(old)));
    let young = db.begin_transaction().expect("begun");
    db.put_tx(young, b"mine", b"value").expect("put");
    assert!(!conflicts(db.commit_transaction(young)));
}

#[test]
fn a_write_buffer_that_was_filled_and_flushed_since_conflicts_with_what_it_wrote_only() {
    let db = create(LightningDbConfig { write_buffer_size: 64 << 10, ..config(true) });
    let (bystander, other) = (db.begin_transaction().expect("begun"), db.begin_transaction().expect("begun"));
    db.put_tx(bystander, b"mine", b"value").expect("put");
    db.put_tx(other, &7_u32.to_be_bytes(), b"value").expect("put");
    for key in 0..70_u32 {
        db.put(&key.to_be_bytes(), &[7; 1000]).expect("put");
    }
    db.checkpoint().expect("flushed");
    assert!(!conflicts(db.commit_transaction(bystander)));
    assert!(conflicts(db.commit_transaction(other)));
}

fn serializable_phantom(
    optimistic: bool,
    read: impl Fn(&Database, lightning_db::TransactionId),
    write: &[u8],
) -> bool {
    let db = database(optimistic);
    for key in [b"b", b"d", b"f", b"h"] {
        db.put(key, b"1").expect("put");
    }
    db.checkpoint().expect("flushed");
    let tx = db.begin_serializable_transaction().expect("begun");
    read(&db, tx);
    db.put_tx(tx, b"result", b"x").expect("put");
    db.put(write, b"2").expect("put");
    db.checkpoint().expect("flushed");
    conflicts(db.commit_transaction(tx))
}

#[test]
fn phantoms_are_found_where_a_scan_went_and_nowhere_else() {
    let whole = |db: &Database, tx| {
        let entries = db.scan_tx(tx, Some(b"c"), Some(b"g")).expect("begun");
        assert_eq!(entries.map(|entry| entry.expect("read").0).collect::<Vec<_>>(), [b"d", b"f"]);
    };
    let first_only = |db: &Database, tx| {
        let mut entries = db.scan_tx(tx, Some(b"c"), None).expect("begun");
        assert_eq!(entries.next().expect("one").expect("read").0, b"d");
    };
    let last_only = |db: &Database, tx| {
        let mut entries = db.scan_tx(tx, Some(b"c"), Some(b"i")).expect("begun");
        assert_eq!(entries.next_back().expect("one").expect("read").0, b"h");
    };
    let nothing = |db: &Database, tx| drop(db.scan_tx(tx, None, None).expect("begun"));
    let absent = |db: &Database, tx| assert_eq!(db.get_tx(tx, b"e").expect("read"), None);
    let empty_range =
        |db: &Database, tx| assert_eq!(db.scan_tx(tx, Some(b"x"), Some(b"z")).expect("begun").count(), 0);
    for optimistic in [true, false] {
        let phantom = |read: &dyn Fn(&Database, _), key: &[u8]| serializable_phantom(optimistic, read, key);
        for inside in [&b"c"[..], b"d", b"e", b"fzz"] {
            assert!(phantom(&whole, inside), "{inside:?}");
        }
        for outside in [&b"b"[..], b"g", b"h", b"bzz"] {
            assert!(!phantom(&whole, outside), "{outside:?}");
        }
        assert!(phantom(&first_only, b"c") && phantom(&first_only, b"d"));
        assert!(!phantom(&first_only, b"d\0") && !phantom(&first_only, b"h"));
        assert!(phantom(&last_only, b"h") && phantom(&last_only, b"hz"));
        assert!(!phantom(&last_only, b"i") && !phantom(&last_only, b"g"));
        assert!(!phantom(&nothing, b"d"));
        assert!(phantom(&absent, b"e") && !phantom(&absent, b"f"));
        assert!(phantom(&empty_range, b"y") && !phantom(&empty_range, b"z"));
    }
}

#[test]
fn ones_own_writes_are_no_phantoms_and_show_in_scans() {
    for optimistic in [true, false] {
        let db = database(optimistic);
        for key in 0..5 {
            db.put(&[key], b"old").expect("put");
        }
        let tx = db.begin_serializable_transaction().expect("begun");
        db.put_tx(tx, &[1], b"new").expect("put");
        db.delete_tx(tx, &[2]).expect("deleted");
        db.put_tx(tx, &[9], b"added").expect("put");
        let mut entries = db.scan_tx(tx, None, None).expect("begun");
        db.put_tx(tx, &[10], b"later").expect("put");
        let expected: Vec<(Vec<u8>, Vec<u8>)> = vec![
            (vec![0], b"old".to_vec()),
            (vec![1], b"new".to_vec()),
            (vec![3], b"old".to_vec()),
            (vec![4], b"old".to_vec()),
            (vec![9], b"added".to_vec()),
        ];
        let seen: Vec<_> = entries.by_ref().map(|entry| entry.expect("read")).collect();
        assert_eq!(seen, expected, "what is written later does not show");
        let down: Vec<_> =
            db.scan_tx(tx, None, None).expect("begun").rev().map(|entry| entry.expect("read").0).collect();
        assert_eq!(down, [[10], [9], [4], [3], [1], [0]]);
        assert_eq!(db.get_tx(tx, &[1]).expect("read").as_deref(), Some(&b"new"[..]));
        assert_eq!(db.get_tx(tx, &[2]).expect("read"), None);
        assert_eq!(db.get(&[2]).expect("read").as_deref(), Some(&b"old"[..]));
        db.commit_transaction(tx).expect("nobody else wrote");
        assert_eq!(db.get(&[2]).expect("read"), None);
    }
}

#[test]
fn nothing_of_an_aborted_transaction_is_ever_seen() {
    for optimistic in [true, false] {
        let db = database(optimistic);
        db.put(b"k", b"kept").expect("put");
        let before = db.last_sequence();
        let tx = db.begin_transaction().expect("begun");
        db.put_tx(tx, b"k", b"gone").expect("put");
        db.put_tx(tx, b"n", b"gone").expect("put");
        db.abort_transaction(tx).expect("aborted");
        {
            let scoped = db.transaction().expect("begun");
            scoped.delete(b"k").expect("deleted");
        }
        assert_eq!(db.scan(None, None).expect("begun").count(), 1);
        assert_eq!(db.get(b"k").expect("read").as_deref(), Some(&b"kept"[..]));
        assert_eq!(db.last_sequence(), before);
        assert!(matches!(db.commit_transaction(tx), Err(Error::TransactionNotFound)));
    }
}

#[test]
fn a_transaction_is_one_commit() {
    let db = database(true);
    let before = u64::from(db.last_sequence());
    let tx = db.begin_transaction().expect("begun");
    (0..100).for_each(|key| db.put_tx(tx, &[key], b"v").expect("put"));
    db.commit_transaction(tx).expect("committed");
    assert_eq!(u64::from(db.last_sequence()), before + 1);
}
