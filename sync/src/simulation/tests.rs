//! Whether schedules are as just, as unjust and as repeatable as they must be.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::thread::{scope, sleep, spawn};
use crate::{Condvar, Instant, Mutex, RwLock, RwLockUpgradableReadGuard, atomic};

const SEEDS: std::ops::Range<u64> = 0..200;

fn each_seed<T: Send + 'static>(main: fn() -> T) -> Vec<Result<Report<T>, Failure>> {
    SEEDS.map(|seed| run(Options::new(seed), main)).collect()
}

fn must<T>(outcome: Result<T, Failure>) -> T {
    outcome.unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn one_at_a_time_holds_a_lock() {
    for outcome in each_seed(|| {
        let (inside, total) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
        let work = |name: &str| {
            let (inside, total) = (Arc::clone(&inside), Arc::clone(&total));
            spawn(name, move || {
                for _ in 0..20 {
                    let mut total = total.lock();
                    assert!(!inside.swap(true, Ordering::SeqCst));
                    let before = *total;
                    switch_point();
                    *total = before + 1;
                    inside.store(false, Ordering::SeqCst);
                }
            })
        };
        let threads = ["a", "b", "c"].map(|name| work(name).expect("a thread"));
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        *total.lock()
    }) {
        assert_eq!(must(outcome).value, 60);
    }
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    for outcome in each_seed(|| {
        let (readers, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let lock = RwLock::new(0_u64);
        scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let value = lock.read();
                        let now = readers.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        let seen = *value;
                        switch_point();
                        assert_eq!(*value, seen);
                        readers.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..3 {
                    let value = lock.upgradable_read();
                    let seen = *value;
                    switch_point();
                    *RwLockUpgradableReadGuard::upgrade(value) = seen + 1;
                    let mut value = lock.write();
                    assert_eq!(readers.load(Ordering::SeqCst), 0);
                    switch_point();
                    *value += 1;
                }
            });
        });
        (*lock.read(), most.into_inner() > 1)
    }) {
        let report = must(outcome);
        assert_eq!(report.value.0, 6);
    }
    let shared = each_seed(|| {
        let lock = RwLock::new(());
        let together = AtomicU64::new(0);
        scope(|scope| {
            let read = || {
                let _shared = lock.read();
                together.fetch_add(1, Ordering::SeqCst);
                switch_point();
                together.fetch_sub(1, Ordering::SeqCst) > 1
            };
            let other = scope.spawn(read);
            read() | other.join().expect("no panic")
        })
    });
    assert!(shared.into_iter().any(|outcome| must(outcome).value));
}

#[test]
fn a_check_before_an_act_is_found_out() {
    let lost = each_seed(|| {
        let count = Arc::new(Mutex::new(0));
        let shared = Arc::clone(&count);
        let add = |count: &Mutex<i32>| {
            let before = *count.lock();
            *count.lock() = before + 1;
        };
        let other = spawn("other", move || add(&shared)).expect("a thread");
        add(&count);
        other.join().expect("no panic");
        *count.lock()
    });
    let lost = lost.into_iter().filter(|outcome| outcome.as_ref().is_ok_and(|it| it.value == 1)).count();
    assert!((10..190).contains(&lost), "{lost} of 200 schedules lose an update");
}

#[test]
fn between_two_accesses_of_atomics_somebody_else_may_come() {
    let torn = each_seed(|| {
        let (pointer, count) = (crate::Swap::from_pointee(0), atomic::AtomicU64::new(0));
        scope(|scope| {
            scope.spawn(|| {
                pointer.store(Arc::new(1));
                count.store(1, Ordering::Release);
            });
            *pointer.load_full() == 0 && count.load(Ordering::Acquire) == 1
        })
    });
    let torn = torn.into_iter().filter(|outcome| outcome.as_ref().is_ok_and(|it| it.value)).count();
    assert!((3..150).contains(&torn), "{torn} of 200");
}

#[test]
fn much_may_happen_between_two_neighbouring_steps() {
    let look = || {
        let done = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&done);
        let other = spawn("other", move || {
            for _ in 0..2000 {
                theirs.fetch_add(1, Ordering::SeqCst);
                switch_point();
            }
        });
        let mut most = 0;
        for _ in 0..20 {
            let before = done.load(Ordering::SeqCst);
            switch_point();
            most = most.max(done.load(Ordering::SeqCst) - before);
            (0..20).for_each(|_| switch_point());
        }
        other.expect("a thread").join().expect("no panic");
        most > 200
    };
    let outcomes = SEEDS.map(|seed| {
        let options = Options::new(seed);
        let never_slow = Options { naps: None, ..options.clone() };
        [must(run(options, look)).value, must(run(never_slow, look)).value]
    });
    let [much, without] =
        outcomes.fold([0, 0], |sum, found| [0, 1].map(|it| sum[it] + usize::from(found[it])));
    assert!(much >= 12 && much > 3 * without, "{much} of 200, and {without} without naps");
}

#[test]
fn a_lost_signal_is_a_deadlock() {
    let outcomes = each_seed(|| {
        let shared = Arc::new((AtomicBool::new(false), Mutex::new(()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waker = spawn("waker", move || {
            // Not under the lock: it may be said between the look and the wait.
            theirs.0.store(true, Ordering::SeqCst);
            theirs.2.notify_one();
        });
        let mut guard = shared.1.lock();
        if !shared.0.load(Ordering::SeqCst) {
            switch_point();
            shared.2.wait(&mut guard);
        }
        drop(guard);
        waker.expect("a thread").join().expect("no panic");
    });
    let deadlocks: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!((5..195).contains(&deadlocks.len()), "{} of 200", deadlocks.len());
    for failure in deadlocks {
        let FailureKind::Deadlock { waiting } = &failure.kind else { panic!("{failure}") };
        assert_eq!(waiting.len(), 1);
        assert!(waiting[0].starts_with("main (0) waits for a signal at "), "{failure}");
        assert!(waiting[0].contains("tests.rs:"), "{failure}");
    }
}

#[test]
fn two_locks_in_two_orders_are_a_deadlock() {
    let outcomes = each_seed(|| {
        let locks = Arc::new((Mutex::new(()), Mutex::new(())));
        let theirs = Arc::clone(&locks);
        let other = spawn("other", move || {
            let _second = theirs.1.lock();
            let _first = theirs.0.lock();
        });
        {
            let _first = locks.0.lock();
            let _second = locks.1.lock();
        }
        other.expect("a thread").join().expect("no panic");
    });
    let (found, not): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.is_err());
    assert!(found.len() >= 3 && not.len() > 5, "{} of 200", found.len());
    let text = found[0].as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert!(text.contains("main (0) waits for a lock that other (1) holds"), "{text}");
    assert!(text.contains("other (1) waits for a lock that main (0) holds"), "{text}");
}

#[test]
fn who_reads_twice_around_a_writer_is_a_deadlock() {
    let outcomes = each_seed(|| {
        let lock = RwLock::new(());
        scope(|scope| {
            scope.spawn(|| drop(lock.write()));
            let first = lock.read();
            let second = lock.read();
            drop((first, second));
        });
    });
    let found = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert!((5..195).contains(&found), "{found} of 200");
}

#[test]
fn waits_end_in_virtual_time() {
    let report = must(run(Options::new(1), || {
        let began = Instant::now();
        sleep(Duration::from_secs(3600));
        assert!(began.elapsed() >= Duration::from_secs(3600));
        let (lock, condvar) = (Mutex::new(()), Condvar::new());
        let timed_out = condvar.wait_for(&mut lock.lock(), Duration::from_secs(60)).timed_out();
        advance(Duration::from_secs(7));
        timed_out
    }));
    assert!(report.value);
    assert!(report.elapsed >= Duration::from_secs(3667) && report.elapsed < Duration::from_secs(3668));
    // Who is called does not wait for his time, and who is not does.
    for outcome in each_seed(|| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = spawn("waiter", move || {
            let mut called = theirs.0.lock();
            let hour = Duration::from_secs(3600);
            !*called && theirs.1.wait_for(&mut called, hour).timed_out()
        });
        *shared.0.lock() = true;
        shared.1.notify_all();
        waiter.expect("a thread").join().expect("no panic")
    }) {
        let report = must(outcome);
        assert!(!report.value && report.elapsed < Duration::from_secs(1));
    }
}

/// Several tasks that contend for everything, and the order in which they came to it.
fn contention() -> Vec<u8> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let tasks: Vec<_> = (0..4_u8)
        .map(|number| {
            let (order, shared) = (Arc::clone(&order), Arc::clone(&shared));
            spawn(&number.to_string(), move || {
                for round in 0..5 {
                    order.lock().push(number);
                    note(&[number, round]);
                    let mut turn = shared.0.lock();
                    *turn += 1;
                    shared.1.notify_one();
                    if number % 2 == 0 {
                        shared.1.wait_for(&mut turn, Duration::from_millis(u64::from(round)));
                    }
                    drop(turn);
                    sleep(Duration::from_micros(u64::from(number) * 10));
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.expect("a thread").join().expect("no panic"));
    Arc::into_inner(order).map(|order| std::mem::take(&mut *order.lock())).unwrap_or_default()
}

#[test]
fn one_seed_is_one_schedule_and_another_is_another() {
    let mut orders = HashSet::new();
    let mut traces = HashSet::new();
    for seed in SEEDS {
        let options = Options { tail: 50, ..Options::new(seed) };
        let report = must(run(options.clone(), contention));
        assert_eq!(report, must(run(options, contention)), "seed {seed}");
        assert_eq!(report.tail.len(), 50);
        orders.insert(report.value);
        traces.insert(report.trace);
    }
    assert!(orders.len() > 150, "{} orders", orders.len());
    assert!(traces.len() > 150, "{} traces", traces.len());
}

#[test]
fn what_is_noted_is_part_of_the_trace() {
    let trace = |byte| must(run(Options::new(1), move || note(&[byte]))).trace;
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn a_panic_in_any_task_ends_the_run_and_says_where() {
    for seed in SEEDS {
        let outcome = run(Options::new(seed), || {
            let lock = Arc::new(Mutex::new(()));
            let theirs = Arc::clone(&lock);
            let other = spawn("other", move || {
                let _guard = theirs.lock();
                assert!(theirs.try_lock().is_some(), "held by who asks");
            });
            drop(lock.lock());
            other.map(|other| other.join().is_ok()).unwrap_or_default()
        });
        let failure = outcome.expect_err("the assertion fails in every schedule");
        assert_eq!(failure.task, "other");
        let FailureKind::Panic { message } = &failure.kind else { panic!("{failure}") };
        assert!(message.contains("held by who asks") && message.contains("tests.rs"), "{message}");
    }
}

#[test]
fn a_destructor_that_would_wait_for_ever_does_not_hide_a_panic() {
    struct Waits(Arc<Mutex<()>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            drop(self.0.lock());
        }
    }
    let failure = run(Options::new(1), || {
        let lock = Arc::new(Mutex::new(()));
        let _held = lock.lock();
        let _waits = Waits(Arc::clone(&lock));
        panic!("this is what happened");
    })
    .expect_err("it panics");
    assert!(failure.to_string().contains("this is what happened"), "{failure}");
}

#[test]
fn a_run_without_an_end_fails() {
    let options = Options { steps_max: 1000, ..Options::new(1) };
    let failure = run(options, || -> () {
        loop {
            sleep(Duration::from_secs(1));
        }
    })
    .expect_err("there is no end");
    assert_eq!(failure.kind, FailureKind::TooManySteps);
}

#[test]
fn who_waits_in_a_loop_lets_the_other_go_on_under_every_policy() {
    for policy in [Policy::Random { stay: u32::MAX }, Policy::Priorities { change: u32::MAX }] {
        for seed in 0..20 {
            let options = Options { policy, naps: None, ..Options::new(seed) };
            must(run(options, || {
                let done = Arc::new(AtomicBool::new(false));
                let theirs = Arc::clone(&done);
                let other = spawn("other", move || theirs.store(true, Ordering::SeqCst));
                while !done.load(Ordering::SeqCst) {
                    switch_point();
                }
                other.expect("a thread").join().expect("no panic");
            }));
        }
    }
}

#[test]
fn threads_outside_of_a_simulation_run_as_ever() {
    let began = Instant::now();
    let shared = Arc::new((Mutex::new(false), Condvar::new(), RwLock::new(1)));
    let theirs = Arc::clone(&shared);
    let other = spawn("other", move || {
        *theirs.2.write() += 1;
        *theirs.0.lock() = true;
        theirs.1.notify_all();
    });
    let mut said = shared.0.lock();
    shared.1.wait_while(&mut said, |said| !*said);
    assert!(shared.1.wait_for(&mut said, Duration::from_millis(5)).timed_out());
    drop(said);
    other.expect("a thread").join().expect("no panic");
    assert_eq!(*RwLockUpgradableReadGuard::upgrade(shared.2.upgradable_read()), 2);
    sleep(Duration::from_millis(1));
    assert!(began.elapsed() >= Duration::from_millis(6));
    switch_point();
}
