//! Each anomaly, made by hand, is found; and what is none is not taken for one.

use super::super::edn::parse;
use super::super::history::{Event, History, Kind};
use super::*;

const SNAPSHOT: Promise = Promise { level: Level::Snapshot, appends_exclude_each_other: true };
const TREE: Promise = Promise { level: Level::ReadCommitted, appends_exclude_each_other: false };

/// A history of transactions that were all at work at the same time, unless they say `then`: `ok [[:append 1 1]]`.
fn history(lines: &str) -> Vec<Transaction> {
    let mut history = History::default();
    let mut ends: Vec<Event> = Vec::new();
    for (process, line) in lines.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        if line == "then" {
            history.events.append(&mut ends);
            continue;
        }
        let (kind, steps) = line.split_once(' ').expect("a kind and steps");
        let event = |kind: &str| {
            parse(&format!("{{:type :{kind} :process {process} :value {steps}}}"))
                .expect("a line")
                .events
                .remove(0)
        };
        history.events.push(Event { kind: Kind::Invoke, ..event(kind) });
        ends.push(event(kind));
    }
    history.events.append(&mut ends);
    history.transactions().expect("a history")
}

fn found(lines: &str, promise: Promise) -> Vec<Anomaly> {
    let mut found: Vec<Anomaly> =
        anomalies(&history(lines), promise).into_iter().map(|found| found.anomaly).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let serial = "ok [[:append 1 1] [:append 2 2]]
                  ok [[:r 1 [1]] [:append 1 3] [:r 1 [1 3]]]
                  fail [[:append 1 9]]
                  info [[:append 2 8]]
                  info [[:append 2 7]]
                  then
                  ok [[:r 1 [1 3]] [:r 2 [2 8]] [:r 3 []]]";
    assert_eq!(found(serial, SNAPSHOT), []);
    assert_eq!(found(serial, TREE), []);
}

#[test]
fn elements_from_nowhere_are_found() {
    assert_eq!(found("ok [[:r 1 [5]]]", SNAPSHOT), [Anomaly::Garbage]);
    assert_eq!(found("ok [[:append 1 5]]\nok [[:r 1 [5 5]]]", TREE), [Anomaly::Duplicate]);
    assert_eq!(found("fail [[:append 1 5]]\nok [[:r 1 [5]]]", TREE), [Anomaly::AbortedRead]);
}

#[test]
fn a_transaction_that_is_seen_in_part_is_found() {
    let two = "ok [[:append 1 1] [:append 1 2]]\nok [[:append 1 3]]";
    assert_eq!(found(&format!("{two}\nok [[:r 1 [1]]]"), SNAPSHOT)[0], Anomaly::IntermediateRead);
    assert_eq!(found(&format!("{two}\nok [[:r 1 [1 3 2]]]"), TREE), [Anomaly::Torn, Anomaly::WriteCycle]);
    assert_eq!(found(&format!("{two}\nok [[:r 1 [2]]]"), TREE), [Anomaly::Torn]);
    // What nobody knows the end of is whole, too, if it is there at all.
    let unknown = "info [[:append 1 1] [:append 2 2]]\nthen\nok [[:r 1 [1]] [:r 2 []]]";
    assert_eq!(found(unknown, SNAPSHOT), [Anomaly::Torn]);
}

#[test]
fn a_transaction_that_does_not_see_itself_is_found() {
    let first = "ok [[:append 1 1]]";
    assert_eq!(found(&format!("{first}\nok [[:append 1 2] [:r 1 [1]]]"), TREE), [Anomaly::Internal]);
    let changed = format!("{first}\nok [[:r 1 []] [:r 1 [1]]]");
    assert_eq!(found(&changed, TREE), []);
    assert_eq!(found(&changed, SNAPSHOT)[0], Anomaly::Internal);
    assert_eq!(found("ok [[:r 1 [1]] [:append 1 1]]", TREE), [Anomaly::Internal]);
}

#[test]
fn versions_that_do_not_follow_each_other_are_found() {
    let lines = "ok [[:append 1 1]]
                 ok [[:append 1 2]]
                 ok [[:r 1 [1]]]
                 ok [[:r 1 [2]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::IncompatibleOrder]);
    assert_eq!(found(lines, TREE), []);
}

#[test]
fn what_was_acknowledged_and_is_gone_is_found() {
    let lost = "ok [[:append 1 1]]\nthen\nok [[:r 1 []]]";
    assert_eq!(found(lost, SNAPSHOT), [Anomaly::Missing, Anomaly::ReadSkew]);
    assert_eq!(found("ok [[:append 1 1]]\nok [[:r 1 []]]", SNAPSHOT), []);
    assert_eq!(found("info [[:append 1 1]]\nthen\nok [[:r 1 []]]", SNAPSHOT), []);
}

#[test]
fn reads_that_are_older_than_what_had_ended_are_found_as_cycles_in_time() {
    let stale = "ok [[:append 1 1]]\nthen\nok [[:r 1 []]]\nthen\nok [[:r 1 [1]]]";
    assert_eq!(found(stale, SNAPSHOT), [Anomaly::Missing, Anomaly::ReadSkew]);
}

#[test]
fn g0_cycles_of_writes_are_found() {
    let lines = "ok [[:append 1 1] [:append 2 1]]
                 ok [[:append 1 2] [:append 2 2]]
                 ok [[:r 1 [1 2]]]
                 ok [[:r 2 [2 1]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::WriteCycle]);
    assert_eq!(found(lines, TREE), [Anomaly::WriteCycle]);
}

#[test]
fn g1c_cycles_of_writes_and_reads_are_found() {
    let lines = "ok [[:append 1 1] [:r 2 [1]]]\nok [[:append 2 1] [:r 1 [1]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::CircularFlow]);
    assert_eq!(found(lines, TREE), [Anomaly::CircularFlow]);
}

#[test]
fn a_lost_update_is_found() {
    let lines = "ok [[:r 1 []] [:append 1 1]]
                 ok [[:r 1 []] [:append 1 2]]
                 ok [[:r 1 [1 2]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::LostUpdate, Anomaly::ReadSkew]);
    // Of the two, one is gone for good, and nobody knows which came first.
    let gone = lines.replace("[1 2]", "[2]");
    assert_eq!(found(&gone, SNAPSHOT), [Anomaly::LostUpdate, Anomaly::WriteSkew]);
    assert_eq!(found(&gone, TREE), [Anomaly::LostUpdate]);
}

#[test]
fn g_single_read_skew_is_found() {
    let lines = "ok [[:append 1 1] [:append 2 2]]
                 ok [[:r 1 []] [:r 2 [2]]]
                 ok [[:r 1 [1]] [:r 2 [2]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::Torn, Anomaly::ReadSkew]);
    assert!(!found(lines, Promise { level: Level::ReadCommitted, ..SNAPSHOT }).contains(&Anomaly::Torn));
    let later = "ok [[:append 1 1]]
                 ok [[:r 1 [1]] [:append 2 2]]
                 ok [[:r 1 []] [:r 2 [2]]]";
    assert_eq!(found(later, SNAPSHOT), [Anomaly::ReadSkew]);
}

#[test]
fn a_long_fork_is_found() {
    let lines = "ok [[:append 1 1]]
                 ok [[:append 2 2]]
                 ok [[:r 1 [1]] [:r 2 []]]
                 ok [[:r 1 []] [:r 2 [2]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::NonadjacentSkew]);
}

#[test]
fn g2_write_skew_is_found_and_told_from_read_skew() {
    let lines = "ok [[:r 1 []] [:r 2 []] [:append 1 1]]
                 ok [[:r 1 []] [:r 2 []] [:append 2 2]]
                 ok [[:r 1 [1]] [:r 2 [2]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::WriteSkew]);
    assert!(!SNAPSHOT.forbids(Anomaly::WriteSkew));
    assert!(Promise { level: Level::Serializable, ..SNAPSHOT }.forbids(Anomaly::WriteSkew));
}

#[test]
fn what_nobody_read_comes_after_what_was_read() {
    let lines = "ok [[:r 1 []] [:append 2 1]]
                 ok [[:r 2 []] [:append 1 1]]
                 ok [[:append 1 2]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::WriteSkew]);
    let follows = "ok [[:append 1 1]]
                   ok [[:r 1 []] [:append 2 1] [:append 2 2]]
                   ok [[:append 2 3] [:r 1 []]]";
    assert_eq!(found(follows, SNAPSHOT), []);
}

#[test]
fn a_range_that_was_empty_for_both_is_write_skew_too() {
    let lines = "ok [[:r 1 []] [:r 3 []] [:append 3 1]]
                 ok [[:r 1 []] [:r 3 []] [:append 1 2]]
                 ok [[:r 1 [2]] [:r 3 [1]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::WriteSkew]);
}

#[test]
fn the_read_only_transaction_anomaly_is_found() {
    // Fekete, O'Neil and O'Neil, 2004: without the reader the two would be in an order.
    let lines = "ok [[:r 1 []] [:r 2 []] [:append 1 1]]
                 ok [[:append 2 2]]
                 ok [[:r 1 []] [:r 2 [2]]]
                 then
                 ok [[:r 1 [1]] [:r 2 [2]]]";
    assert_eq!(found(lines, SNAPSHOT), [Anomaly::WriteSkew]);
}

#[test]
fn a_level_forbids_what_the_weaker_ones_forbid() {
    let all = [
        Anomaly::WriteCycle,
        Anomaly::CircularFlow,
        Anomaly::LostUpdate,
        Anomaly::ReadSkew,
        Anomaly::WriteSkew,
    ];
    let forbidden = |level| {
        let promise = Promise { level, appends_exclude_each_other: true };
        all.iter().filter(|anomaly| promise.forbids(**anomaly)).count()
    };
    assert_eq!([Level::ReadCommitted, Level::Snapshot, Level::Serializable].map(forbidden), [2, 4, 5]);
}
