//! Which database a seed makes: every option that changes how data is stored, each at values that make much happen.

use std::time::Duration;

use lightning_db::{KeySource, LightningDbConfig, WalSyncMode};

use crate::coverage::Coverage;
use crate::random::Random;

/// The key of every encrypted database here. It must be in no file.
pub(crate) const KEY: [u8; 32] = *b"\x91KEY-bytes-that-must-not-be-seen";

/// Another key that opens them, once it was added.
pub(crate) const OTHER_KEY: [u8; 32] = *b"\x92KEY-that-was-added-to-the-first";

/// And the one that may take its place.
pub(crate) const THIRD_KEY: [u8; 32] = *b"\x93KEY-that-came-in-its-place-then";

const KIB: usize = 1024;

/// Draws a configuration.
pub(crate) fn draw(random: &mut Random, coverage: &mut Coverage) -> LightningDbConfig {
    let mut config = LightningDbConfig {
        page_size: *random.pick(&[KIB, KIB, 2 * KIB, 4 * KIB]),
        cache_size: *random.pick(&[64 * KIB, 256 * KIB, 1024 * KIB]),
        write_buffer_size: *random.pick(&[64 * KIB, 64 * KIB, 256 * KIB]),
        wal_segment_size: *random.pick(&[128, 128, 256]) * KIB as u64,
        mmap_size: *random.pick(&[None, None, Some(64 * KIB), Some(16 << 20)]),
        encryption_enabled: true,
        encryption_key: KeySource::raw(KEY),
        metrics_enabled: random.once_in(4),
        ..LightningDbConfig::default()
    };
    config.max_retained_log = config.wal_segment_size * random.pick(&[1, 8, 64]);
    if random.once_in(6) {
        (config.encryption_enabled, config.encryption_key) = (false, KeySource::none());
    }
    draw_codec(&mut config, random);
    draw_log(&mut config, random);
    draw_work(&mut config, random);
    count(&config, coverage);
    config
}

fn draw_codec(config: &mut LightningDbConfig, random: &mut Random) {
    config.compression_enabled = !random.once_in(4);
    config.compression_type = random.below(4) as u32;
    if config.compression_type < 2 {
        config.compression_level = *random.pick(&[1, 3, 3, -5]);
    }
    config.use_simd = !random.once_in(4);
}

fn draw_log(config: &mut LightningDbConfig, random: &mut Random) {
    config.wal_enabled = !random.once_in(10);
    config.improved_wal = !random.once_in(3);
    if config.wal_enabled {
        config.wal_sync_mode = match random.below(5) {
            0 | 1 => WalSyncMode::Sync,
            2 => WalSyncMode::Periodic(Duration::from_millis(1 + random.below(20))),
            _ => WalSyncMode::Async,
        };
    }
}

fn draw_work(config: &mut LightningDbConfig, random: &mut Random) {
    config.use_optimized_transactions = !random.once_in(3);
    config.max_active_transactions = *random.pick(&[4, 1000]);
    config.lock_timeout = Duration::from_millis(1 + random.below(20));
    config.transaction_timeout = Duration::from_secs(*random.pick(&[1, 30]));
    config.use_lock_free_cache = !random.once_in(3);
    config.prefetch_enabled = random.once_in(2);
    config.prefetch_distance = 1 + random.below(8) as usize;
    config.prefetch_workers = 1 + random.below(2) as usize;
    config.background_compaction = !random.once_in(3);
    config.compaction_interval = Duration::from_millis(*random.pick(&[1, 20, 1000]));
    config.parallel_compaction_workers = 1 + random.below(2) as usize;
}

fn count(config: &LightningDbConfig, coverage: &mut Coverage) {
    let mut hit = |name: &str, value: String| coverage.hit(&format!("option/{name}={value}"));
    hit("page_size", config.page_size.to_string());
    hit("cache_size", config.cache_size.to_string());
    hit("write_buffer_size", config.write_buffer_size.to_string());
    hit("wal_segment_size", config.wal_segment_size.to_string());
    hit("mmap_size", config.mmap_size.map_or("none".to_owned(), |bytes| bytes.to_string()));
    hit("encryption_enabled", config.encryption_enabled.to_string());
    hit("max_retained_log", (config.max_retained_log / config.wal_segment_size).to_string() + " segments");
    hit("compression_enabled", config.compression_enabled.to_string());
    hit("compression_type", config.compression_type.to_string());
    hit("use_simd", config.use_simd.to_string());
    hit("wal_enabled", config.wal_enabled.to_string());
    hit("improved_wal", config.improved_wal.to_string());
    let mode = match config.wal_sync_mode {
        WalSyncMode::Async => "async",
        WalSyncMode::Sync => "sync",
        WalSyncMode::Periodic(_) => "periodic",
    };
    hit("wal_sync_mode", mode.to_owned());
    hit("use_optimized_transactions", config.use_optimized_transactions.to_string());
    hit("max_active_transactions", config.max_active_transactions.to_string());
    hit("transaction_timeout", format!("{:?}", config.transaction_timeout));
    hit("use_lock_free_cache", config.use_lock_free_cache.to_string());
    hit("prefetch_enabled", config.prefetch_enabled.to_string());
    hit("background_compaction", config.background_compaction.to_string());
    hit("compaction_interval", format!("{:?}", config.compaction_interval));
    hit("parallel_compaction_workers", config.parallel_compaction_workers.to_string());
    hit("metrics_enabled", config.metrics_enabled.to_string());
}
