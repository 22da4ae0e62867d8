//! Money that moves between accounts neither appears nor vanishes, whoever looks and whenever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lightning_db::{Database, LightningDbConfig, Result, TransactionOptions};

use crate::support::{config, create, number};

const ACCOUNTS: u64 = 12;
const TOTAL: u64 = ACCOUNTS * 1000;
const TRANSFERS: u64 = 300;
/// So often somebody looks at least while money moves.
const LOOKS: u64 = 30;

fn account(number: u64) -> Vec<u8> {
    format!("account/{number:03}").into_bytes()
}

fn amount(value: u64) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn sum(entries: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>) -> u64 {
    entries.map(|entry| number(&entry.expect("read").1)).sum()
}

fn transfer(db: &Database, from: u64, to: u64, how_much: u64) -> Result<()> {
    db.execute_transaction(|tx| {
        let balance =
            |key| Ok::<u64, lightning_db::Error>(tx.get(&account(key))?.map_or(0, |value| number(&value)));
        let (source, target) = (balance(from)?, balance(to)?);
        let moved = how_much.min(source);
        tx.put(&account(from), &amount(source - moved))?;
        tx.put(&account(to), &amount(target + moved))
    })
}

/// Looks at all accounts in every way that must show one moment.
fn check(db: &Database) {
    let snapshot = db.snapshot();
    assert_eq!(sum(snapshot.scan(None, None).expect("begun")), TOTAL, "a snapshot's scan");
    assert_eq!(sum(snapshot.scan_reverse(None, None).expect("begun")), TOTAL, "a snapshot's reverse scan");
    let one_by_one = |key| snapshot.get(&account(key)).expect("read").map_or(0, |value| number(&value));
    assert_eq!((0..ACCOUNTS).map(one_by_one).sum::<u64>(), TOTAL, "a snapshot's accounts one by one");
    assert_eq!(sum(db.scan(None, None).expect("begun")), TOTAL, "a scan");
    let keys: Vec<Vec<u8>> = (0..ACCOUNTS).map(account).collect();
    let batch = db.get_batch(&keys).expect("read");
    assert_eq!(batch.iter().flatten().map(|value| number(value)).sum::<u64>(), TOTAL, "a batch");
    let options = TransactionOptions { read_only: true, snapshot: true };
    let tx = db.transaction_with(options).expect("begun");
    let one_by_one = |key| tx.get(&account(key)).expect("read").map_or(0, |value| number(&value));
    assert_eq!((0..ACCOUNTS).map(one_by_one).sum::<u64>(), TOTAL, "a transaction's accounts one by one");
    assert_eq!(sum(tx.scan_prefix(b"account/").expect("begun")), TOTAL, "a transaction's scan");
}

fn run(optimistic: bool) {
    let db = create(LightningDbConfig { write_buffer_size: 64 << 10, ..config(optimistic) });
    let opening: Vec<_> = (0..ACCOUNTS).map(|key| (account(key), amount(1000))).collect();
    db.put_batch(&opening).expect("put");
    let done = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let movers: Vec<_> = (0..4)
            .map(|thread| {
                let (db, looks) = (&db, &looks);
                scope.spawn(move || {
                    let mut state = 0x9e37_79b9_u64 + thread;
                    for round in 0..1_000_000 {
                        if round >= TRANSFERS && looks.load(Ordering::Relaxed) >= LOOKS {
                            break;
                        }
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let (from, to) = ((state >> 33) % ACCOUNTS, (state >> 45) % ACCOUNTS);
                        if from != to {
                            transfer(db, from, to, (state >> 20) % 100).expect("moved");
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    check(&db);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.checkpoint().expect("flushed");
                std::thread::sleep(std::time::Duration::from_millis(5));
                db.compact().expect("merged");
            }
        });
        movers.into_iter().for_each(|mover| mover.join().expect("no panic"));
        done.store(true, Ordering::Relaxed);
    });
    check(&db);
    assert!(looks.load(Ordering::Relaxed) >= LOOKS);
}

#[test]
fn the_sum_is_constant_with_optimistic_transactions() {
    run(true);
}

#[test]
fn the_sum_is_constant_with_locking_transactions() {
    run(false);
}
