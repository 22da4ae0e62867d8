//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

use crate::engine::{Durability, Variant};
use crate::matrix::Group;

/// Measures lightning_db beside RocksDB, LMDB, redb, fjall and SQLCipher, in turns, and reports medians and ratios.
#[derive(Clone, Debug, Parser)]
#[command(name = "lightning_bench", version)]
pub struct Options {
    /// What to do instead of measuring.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Small data, short runs: a few minutes, for a first look. Explicit sizes still count.
    #[arg(long)]
    pub quick: bool,
    /// The engines, all if none is named.
    #[arg(long, value_delimiter = ',')]
    pub engines: Vec<Variant>,
    /// The groups of rows, all if none is named.
    #[arg(long, value_delimiter = ',')]
    pub groups: Vec<Group>,
    /// Only rows whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    /// How many times each row is run.
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Keys of the data set that fits the cache; the others follow from it.
    #[arg(long)]
    pub keys: Option<u64>,
    /// Bytes of a value, at least 24.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Seconds that a row of reads is measured; rows of writes may take ten times as long.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Where the databases are made, and removed afterwards.
    #[arg(long, default_value = "target/bench-data")]
    pub directory: PathBuf,
    /// Writes all figures to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Writes a report with plots to this file, which needs nothing else to be shown.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Writes the report as Markdown to this file.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
}

/// What to do instead of measuring.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serves a measuring parent: one engine, one group of rows.
    #[command(hide = true)]
    Child(Child),
    /// Writes records and ends without closing, for the measurement of the replay.
    #[command(hide = true)]
    Crash(Crash),
    /// Measures lightning_db alone, shortly, and fails when one way of doing a thing has become much dearer than another.
    Regress,
    /// Makes the reports again from a file that `--json` wrote.
    Report(Again),
}

/// What a child is told when it starts.
#[derive(Clone, Debug, Args)]
pub struct Child {
    /// A [`Plan`] as JSON.
    #[arg(long)]
    pub plan: String,
}

/// What a process that is to die is told.
#[derive(Clone, Debug, Args)]
pub struct Crash {
    /// A [`Plan`] as JSON.
    #[arg(long)]
    pub plan: String,
    /// How many records it writes before.
    #[arg(long)]
    pub records: u64,
}

/// From which file to which.
#[derive(Clone, Debug, Args)]
pub struct Again {
    /// What `--json` wrote; of several, later ones replace the groups of earlier ones.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The HTML report.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// The Markdown report.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// All figures together.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What one child measures with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The engine.
    pub variant: Variant,
    /// The group of rows.
    pub group: Group,
    /// Keys that are loaded.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Bytes of cache.
    pub cache_bytes: u64,
    /// Seconds that a row of reads is measured.
    pub seconds: f64,
    /// What commits wait for.
    pub durability: Durability,
    /// A directory for this child alone.
    pub directory: PathBuf,
}

const KEYS: u64 = 1_000_000;
const KEYS_QUICK: u64 = 100_000;
const SECONDS: f64 = 1.0;
const SECONDS_QUICK: f64 = 0.2;

impl Options {
    /// Keys of the data set that fits the cache.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys.unwrap_or(if self.quick { KEYS_QUICK } else { KEYS }).max(1000)
    }

    /// Seconds that a row of reads is measured.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { SECONDS_QUICK } else { SECONDS }).max(0.01)
    }

    /// The engines to measure, in the order of the report.
    #[must_use]
    pub fn engines(&self) -> Vec<Variant> {
        let is_wanted = |variant: &Variant| self.engines.is_empty() || self.engines.contains(variant);
        Variant::ALL.into_iter().filter(is_wanted).collect()
    }

    /// The groups to measure, in the order of the report.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let is_wanted = |group: &Group| self.groups.is_empty() || self.groups.contains(group);
        Group::ALL.into_iter().filter(is_wanted).collect()
    }

    /// Whether a row is to be measured.
    #[must_use]
    pub fn wants_row(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| row.contains(part.as_str()))
    }

    /// What a child of one engine and group measures with.
    #[must_use]
    pub fn plan(&self, variant: Variant, group: Group) -> Plan {
        let (keys, cache_bytes) = group.sizes(self.keys(), self.value_bytes);
        Plan {
            variant,
            group,
            keys,
            value_bytes: self.value_bytes,
            cache_bytes,
            seconds: self.seconds(),
            durability: group.durability(),
            directory: self.directory.join(group.id()).join(variant.id()),
        }
    }
}
