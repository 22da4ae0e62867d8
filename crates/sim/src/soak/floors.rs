//! How much must have been done for a run to count: of each kind its share of all that was done, and of that so much for a
//! second of processor time, which other programs on the machine do not change.

use std::time::Duration;

use super::oracle::OWNERS;
use super::upkeep::{KINDS, SHARES};
use super::{load, upkeep};
use crate::coverage::Coverage;

/// Writes and transfers for a second of processor time, at least.
const OPERATIONS_A_SECOND: f64 = 1000.0;
/// Seconds of processor time for one round of upkeep, at most.
const SECONDS_A_ROUND: f64 = 2.0;
/// And for one round of looking.
const SECONDS_A_LOOK: f64 = 2.0;
/// Operations for a flush and for a merge, at most.
const OPERATIONS_A_FLUSH: u64 = 5_000;
const OPERATIONS_A_MERGE: u64 = 15_000;

/// What must have happened in a run of this length that took so many seconds of processor time.
pub(super) fn require(coverage: &mut Coverage, length: Duration, worked: f64) {
    let writers: Vec<String> = (0..OWNERS).map(load::owner_name).chain([load::TRANSFER.to_owned()]).collect();
    let done: u64 = writers.iter().map(|name| coverage.count(name)).sum();
    let least = (worked * OPERATIONS_A_SECOND) as u64;
    for name in &writers {
        // Each has the same pace.
        coverage.require(name, done.max(least) / (2 * writers.len() as u64));
    }
    coverage.require("engine/flush", done / OPERATIONS_A_FLUSH);
    coverage.require("engine/merge", done / OPERATIONS_A_MERGE);

    let rounds: u64 = SHARES.iter().map(|(name, _)| coverage.count(name)).sum();
    coverage.add(upkeep::ROUND, rounds);
    coverage.require(upkeep::ROUND, (worked / SECONDS_A_ROUND) as u64);
    for (name, share) in SHARES {
        coverage.require(name, drawn(rounds as f64 * share as f64 / KINDS as f64));
    }
    coverage.require(upkeep::DELETED, (coverage.count("upkeep/backup") / 2).saturating_sub(3));

    // No more end than the clock permits, and no more begin than there are rounds of looking.
    let snapshots = load::planned_snapshots(length).min(coverage.count(load::ROUND) as f64);
    coverage.require(load::ROUND, (worked / SECONDS_A_LOOK) as u64);
    coverage.require("look/snapshot held", drawn(snapshots / 3.0));
    coverage.require("look/iterator held", drawn(snapshots / 3.0 / load::WALKS_EACH as f64));
    // Who closes waits for those who are at work, which takes as long as the machine is busy.
    coverage.require("upkeep/opened again", u64::from(upkeep::planned_closes(length) / 4));
}

/// How often something happens at least that is drawn by lot and expected so often: four standard deviations less.
fn drawn(expected: f64) -> u64 {
    (expected - 4.0 * expected.sqrt()).max(0.0) as u64
}
