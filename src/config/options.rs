//! The table of options: where each one stands in the file, what its environment variable is called, and what it sets.

use std::time::Duration;

use lightning_db_crypto::{CryptoError, KeySource};
use log::LevelFilter;

use super::units::{parse_duration, parse_size};
use super::{LightningDbConfig as Config, WalSyncMode};
use crate::freshness::{AnchorSource, FreshnessPolicy};

type Outcome = Result<(), String>;

/// One option as text sources know it.
pub(super) struct Entry {
    /// The table of the file, without brackets.
    pub(super) section: &'static str,
    /// The key in that table. A size can also be given as `NAME_mb`, a duration as `NAME_seconds`, both numbers.
    pub(super) name: &'static str,
    /// The environment variable.
    pub(super) variable: &'static str,
    /// How to read and set it.
    pub(super) kind: Kind,
}

/// What an option's value is, and where it goes.
pub(super) enum Kind {
    /// `true` or `false`.
    Flag(fn(&mut Config, bool)),
    /// A whole number.
    Number(fn(&mut Config, i64) -> Outcome),
    /// Bytes: a number, or text with a unit.
    Size(fn(&mut Config, u64) -> Outcome),
    /// Text with a unit.
    Time(fn(&mut Config, Duration)),
    /// A word of the option's own vocabulary.
    Word(fn(&mut Config, &str) -> Outcome),
    /// The URI of a key.
    Key(fn(&mut Config, KeySource)),
}

/// Reads the URI of a key; the error is the reason, without anything of the text, which may be the key itself, put there by
/// mistake.
pub(super) type ReadKey<'a> = &'a dyn Fn(&str) -> Result<KeySource, String>;

use Kind::{Flag, Key, Number, Size, Time, Word};

/// Every option. Where two set the same field, the later one wins: `enabled` over `key`.
pub(super) const OPTIONS: &[Entry] = &[
    entry("database", "page_size", "LIGHTNING_DB_PAGE_SIZE", Size(|c, v| put(&mut c.page_size, v))),
    entry("database", "cache_size", "LIGHTNING_DB_CACHE_SIZE", Size(|c, v| put(&mut c.cache_size, v))),
    entry("database", "mmap_size", "LIGHTNING_DB_MMAP_SIZE", Size(|c, v| put(c.mmap_size.insert(0), v))),
    entry(
        "database",
        "write_buffer_size",
        "LIGHTNING_DB_WRITE_BUFFER_SIZE",
        Size(|c, v| put(&mut c.write_buffer_size, v)),
    ),
    entry(
        "database",
        "compression_enabled",
        "LIGHTNING_DB_COMPRESSION_ENABLED",
        Flag(|c, v| c.compression_enabled = v),
    ),
    entry("database", "compression_type", "LIGHTNING_DB_COMPRESSION_TYPE", Word(compression_type)),
    entry(
        "database",
        "compression_level",
        "LIGHTNING_DB_COMPRESSION_LEVEL",
        Number(|c, v| put(&mut c.compression_level, v)),
    ),
    entry(
        "database",
        "use_lock_free_cache",
        "LIGHTNING_DB_USE_LOCK_FREE_CACHE",
        Flag(|c, v| c.use_lock_free_cache = v),
    ),
    entry("database", "use_simd", "LIGHTNING_DB_USE_SIMD", Flag(|c, v| c.use_simd = v)),
    entry("encryption", "key", "LIGHTNING_DB_KEY", Key(encryption_key)),
    entry("encryption", "enabled", "LIGHTNING_DB_ENCRYPTION_ENABLED", Flag(|c, v| c.encryption_enabled = v)),
    entry("freshness", "anchor", "LIGHTNING_DB_FRESHNESS_ANCHOR", Word(freshness_anchor)),
    entry("freshness", "policy", "LIGHTNING_DB_FRESHNESS_POLICY", Word(freshness_policy)),
    entry(
        "transaction",
        "max_active",
        "LIGHTNING_DB_MAX_ACTIVE_TRANSACTIONS",
        Number(|c, v| put(&mut c.max_active_transactions, v)),
    ),
    entry(
        "transaction",
        "timeout",
        "LIGHTNING_DB_TRANSACTION_TIMEOUT",
        Time(|c, v| c.transaction_timeout = v),
    ),
    entry("transaction", "lock_timeout", "LIGHTNING_DB_LOCK_TIMEOUT", Time(|c, v| c.lock_timeout = v)),
    entry(
        "transaction",
        "optimized",
        "LIGHTNING_DB_USE_OPTIMIZED_TRANSACTIONS",
        Flag(|c, v| c.use_optimized_transactions = v),
    ),
    entry("wal", "enabled", "LIGHTNING_DB_WAL_ENABLED", Flag(|c, v| c.wal_enabled = v)),
    entry("wal", "sync_mode", "LIGHTNING_DB_WAL_SYNC_MODE", Word(wal_sync_mode)),
    entry("wal", "improved", "LIGHTNING_DB_IMPROVED_WAL", Flag(|c, v| c.improved_wal = v)),
    entry(
        "wal",
        "segment_size",
        "LIGHTNING_DB_WAL_SEGMENT_SIZE",
        Size(|c, v| put(&mut c.wal_segment_size, v)),
    ),
    entry(
        "wal",
        "max_retained",
        "LIGHTNING_DB_MAX_RETAINED_LOG",
        Size(|c, v| put(&mut c.max_retained_log, v)),
    ),
    entry("prefetch", "enabled", "LIGHTNING_DB_PREFETCH_ENABLED", Flag(|c, v| c.prefetch_enabled = v)),
    entry(
        "prefetch",
        "distance",
        "LIGHTNING_DB_PREFETCH_DISTANCE",
        Number(|c, v| put(&mut c.prefetch_distance, v)),
    ),
    entry(
        "prefetch",
        "workers",
        "LIGHTNING_DB_PREFETCH_WORKERS",
        Number(|c, v| put(&mut c.prefetch_workers, v)),
    ),
    entry(
        "compaction",
        "background",
        "LIGHTNING_DB_BACKGROUND_COMPACTION",
        Flag(|c, v| c.background_compaction = v),
    ),
    entry(
        "compaction",
        "interval",
        "LIGHTNING_DB_COMPACTION_INTERVAL",
        Time(|c, v| c.compaction_interval = v),
    ),
    entry(
        "compaction",
        "workers",
        "LIGHTNING_DB_PARALLEL_COMPACTION_WORKERS",
        Number(|c, v| put(&mut c.parallel_compaction_workers, v)),
    ),
    entry(
        "server",
        "max_connections",
        "LIGHTNING_DB_MAX_CONNECTIONS",
        Number(|c, v| put(&mut c.max_connections, v)),
    ),
    entry(
        "server",
        "rate_limit_ops_per_second",
        "LIGHTNING_DB_RATE_LIMIT_OPS_PER_SECOND",
        Number(|c, v| put(&mut c.rate_limit_ops_per_second, v)),
    ),
    entry(
        "monitoring",
        "metrics_enabled",
        "LIGHTNING_DB_METRICS_ENABLED",
        Flag(|c, v| c.metrics_enabled = v),
    ),
    entry(
        "monitoring",
        "metrics_port",
        "LIGHTNING_DB_METRICS_PORT",
        Number(|c, v| put(&mut c.metrics_port, v)),
    ),
    entry("logging", "level", "LIGHTNING_DB_LOG_LEVEL", Word(log_level)),
];

impl Kind {
    /// Sets the option from text, as an environment variable gives it.
    pub(super) fn set_text(&self, config: &mut Config, text: &str, read_key: ReadKey<'_>) -> Outcome {
        let text = text.trim();
        match self {
            Flag(set) => match text {
                "true" | "1" => set(config, true),
                "false" | "0" => set(config, false),
                _ => return Err("it is true or false".into()),
            },
            Number(set) => set(config, text.parse().map_err(|_| "it is a whole number")?)?,
            Size(set) => set(config, parse_size(text)?)?,
            Time(set) => set(config, parse_duration(text)?),
            Word(set) => set(config, text)?,
            Key(set) => set(config, read_key(text)?),
        }
        Ok(())
    }
}

const fn entry(section: &'static str, name: &'static str, variable: &'static str, kind: Kind) -> Entry {
    Entry { section, name, variable, kind }
}

/// Stores a number in a field that may be narrower.
fn put<F: TryFrom<T>, T>(field: &mut F, value: T) -> Outcome {
    *field = F::try_from(value).map_err(|_| "the number is out of range")?;
    Ok(())
}

fn compression_type(config: &mut Config, word: &str) -> Outcome {
    config.compression_type = match word {
        "adaptive" | "0" => 0,
        "zstd" | "1" => 1,
        "lz4" | "2" => 2,
        "snappy" | "3" => 3,
        _ => return Err("it is adaptive, zstd, lz4 or snappy".into()),
    };
    Ok(())
}

fn wal_sync_mode(config: &mut Config, word: &str) -> Outcome {
    config.wal_sync_mode = match word.split_once(':') {
        None if word == "async" => WalSyncMode::Async,
        None if word == "sync" => WalSyncMode::Sync,
        Some(("periodic", interval)) => WalSyncMode::Periodic(parse_duration(interval)?),
        _ => return Err("it is async, sync, or periodic: and a duration, such as periodic:100ms".into()),
    };
    Ok(())
}

/// The key sources that the library itself knows.
pub(super) fn read_key(uri: &str) -> Result<KeySource, String> {
    KeySource::from_uri(uri).map_err(|error| match error {
        CryptoError::InvalidKey { reason, .. } => reason,
        other => other.to_string(),
    })
}

/// A key turns encryption on.
fn encryption_key(config: &mut Config, key: KeySource) {
    config.encryption_key = key;
    config.encryption_enabled = true;
}

fn freshness_anchor(config: &mut Config, uri: &str) -> Outcome {
    config.freshness_anchor = match uri.split_once(':') {
        None if uri == "none" => AnchorSource::none(),
        Some(("file", path)) if !path.is_empty() => AnchorSource::file(path),
        _ => return Err("it is none, or file: and a path".into()),
    };
    Ok(())
}

fn freshness_policy(config: &mut Config, word: &str) -> Outcome {
    config.freshness_policy = match word {
        "ignore" => FreshnessPolicy::Ignore,
        "warn" => FreshnessPolicy::Warn,
        "refuse" => FreshnessPolicy::Refuse,
        _ => return Err("it is ignore, warn or refuse".into()),
    };
    Ok(())
}

fn log_level(config: &mut Config, word: &str) -> Outcome {
    config.log_level =
        word.parse::<LevelFilter>().map_err(|_| "it is off, error, warn, info, debug or trace")?;
    Ok(())
}
