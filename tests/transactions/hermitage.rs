//! The anomalies of the Hermitage test suite, at each isolation level and in both modes. Where a step would wait for a
//! lock, its outcome is asked for only after the step that frees the lock.

use std::sync::Arc;

use lightning_db::Database;

use crate::support::{Actor, End, LEVELS, Level, database, rows, text};

fn all(_: u64) -> bool {
    true
}

/// Runs a scenario on a fresh database with the rows 1 = 10 and 2 = 20, for each level and mode.
fn each(scenario: impl Fn(&Arc<Database>, Level)) {
    for level in LEVELS {
        for optimistic in [true, false] {
            let db = database(optimistic);
            db.put(b"1", &text(10)).expect("put");
            db.put(b"2", &text(20)).expect("put");
            scenario(&db, level);
        }
    }
}

fn conflict_from(level: Level, first: Level) -> End {
    if level >= first { End::Conflict } else { End::Committed }
}

#[test]
fn g0_write_cycles() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        let first = one.put(1, 11);
        first.wait().expect("put");
        let waits = two.put(1, 12);
        let second = one.put(2, 21);
        assert_eq!(one.commit([second]), End::Committed);
        let last = if level == Level::ReadCommitted { Some(two.put(2, 22)) } else { None };
        assert_eq!(two.commit([waits].into_iter().chain(last)), conflict_from(level, Level::Snapshot));
        let expected = if level == Level::ReadCommitted { [(1, 12), (2, 22)] } else { [(1, 11), (2, 21)] };
        assert_eq!(rows(db), expected);
    });
}

#[test]
fn g1a_aborted_reads() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        one.put(1, 101).wait().expect("put");
        assert_eq!(two.select(all), [(1, 10), (2, 20)]);
        one.abort();
        assert_eq!(two.select(all), [(1, 10), (2, 20)]);
        assert_eq!(two.commit([]), End::Committed);
        assert_eq!(rows(db), [(1, 10), (2, 20)]);
    });
}

#[test]
fn g1b_intermediate_reads() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        one.put(1, 101).wait().expect("put");
        assert_eq!(two.select(all), [(1, 10), (2, 20)]);
        one.put(1, 11).wait().expect("put");
        assert_eq!(one.commit([]), End::Committed);
        let seen = if level == Level::ReadCommitted { 11 } else { 10 };
        assert_eq!(two.select(all), [(1, seen), (2, 20)]);
        assert_eq!(two.commit([]), End::Committed);
    });
}

#[test]
fn g1c_circular_information_flow() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        one.put(1, 11).wait().expect("put");
        two.put(2, 22).wait().expect("put");
        assert_eq!(one.get(2), Some(20));
        assert_eq!(two.get(1), Some(10));
        assert_eq!(one.commit([]), End::Committed);
        assert_eq!(two.commit([]), conflict_from(level, Level::Serializable));
    });
}

#[test]
fn otv_observed_transaction_vanishes() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        let reader = Actor::begin(db, level);
        one.put(1, 11).wait().expect("put");
        one.put(2, 19).wait().expect("put");
        let waits = two.put(1, 12);
        assert_eq!(one.commit([]), End::Committed);
        if level > Level::ReadCommitted {
            assert_eq!(reader.get(1), Some(10));
            assert_eq!(two.commit([waits]), End::Conflict);
            assert_eq!(reader.get(2), Some(20));
            assert_eq!(reader.get(1), Some(10));
            assert_eq!(rows(db), [(1, 11), (2, 19)]);
            return;
        }
        assert_eq!(reader.get(1), Some(11));
        waits.wait().expect("the lock is free");
        two.put(2, 18).wait().expect("put");
        assert_eq!(reader.get(2), Some(19));
        assert_eq!(two.commit([]), End::Committed);
        assert_eq!(reader.get(2), Some(18));
        assert_eq!(reader.get(1), Some(12));
    });
}

#[test]
fn pmp_predicate_many_preceders() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        assert_eq!(one.select(|value| value == 30), []);
        two.put(3, 30).wait().expect("put");
        assert_eq!(two.commit([]), End::Committed);
        let seen: &[(u64, u64)] = if level == Level::ReadCommitted { &[(3, 30)] } else { &[] };
        assert_eq!(one.select(|value| value % 3 == 0), seen);
        assert_eq!(one.commit([]), End::Committed, "it wrote nothing");
    });
}

#[test]
fn pmp_predicate_many_preceders_on_writes() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        for (key, value) in one.select(all) {
            one.put(key, value + 10).wait().expect("put");
        }
        assert_eq!(two.select(|value| value == 20), [(2, 20)]);
        let waits = two.delete(2);
        assert_eq!(one.commit([]), End::Committed);
        assert_eq!(two.commit([waits]), conflict_from(level, Level::Snapshot));
        let expected: &[(u64, u64)] =
            if level == Level::ReadCommitted { &[(1, 20)] } else { &[(1, 20), (2, 30)] };
        assert_eq!(rows(db), expected);
    });
}

#[test]
fn p4_lost_update() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        assert_eq!((one.get(1), two.get(1)), (Some(10), Some(10)));
        one.put(1, 11).wait().expect("put");
        let waits = two.put(1, 12);
        assert_eq!(one.commit([]), End::Committed);
        assert_eq!(two.commit([waits]), conflict_from(level, Level::Snapshot));
        let last = if level == Level::ReadCommitted { 12 } else { 11 };
        assert_eq!(rows(db), [(1, last), (2, 20)]);
    });
}

#[test]
fn g_single_read_skew() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        assert_eq!(one.get(1), Some(10));
        assert_eq!((two.get(1), two.get(2)), (Some(10), Some(20)));
        two.put(1, 12).wait().expect("put");
        two.put(2, 18).wait().expect("put");
        assert_eq!(two.commit([]), End::Committed);
        assert_eq!(one.get(2), Some(if level == Level::ReadCommitted { 18 } else { 20 }));
        assert_eq!(one.commit([]), End::Committed);
    });
}

#[test]
fn g_single_read_skew_on_predicates() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        assert_eq!(one.select(|value| value % 5 == 0), [(1, 10), (2, 20)]);
        two.put(1, 12).wait().expect("put");
        assert_eq!(two.commit([]), End::Committed);
        let seen: &[(u64, u64)] = if level == Level::ReadCommitted { &[(1, 12)] } else { &[] };
        assert_eq!(one.select(|value| value % 3 == 0), seen);
        assert_eq!(one.commit([]), End::Committed);
    });
}

#[test]
fn g_single_read_skew_on_writes() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        assert_eq!(one.get(1), Some(10));
        two.put(1, 12).wait().expect("put");
        two.put(2, 18).wait().expect("put");
        assert_eq!(two.commit([]), End::Committed);
        let doomed = one.select(|value| value == 20);
        if level == Level::ReadCommitted {
            assert_eq!(doomed, []);
            assert_eq!(one.commit([]), End::Committed);
        } else {
            assert_eq!(doomed, [(2, 20)]);
            let delete = one.delete(2);
            assert_eq!(one.commit([delete]), End::Conflict);
        }
        assert_eq!(rows(db), [(1, 12), (2, 18)]);
    });
}

#[test]
fn g_single_read_skew_on_writes_that_are_taken_back() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        assert_eq!(one.get(1), Some(10));
        assert_eq!((two.get(1), two.get(2)), (Some(10), Some(20)));
        two.put(1, 12).wait().expect("put");
        assert_eq!(one.select(|value| value == 20), [(2, 20)]);
        one.delete(2).wait().expect("deleted");
        let waits = two.put(2, 18);
        one.abort();
        assert_eq!(two.commit([waits]), End::Committed);
        assert_eq!(rows(db), [(1, 12), (2, 18)]);
    });
}

#[test]
fn g2_item_write_skew() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        for actor in [&one, &two] {
            assert_eq!((actor.get(1), actor.get(2)), (Some(10), Some(20)));
        }
        one.put(1, 11).wait().expect("put");
        two.put(2, 21).wait().expect("put");
        assert_eq!(one.commit([]), End::Committed);
        assert_eq!(two.commit([]), conflict_from(level, Level::Serializable));
        // Write skew: each of the two wrote what the other one had read, and only one order of them explains a half.
        let second = if level == Level::Serializable { 20 } else { 21 };
        assert_eq!(rows(db), [(1, 11), (2, second)]);
    });
}

#[test]
fn g2_anti_dependency_cycles() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        for actor in [&one, &two] {
            assert_eq!(actor.select(|value| value % 3 == 0), []);
        }
        one.put(3, 30).wait().expect("put");
        two.put(4, 42).wait().expect("put");
        assert_eq!(one.commit([]), End::Committed);
        assert_eq!(two.commit([]), conflict_from(level, Level::Serializable));
        assert_eq!(rows(db).len(), if level == Level::Serializable { 3 } else { 4 });
    });
}

#[test]
fn g2_two_anti_dependency_edges() {
    each(|db, level| {
        let (one, two) = (Actor::begin(db, level), Actor::begin(db, level));
        assert_eq!(one.select(all), [(1, 10), (2, 20)]);
        two.put(2, 25).wait().expect("put");
        assert_eq!(two.commit([]), End::Committed);
        let three = Actor::begin(db, level);
        assert_eq!(three.select(all), [(1, 10), (2, 25)]);
        assert_eq!(three.commit([]), End::Committed);
        one.put(1, 0).wait().expect("put");
        assert_eq!(one.commit([]), conflict_from(level, Level::Serializable));
    });
}
