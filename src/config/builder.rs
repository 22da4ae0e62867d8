//! A configuration put together call by call, and checked at the end.

use std::time::Duration;

use lightning_db_crypto::KeySource;

use super::{LightningDbConfig, WalSyncMode};
use crate::error::Result;
use crate::freshness::{AnchorSource, FreshnessPolicy};

/// Builds a [`LightningDbConfig`] that is known to be valid.
///
/// ```
/// use lightning_db::{LightningDbConfig, WalSyncMode};
///
/// let config = LightningDbConfig::builder().cache_size(1 << 28).wal_sync_mode(WalSyncMode::Sync).build()?;
/// assert_eq!(config.cache_size, 1 << 28);
/// # Ok::<(), lightning_db::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct ConfigBuilder {
    config: LightningDbConfig,
}

impl LightningDbConfig {
    /// A builder that starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }
}

impl ConfigBuilder {
    /// Encrypts the database with this key.
    pub fn encryption_key(mut self, key: KeySource) -> Self {
        self.config.encryption_enabled = true;
        self.config.encryption_key = key;
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) as [`LightningDbConfig::validate`].
    pub fn build(self) -> Result<LightningDbConfig> {
        self.config.validate()?;
        Ok(self.config)
    }
}

macro_rules! setters {
    ($($option:ident: $kind:ty,)*) => {
        impl ConfigBuilder {
            $(
                #[doc = concat!("Sets [`LightningDbConfig::", stringify!($option), "`].")]
                pub fn $option(mut self, value: $kind) -> Self {
                    self.config.$option = value;
                    self
                }
            )*
        }
    };
}

setters! {
    freshness_anchor: AnchorSource,
    freshness_policy: FreshnessPolicy,
    page_size: usize,
    cache_size: usize,
    mmap_size: Option<usize>,
    write_buffer_size: usize,
    compression_enabled: bool,
    compression_type: u32,
    compression_level: i32,
    max_active_transactions: usize,
    transaction_timeout: Duration,
    lock_timeout: Duration,
    use_optimized_transactions: bool,
    wal_enabled: bool,
    wal_sync_mode: WalSyncMode,
    improved_wal: bool,
    wal_segment_size: u64,
    max_retained_log: u64,
    prefetch_enabled: bool,
    prefetch_distance: usize,
    prefetch_workers: usize,
    use_lock_free_cache: bool,
    use_simd: bool,
    background_compaction: bool,
    compaction_interval: Duration,
    parallel_compaction_workers: usize,
    max_connections: usize,
    rate_limit_ops_per_second: u64,
    metrics_enabled: bool,
    metrics_port: u16,
    log_level: log::LevelFilter,
}
