use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lightning_db_storage::clock::{ManualClock, SystemClock};

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn table() -> LockTable {
    LockTable::new(Arc::new(SystemClock::new()))
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

#[test]
fn a_lock_is_had_once_and_again_by_its_owner() {
    let locks = table();
    assert!(locks.lock(Owner(1), b"k", LONG).expect("free"));
    assert!(!locks.lock(Owner(1), b"k", LONG).expect("its own"));
    assert!(matches!(locks.lock(Owner(2), b"k", Duration::ZERO), Err(Error::LockTimeout)));
    assert!(locks.lock(Owner(2), b"other", LONG).expect("free"));
    locks.release(Owner(1));
    assert!(locks.lock(Owner(2), b"k", LONG).expect("released"));
    locks.release(Owner(2));
    assert!(locks.is_empty());
}

#[test]
fn a_wait_ends_by_the_clock_and_leaves_the_queue() {
    let clock = ManualClock::new(0);
    let locks = LockTable::new(Arc::new(clock.clone()));
    locks.lock(Owner(1), b"k", Duration::from_secs(5)).expect("free");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| locks.lock(Owner(2), b"k", Duration::from_secs(5)));
        until(|| locks.waiting() == 1);
        clock.advance(Duration::from_secs(4));
        thread::sleep(3 * LOOK_AGAIN);
        assert_eq!(locks.waiting(), 1, "a second is left");
        clock.advance(Duration::from_secs(1));
        assert!(matches!(waiter.join().expect("no panic"), Err(Error::LockTimeout)));
    });
    locks.release(Owner(1));
    assert!(locks.is_empty());
}

#[test]
fn those_that_wait_are_served_in_order() {
    let locks = table();
    locks.lock(Owner(1), b"k", LONG).expect("free");
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for id in 2..6 {
            let (locks, order) = (&locks, &order);
            scope.spawn(move || {
                locks.lock(Owner(id), b"k", LONG).expect("granted");
                order.lock().push(id);
                locks.release(Owner(id));
            });
            until(|| locks.waiting() == id as usize - 1);
        }
        locks.release(Owner(1));
    });
    assert_eq!(*order.lock(), [2, 3, 4, 5]);
    assert!(locks.is_empty());
}

/// `n` owners each hold a key, and all but the last wait for their neighbour's. The last closes the circle.
fn circle_of(n: u64) {
    let locks = table();
    for id in 0..n {
        locks.lock(Owner(id), &[id as u8], LONG).expect("free");
    }
    thread::scope(|scope| {
        for id in 0..n - 1 {
            let locks = &locks;
            scope.spawn(move || {
                locks.lock(Owner(id), &[id as u8 + 1], LONG).expect("granted once the circle is broken");
                locks.release(Owner(id));
            });
        }
        until(|| locks.waiting() as u64 == n - 1);
        assert!(matches!(locks.lock(Owner(n - 1), &[0], LONG), Err(Error::Deadlock)));
        locks.release(Owner(n - 1));
    });
    assert!(locks.is_empty());
}

#[test]
fn who_closes_a_circle_is_refused() {
    (2..6).for_each(circle_of);
}

#[test]
fn a_circle_through_a_queue_is_found() {
    let locks = table();
    locks.lock(Owner(1), b"a", LONG).expect("free");
    locks.lock(Owner(3), b"b", LONG).expect("free");
    thread::scope(|scope| {
        let second = scope.spawn(|| locks.lock(Owner(2), b"a", LONG));
        until(|| locks.waiting() == 1);
        // 3 stands behind 2, who stands behind 1.
        let third = scope.spawn(|| locks.lock(Owner(3), b"a", LONG));
        until(|| locks.waiting() == 2);
        assert!(matches!(locks.lock(Owner(1), b"b", LONG), Err(Error::Deadlock)));
        locks.release(Owner(1));
        assert!(second.join().expect("no panic").expect("granted"));
        locks.release(Owner(2));
        assert!(third.join().expect("no panic").expect("granted"));
        locks.release(Owner(3));
    });
    assert!(locks.is_empty());
}

#[test]
fn many_owners_never_share_a_lock_and_never_hang() {
    let locks = table();
    let inside: [AtomicUsize; 4] = Default::default();
    thread::scope(|scope| {
        for id in 0..8u64 {
            let (locks, inside) = (&locks, &inside);
            scope.spawn(move || {
                for round in 0..200u64 {
                    let first = (id + round) % 4;
                    let second = (id * 3 + round * 5 + 1) % 4;
                    let mut entered = Vec::new();
                    for key in [first, second] {
                        match locks.lock(Owner(id), &[key as u8], LONG) {
                            Ok(true) => {
                                assert_eq!(inside[key as usize].fetch_add(1, Ordering::SeqCst), 0);
                                entered.push(key as usize);
                                thread::yield_now();
                            }
                            Ok(false) => {}
                            Err(error) => {
                                assert!(matches!(error, Error::Deadlock), "{error}");
                                break;
                            }
                        }
                    }
                    entered.iter().for_each(|key| assert_eq!(inside[*key].fetch_sub(1, Ordering::SeqCst), 1));
                    locks.release(Owner(id));
                }
            });
        }
    });
    assert!(locks.is_empty());
}
