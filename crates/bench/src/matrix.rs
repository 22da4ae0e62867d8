//! The matrix: groups of rows, each group over one data set.

use serde::{Deserialize, Serialize};

use crate::data::KEY_BYTES;
use crate::engine::Durability;

/// Rows that one child runs over one data set.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Reads of data that fits the processor's cache.
    ReadL3,
    /// Reads of data that fits the database's cache.
    ReadCached,
    /// Reads of data four times the database's cache.
    ReadCold,
    /// YCSB and 80/20 mixes.
    Mixed,
    /// Writes that the kernel has.
    Write,
    /// Writes that stable storage has.
    Sync,
    /// Opening and replaying.
    Open,
    /// Backups.
    Backup,
}

/// What a row's figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Operations a second; more is better.
    PerSecond,
    /// Milliseconds; less is better.
    Milliseconds,
}

/// One row: what is done.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name on the command line and in files.
    pub id: &'static str,
    /// Its name in reports.
    pub title: &'static str,
    /// What its figure is.
    pub unit: Unit,
}

const fn rate(id: &'static str, title: &'static str) -> Row {
    Row { id, title, unit: Unit::PerSecond }
}

const fn time(id: &'static str, title: &'static str) -> Row {
    Row { id, title, unit: Unit::Milliseconds }
}

const READS: &[Row] = &[
    rate("get-uniform", "get, copied, uniform"),
    rate("get-zipf", "get, copied, Zipf 0.99"),
    rate("get-latest", "get, copied, latest"),
    rate("get-2-threads", "get, copied, uniform, 2 threads"),
    rate("view-uniform", "get, borrowed, uniform"),
    rate("view-zipf", "get, borrowed, Zipf 0.99"),
    rate("view-batch", "get, borrowed, batches of 32, uniform"),
    rate("view-batch-zipf", "get, borrowed, batches of 32, Zipf 0.99"),
    rate("get-batch", "get, copied, batches of 32, uniform"),
    rate("absent", "get, absent keys"),
    rate("scan-10", "entries by scans of 10"),
    rate("scan-100", "entries by scans of 100"),
    rate("scan-all", "entries by scans of all"),
];

const MIXED: &[Row] = &[
    rate("ycsb-a", "YCSB A: 50% get, 50% update, Zipf"),
    rate("ycsb-b", "YCSB B: 95% get, 5% update, Zipf"),
    rate("ycsb-c", "YCSB C: get, Zipf"),
    rate("ycsb-d", "YCSB D: 95% get, 5% insert, latest"),
    rate("ycsb-e", "YCSB E: 95% scan of 1 to 100, 5% insert, Zipf"),
    rate("ycsb-f", "YCSB F: 50% get, 50% get and update, Zipf"),
    rate("mixed-1-thread", "80% get, 20% put, Zipf, 1 thread"),
    rate("mixed-2-threads", "80% get, 20% put, Zipf, 2 threads"),
];

const WRITES: &[Row] = &[
    rate("put-sequential", "put, ascending keys, burst"),
    rate("put-random", "put, random keys, burst"),
    rate("put-2-threads", "put, random keys, burst, 2 threads"),
    rate("batch-1000", "put, batches of 1000, random keys"),
    rate("put-steady", "put over random keys, steady state"),
];

const SYNCS: &[Row] = &[
    rate("sync-1-client", "synced put, 1 client"),
    rate("sync-16-clients", "synced put, 16 clients"),
    rate("sync-batch-100", "synced put, batches of 100, 1 client"),
];

const OPENS: &[Row] = &[
    time("open-clean", "open after a clean close, first get"),
    time("open-killed", "open after a killed process: records since the last flush are replayed"),
];

const BACKUPS: &[Row] = &[
    time("backup-full", "full backup"),
    time("backup-increment", "backup after 1% scattered changes"),
    time("restore", "restore"),
    time("writers-p99", "P99 of a put while a backup runs"),
];

impl Group {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::ReadL3,
        Self::ReadCached,
        Self::ReadCold,
        Self::Mixed,
        Self::Write,
        Self::Sync,
        Self::Open,
        Self::Backup,
    ];

    /// Its name on the command line and in files.
    #[must_use]
    pub fn id(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Its name in reports.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::ReadL3 => "Reads, data within the processor's L3 cache",
            Self::ReadCached => "Reads, data within the database's cache",
            Self::ReadCold => {
                "Reads, data four times the database's cache (the kernel's cache has all of it)"
            }
            Self::Mixed => {
                "Mixed reads and writes, data within the cache, 2 threads where not said otherwise"
            }
            Self::Write => "Writes, async: a killed process loses nothing",
            Self::Sync => "Writes, sync: on stable storage",
            Self::Open => "Open and replay",
            Self::Backup => "Backup and restore",
        }
    }

    /// Its rows.
    #[must_use]
    pub fn rows(self) -> &'static [Row] {
        match self {
            Self::ReadL3 | Self::ReadCached | Self::ReadCold => READS,
            Self::Mixed => MIXED,
            Self::Write => WRITES,
            Self::Sync => SYNCS,
            Self::Open => OPENS,
            Self::Backup => BACKUPS,
        }
    }

    /// What commits wait for.
    #[must_use]
    pub fn durability(self) -> Durability {
        match self {
            Self::Sync => Durability::Sync,
            _ => Durability::Async,
        }
    }

    /// Keys and bytes of cache, from the keys of the data set that fits the cache.
    #[must_use]
    pub fn sizes(self, keys: u64, value_bytes: usize) -> (u64, u64) {
        let entry = (KEY_BYTES + value_bytes) as u64;
        // What an entry takes in a cache besides its bytes is left to the engines: twice the bytes is enough for all.
        let roomy = 2 * keys * entry + (16 << 20);
        match self {
            Self::ReadL3 => (keys / 16, roomy),
            Self::ReadCold => (2 * keys, 2 * keys * entry / 4),
            _ => (keys, roomy),
        }
    }
}
