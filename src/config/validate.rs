//! Which configurations make sense.

use std::ops::RangeInclusive;
use std::time::Duration;

use lightning_db_storage::wal::MIN_SEGMENT_SIZE;

use super::{LightningDbConfig, WalSyncMode};
use crate::error::{Error, Result};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

impl LightningDbConfig {
    /// Checks every option alone and against the others. Creating and opening a database does it too.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] naming the first option that is refused, with the reason and what would be accepted.
    pub fn validate(&self) -> Result<()> {
        self.validate_storage()?;
        self.validate_compression()?;
        self.validate_encryption()?;
        self.validate_transactions()?;
        self.validate_log()?;
        self.validate_workers()?;
        self.validate_server()
    }

    fn validate_storage(&self) -> Result<()> {
        if !self.page_size.is_power_of_two() || !(KIB..=64 * KIB).contains(&(self.page_size as u64)) {
            let reason = format!("{} is not a power of two from 1024 to 65536", self.page_size);
            return Err(Error::config("page_size", reason));
        }
        within("cache_size", self.cache_size as u64, 64 * KIB..=isize::MAX as u64)?;
        within("write_buffer_size", self.write_buffer_size as u64, 64 * KIB..=32 * MIB)?;
        match self.mmap_size {
            None | Some(0) => Ok(()),
            Some(bytes) => within("mmap_size", bytes as u64, 64 * KIB..=isize::MAX as u64)
                .map_err(|_| Error::config("mmap_size", "a limit is at least 65536 bytes; 0 turns maps off")),
        }
    }

    fn validate_compression(&self) -> Result<()> {
        if self.compression_type > 3 {
            let reason =
                format!("{} is no codec: 0 adaptive, 1 Zstd, 2 LZ4, 3 Snappy", self.compression_type);
            return Err(Error::config("compression_type", reason));
        }
        if !(-7..=22).contains(&self.compression_level) {
            let reason = format!("{} is no level of Zstd: it is from -7 to 22", self.compression_level);
            return Err(Error::config("compression_level", reason));
        }
        let default_level = Self::default().compression_level;
        if matches!(self.compression_type, 2 | 3) && self.compression_level != default_level {
            let reason =
                format!("LZ4 and Snappy have no levels: leave it at {default_level}, or choose Zstd");
            return Err(Error::config("compression_level", reason));
        }
        Ok(())
    }

    fn validate_encryption(&self) -> Result<()> {
        match (self.encryption_enabled, self.encryption_key.is_none()) {
            (true, true) => Err(Error::config(
                "encryption_enabled",
                "it needs a key: set `encryption_key`, for example to KeySource::passphrase or KeySource::file",
            )),
            (false, false) => Err(Error::config(
                "encryption_key",
                "a key is given while `encryption_enabled` is false, and the data would not be encrypted: \
                 set it to true, or leave out the key",
            )),
            (true, false) if cfg!(feature = "fips") && !self.use_simd => Err(Error::config(
                "use_simd",
                "false asks for the portable cipher, and this build encrypts by its FIPS module alone: set it to true",
            )),
            _ => Ok(()),
        }
    }

    fn validate_transactions(&self) -> Result<()> {
        within("max_active_transactions", self.max_active_transactions as u64, 1..=1_000_000)?;
        lasting("transaction_timeout", self.transaction_timeout, MILLISECOND..=YEAR)?;
        lasting("lock_timeout", self.lock_timeout, MILLISECOND..=YEAR)
    }

    fn validate_log(&self) -> Result<()> {
        within("wal_segment_size", self.wal_segment_size, MIN_SEGMENT_SIZE..=1024 * MIB)?;
        if self.max_retained_log < self.wal_segment_size {
            let reason = format!("it is less than `wal_segment_size`, {}", self.wal_segment_size);
            return Err(Error::config("max_retained_log", reason));
        }
        if let WalSyncMode::Periodic(interval) = self.wal_sync_mode {
            lasting("wal_sync_mode", interval, MILLISECOND..=HOUR)?;
        }
        if !self.wal_enabled && self.wal_sync_mode != WalSyncMode::Async {
            let reason =
                "it asks for syncs of the log while `wal_enabled` is false: turn the log on, or use Async";
            return Err(Error::config("wal_sync_mode", reason));
        }
        Ok(())
    }

    fn validate_workers(&self) -> Result<()> {
        if self.prefetch_enabled {
            within("prefetch_distance", self.prefetch_distance as u64, 1..=1024)?;
            within("prefetch_workers", self.prefetch_workers as u64, 1..=64)?;
        }
        within("parallel_compaction_workers", self.parallel_compaction_workers as u64, 1..=64)?;
        lasting("compaction_interval", self.compaction_interval, MILLISECOND..=YEAR)
    }

    fn validate_server(&self) -> Result<()> {
        within("max_connections", self.max_connections as u64, 1..=1_000_000)?;
        within("metrics_port", self.metrics_port.into(), 1..=65_535)
    }
}

fn within(option: &str, value: u64, range: RangeInclusive<u64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::config(option, format!("{value} is not from {} to {}", range.start(), range.end())))
}

fn lasting(option: &str, value: Duration, range: RangeInclusive<Duration>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::config(option, format!("{value:?} is not from {:?} to {:?}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use lightning_db_crypto::KeySource;

    use super::*;

    fn refused(change: impl FnOnce(&mut LightningDbConfig)) -> String {
        let mut config = LightningDbConfig::default();
        change(&mut config);
        match config.validate() {
            Err(Error::InvalidConfig { option, reason }) => {
                assert!(!reason.is_empty());
                option
            }
            other => panic!("{config:?} gave {other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_valid_and_as_documented() -> Result<()> {
        let config = LightningDbConfig::default();
        config.validate()?;
        assert_eq!((config.page_size, config.cache_size, config.mmap_size), (4096, 64 << 20, None));
        assert_eq!((config.compression_enabled, config.compression_level), (true, 3));
        assert_eq!(config.max_active_transactions, 1000);
        assert_eq!(config.transaction_timeout, Duration::from_secs(30));
        assert!(config.use_optimized_transactions && config.use_lock_free_cache && config.improved_wal);
        assert_eq!((config.wal_enabled, config.wal_sync_mode), (true, WalSyncMode::Async));
        let prefetch = (config.prefetch_enabled, config.prefetch_distance, config.prefetch_workers);
        assert_eq!(prefetch, (true, 8, 2));
        assert!(config.background_compaction);
        assert_eq!(config.compaction_interval, Duration::from_secs(60));
        assert_eq!(config.parallel_compaction_workers, 2);
        Ok(())
    }

    #[test]
    fn out_of_range_is_refused_by_name() {
        for size in [0, 512, 5000, 128 << 10] {
            assert_eq!(refused(|c| c.page_size = size), "page_size");
        }
        assert_eq!(refused(|c| c.cache_size = 0), "cache_size");
        assert_eq!(refused(|c| c.mmap_size = Some(1)), "mmap_size");
        assert_eq!(refused(|c| c.write_buffer_size = 33 << 20), "write_buffer_size");
        assert_eq!(refused(|c| c.compression_type = 4), "compression_type");
        assert_eq!(refused(|c| c.compression_level = 23), "compression_level");
        assert_eq!(refused(|c| c.max_active_transactions = 0), "max_active_transactions");
        assert_eq!(refused(|c| c.transaction_timeout = Duration::ZERO), "transaction_timeout");
        assert_eq!(refused(|c| c.transaction_timeout = Duration::MAX), "transaction_timeout");
        assert_eq!(refused(|c| c.lock_timeout = Duration::ZERO), "lock_timeout");
        assert_eq!(refused(|c| c.wal_segment_size = 64 << 10), "wal_segment_size");
        assert_eq!(refused(|c| c.wal_segment_size = (1 << 30) + 1), "wal_segment_size");
        assert_eq!(refused(|c| c.max_retained_log = 1), "max_retained_log");
        assert_eq!(refused(|c| c.wal_sync_mode = WalSyncMode::Periodic(Duration::ZERO)), "wal_sync_mode");
        assert_eq!(refused(|c| c.prefetch_distance = 0), "prefetch_distance");
        assert_eq!(refused(|c| c.prefetch_workers = 65), "prefetch_workers");
        assert_eq!(refused(|c| c.parallel_compaction_workers = 0), "parallel_compaction_workers");
        assert_eq!(refused(|c| c.compaction_interval = Duration::ZERO), "compaction_interval");
        assert_eq!(refused(|c| c.max_connections = 0), "max_connections");
        assert_eq!(refused(|c| c.metrics_port = 0), "metrics_port");
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(refused(|c| c.encryption_enabled = true), "encryption_enabled");
        assert_eq!(refused(|c| c.encryption_key = KeySource::raw([7; 32])), "encryption_key");
        let unlogged_sync = |c: &mut LightningDbConfig| {
            c.wal_enabled = false;
            c.wal_sync_mode = WalSyncMode::Sync;
        };
        assert_eq!(refused(unlogged_sync), "wal_sync_mode");
        let lz4_with_level = |c: &mut LightningDbConfig| {
            c.compression_type = 2;
            c.compression_level = 9;
        };
        assert_eq!(refused(lz4_with_level), "compression_level");
    }

    #[test]
    fn what_is_turned_off_is_not_checked() -> Result<()> {
        let off = LightningDbConfig { prefetch_enabled: false, prefetch_workers: 0, ..Default::default() };
        off.validate()?;
        LightningDbConfig { mmap_size: Some(0), ..Default::default() }.validate()
    }

    #[test]
    fn debug_shows_no_key() -> Result<()> {
        let key = KeySource::passphrase("correct horse");
        let config = LightningDbConfig::builder().encryption_key(key).build()?;
        assert!(config.encryption_enabled);
        assert!(!format!("{config:?}").contains("horse"));
        Ok(())
    }
}
