//! What lightning_db is to reach, and what it reached.

use super::Report;
use crate::engine::Variant;
use crate::engine::Variant::{Lightning, LightningPlain, Lmdb, Rocksdb};
use crate::matrix::Group;
use crate::matrix::Group::{Backup, Mixed, Open, ReadCached, ReadCold, Sync, Write};

/// One target.
pub(super) struct Target {
    /// In words.
    pub(super) what: &'static str,
    need: Need,
    got: fn(&Report) -> Option<f64>,
}

enum Need {
    AtLeast(f64),
    AtMost(f64),
}

/// How a target stands.
pub(super) struct Standing {
    /// The figure that is wanted.
    pub(super) wanted: String,
    /// The figure that was measured.
    pub(super) reached: Option<f64>,
    /// Whether it is reached; a figure that was not measured is not.
    pub(super) is_met: bool,
    /// How much of the way there it is: 1 is there.
    pub(super) share: f64,
}

impl Target {
    pub(super) fn standing(&self, report: &Report) -> Standing {
        let reached = (self.got)(report);
        let (wanted, share) = match self.need {
            Need::AtLeast(least) => (format!("≥ {}", short(least)), reached.map(|value| value / least)),
            Need::AtMost(most) => (format!("≤ {}", short(most)), reached.map(|value| most / value.max(1e-9))),
        };
        let share = share.unwrap_or(0.0);
        Standing { wanted, reached, is_met: share >= 1.0, share }
    }
}

/// A number with as many digits as mean something.
pub(super) fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

const fn at_least(least: f64, what: &'static str, got: fn(&Report) -> Option<f64>) -> Target {
    Target { what, need: Need::AtLeast(least), got }
}

const fn at_most(most: f64, what: &'static str, got: fn(&Report) -> Option<f64>) -> Target {
    Target { what, need: Need::AtMost(most), got }
}

/// All of them.
pub(super) const TARGETS: &[Target] = &[
    at_least(6.0, "cached get into a Vec, times RocksDB", |r| r.times(ReadCached, "get-uniform", Rocksdb)),
    at_least(3.0, "cached get into a Vec, times LMDB", |r| r.times(ReadCached, "get-uniform", Lmdb)),
    at_least(15.0, "cached get, borrowed, times RocksDB", |r| r.times(ReadCached, "view-uniform", Rocksdb)),
    at_least(6.0, "cached get, borrowed, times LMDB", |r| r.times(ReadCached, "view-uniform", Lmdb)),
    at_least(15e6, "get_batch of 32, a second and core", |r| r.value(ReadCached, "view-batch", Lightning)),
    at_least(4.0, "absent key, times RocksDB", |r| r.times(ReadCached, "absent", Rocksdb)),
    at_least(10.0, "absent key, times LMDB", |r| r.times(ReadCached, "absent", Lmdb)),
    at_least(1.0, "get from data 4× the cache, times the best peer", |r| r.best(ReadCold, "get-uniform")),
    at_least(1.3, "full scan, times LMDB", |r| r.times(ReadCached, "scan-all", Lmdb)),
    at_least(2.5, "full scan, times RocksDB", |r| r.times(ReadCached, "scan-all", Rocksdb)),
    at_least(4.0, "random put, burst, times RocksDB", |r| r.times(Write, "put-random", Rocksdb)),
    at_least(1.2e6, "random put, burst, a second", |r| r.value(Write, "put-random", Lightning)),
    at_least(1.5, "random put, steady, times RocksDB", |r| r.times(Write, "put-steady", Rocksdb)),
    at_least(4.0, "batches of 1000, times RocksDB", |r| r.times(Write, "batch-1000", Rocksdb)),
    at_least(1.8e6, "batches of 1000, puts a second", |r| r.value(Write, "batch-1000", Lightning)),
    at_least(0.95, "synced put, 1 client, times the device", |r| {
        let device = r.figure(Sync, "sync-1-client", "device_syncs_per_second", Lightning)?;
        Some(r.value(Sync, "sync-1-client", Lightning)? / device)
    }),
    at_least(2.0, "synced put, 16 clients, times the best peer", |r| r.best(Sync, "sync-16-clients")),
    at_least(5.2e6, "80/20, Zipf, 2 threads, a second", |r| r.value(Mixed, "mixed-2-threads", Lightning)),
    at_most(3000.0, "80/20: P99.9 of a get, ns", |r| r.p999("get")),
    at_most(50_000.0, "80/20: P99.9 of a put, ns", |r| r.p999("put")),
    at_most(10.0, "80/20: longest stall beyond an idle loop's, ms", |r| {
        let stall = r.figure(Mixed, "mixed-2-threads", "gap_max_ms", Lightning)?;
        Some((stall - r.figure(Mixed, "mixed-2-threads", "idle_gap_max_ms", Lightning)?).max(0.0))
    }),
    at_least(0.97, "encrypted get, cached, times plain", |r| {
        r.times(ReadCached, "get-uniform", LightningPlain)
    }),
    at_least(0.92, "encrypted get, data 4× the cache, times plain", |r| {
        r.times(ReadCold, "get-uniform", LightningPlain)
    }),
    at_least(0.85, "encrypted random put, times plain", |r| r.times(Write, "put-random", LightningPlain)),
    at_most(1.0, "bytes on disk, times RocksDB's", |r| {
        let space = |variant| r.figure(Write, "put-random", "space_per_byte", variant);
        Some(space(Lightning)? / space(Rocksdb)?)
    }),
    at_least(0.8, "full backup, times cp and sync", |r| {
        r.figure(Backup, "backup-full", "speed_of_cp", Lightning)
    }),
    at_most(2.0, "writers' P99 during a backup, times before", |r| {
        r.figure(Backup, "writers-p99", "p99_ratio", Lightning)
    }),
    at_most(1.1, "increment after 1% changes, times their compressed bytes", |r| {
        let shipped = r.figure(Backup, "backup-increment", "shipped_per_changed_byte", Lightning)?;
        Some(shipped / r.figure(Write, "put-random", "space_per_byte", Lightning)?)
    }),
    at_most(20.0, "open after a clean close, ms", |r| r.value(Open, "open-clean", Lightning)),
    at_least(1e6, "records replayed a second", |r| {
        r.figure(Open, "open-killed", "records_per_second", Lightning)
    }),
];

impl Report {
    fn times(&self, group: Group, row: &str, peer: Variant) -> Option<f64> {
        self.row(group, row)?.ratio(Lightning, peer)
    }

    fn best(&self, group: Group, row: &str) -> Option<f64> {
        let row = self.row(group, row)?;
        let ratios = row.results.keys().filter(|variant| !variant.is_ours());
        ratios.filter_map(|&peer| row.ratio(Lightning, peer)).min_by(f64::total_cmp)
    }

    fn value(&self, group: Group, row: &str, variant: Variant) -> Option<f64> {
        Some(self.row(group, row)?.reading(variant)?.value)
    }

    fn figure(&self, group: Group, row: &str, name: &str, variant: Variant) -> Option<f64> {
        self.row(group, row)?.reading(variant)?.figures.get(name).copied()
    }

    fn p999(&self, kind: &str) -> Option<f64> {
        let row = self.row(Mixed, "mixed-2-threads")?;
        Some(row.reading(Lightning)?.latencies.get(kind)?.p999)
    }
}
