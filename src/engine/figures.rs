//! What the engine knows about itself, for statistics, metrics and health.

use std::sync::Weak;
use std::time::Duration;

use lightning_db_crypto::SuiteId;
use lightning_db_storage::directory::{self, FileRole};
use lightning_db_storage::manifest::Manifest;
use lightning_db_storage::segment::{SegmentInfo, SegmentKind};
use lightning_db_storage::tree::TreeRef;

use super::{Engine, Version, policy};
use crate::error::Result;
use crate::observe::{DatabaseStats, HealthProblem, HealthStatus, MetricsSnapshot};

/// Less room than this on the disk is a problem.
const LOW_SPACE_BYTES: u64 = 64 << 20;

/// What the manager of the transactions tells the engine.
pub(crate) trait OpenTransactions: Send + Sync {
    /// How many are open.
    fn active(&self) -> usize;
    /// Bytes of memory that they hold.
    fn memory_bytes(&self) -> usize;
}

impl Engine {
    /// Counts these transactions from now on.
    pub(crate) fn count_transactions(&self, transactions: Weak<dyn OpenTransactions>) {
        *self.transactions.lock() = Some(transactions);
    }

    /// How many transactions are open, and the bytes of memory that they hold.
    fn transactions(&self) -> (u64, u64) {
        let manager = self.transactions.lock().as_ref().and_then(Weak::upgrade);
        manager.map_or((0, 0), |manager| (manager.active() as u64, manager.memory_bytes() as u64))
    }

    /// Takes all metrics and publishes them.
    pub(crate) fn publish_metrics(&self) -> MetricsSnapshot {
        let snapshot = self.metrics_snapshot();
        self.metrics.publish(&snapshot);
        snapshot
    }

    /// What the database consists of.
    ///
    /// # Errors
    /// Those of listing the directory.
    pub(crate) fn stats(&self) -> Result<DatabaseStats> {
        let version = self.versions.current();
        let memtable_keys: usize = version.layers().map(|layer| layer.memtable.len()).sum();
        let files = directory::list(&*self.ctx.vfs, &self.ctx.directory)?;
        let of_log = |role: &FileRole| matches!(role, FileRole::Segment { kind: SegmentKind::Wal, .. });
        let mut stats = self.catalog.read(|manifest| of_manifest(manifest, memtable_keys as u64));
        stats.size_bytes =
            files.iter().filter(|file| file.role != FileRole::Foreign).map(|file| file.len).sum();
        stats.wal_bytes = files.iter().filter(|file| of_log(&file.role)).map(|file| file.len).sum();
        stats.page_size = self.config.page_size as u64;
        stats.page_utilization = utilization(&stats, &version);
        stats.memtable_bytes = version.layers().map(|layer| layer.memtable.memory_bytes() as u64).sum();
        stats.cache_bytes = self.cache_bytes();
        stats.last_sequence = self.versions.published();
        stats.open_snapshots = self.versions.holders_of_old() as u64;
        stats.active_transactions = self.transactions().0;
        stats.encrypted = self.ctx.suite.id() != SuiteId::Checksum;
        Ok(stats)
    }

    /// Counters and measures.
    fn metrics_snapshot(&self) -> MetricsSnapshot {
        let mut snapshot = self.metrics.snapshot();
        let pages = self.caches.pages.stats();
        let hot_hits = self.caches.hot_records.as_ref().map_or(0, |records| records.stats().hits);
        snapshot.cache_hits = pages.hits + hot_hits;
        snapshot.cache_misses = pages.misses;
        snapshot.cache_evictions = pages.evictions;
        let version = self.versions.current();
        let memtables: usize = version.layers().map(|layer| layer.memtable.memory_bytes()).sum();
        let held = self.pinned.memory_bytes() + self.recent.memory_bytes();
        let (active, of_transactions) = self.transactions();
        snapshot.transactions_active = active;
        snapshot.memory_used_bytes = self.cache_bytes() + (memtables + held) as u64 + of_transactions;
        if let Ok(stats) = self.stats() {
            snapshot.storage_bytes = stats.size_bytes;
            snapshot.pages = stats.pages;
            snapshot.compression_ratio = stats.compression_ratio;
            snapshot.pending_compaction_bytes = stats.pending_compaction_bytes;
        }
        let now = self.ctx.clock.now_micros();
        self.catalog.read(|manifest| {
            snapshot.archive_lag = archive_lag(manifest, now, self.versions.published().0);
            let kept = manifest.wal.iter().filter(|info| info.is_obsolete(manifest.flushed_sequence)).count();
            snapshot.retained_log_bytes = kept as u64 * self.config.wal_segment_size;
            snapshot.log_gaps = manifest.gaps.len() as u64;
        });
        snapshot.up = !self.health.is_closed();
        snapshot.healthy = self.health_status().healthy;
        snapshot
    }

    /// What is wrong, if anything.
    pub(crate) fn health_status(&self) -> HealthStatus {
        let mut problems = Vec::new();
        let errors = [self.health.check().err(), self.health.flush_error(), self.health.merge_error()];
        problems.extend(errors.into_iter().flatten().map(|error| HealthProblem::of(&error)));
        if let Ok(Some(space)) = self.ctx.vfs.available_space(&self.ctx.directory)
            && space < LOW_SPACE_BYTES
        {
            problems.push(HealthProblem::low_space(space));
        }
        let (pending, gaps) =
            self.catalog.read(|manifest| (policy::pending_bytes(manifest), manifest.gaps.len()));
        if self.is_stalled() {
            problems.push(HealthProblem::writers_stalled(pending));
        }
        if gaps > 0 {
            problems.push(HealthProblem::log_gaps(gaps));
        }
        HealthStatus::new(problems)
    }

    fn cache_bytes(&self) -> u64 {
        let version = self.versions.current();
        let filters = version.tree.runs.iter().filter_map(|run| run.filter.as_ref());
        let filters: usize = filters.map(|filter| filter.memory_bytes()).sum();
        let records = self.caches.hot_records.as_ref().map_or(0, |records| records.stats().bytes);
        (self.caches.pages.stats().bytes + records + filters) as u64
    }
}

fn of_manifest(manifest: &Manifest, memtable_keys: u64) -> DatabaseStats {
    let keyspace = &manifest.keyspaces[0];
    let trees = || keyspace.runs.iter().map(|run| &run.tree).chain([&keyspace.base]);
    let sum = |of: fn(&TreeRef) -> u64| trees().map(of).sum::<u64>();
    let (raw, stored) = (sum(|tree| tree.raw_bytes), sum(|tree| tree.stored_bytes));
    let puts = sum(|tree| tree.entries - tree.tombstones);
    DatabaseStats {
        total_keys: (puts + memtable_keys).saturating_sub(sum(|tree| tree.tombstones)),
        live_bytes: manifest.segments.iter().map(|info| info.live_bytes).sum(),
        tree_depth: u32::from(keyspace.base.height),
        pages: manifest
            .segments
            .iter()
            .filter(|info| info.kind != SegmentKind::Value)
            .map(pages_in_use)
            .sum(),
        compression_ratio: if stored == 0 { 1.0 } else { raw as f64 / stored as f64 },
        runs: keyspace.runs.len() as u64,
        segments: manifest.segments.len() as u64,
        pending_compaction_bytes: policy::pending_bytes(manifest),
        flushed_sequence: manifest.flushed_sequence,
        named_checkpoints: manifest.checkpoints.len() as u64,
        registered_repositories: manifest.repositories.len() as u64,
        incarnation: manifest.incarnation,
        ..DatabaseStats::default()
    }
}

/// Pages are about the same size, so the live share of the bytes is that of the pages.
fn pages_in_use(info: &SegmentInfo) -> u64 {
    let pages = u128::from(info.blocks) * u128::from(info.live_bytes) / u128::from(info.stored_bytes.max(1));
    u64::try_from(pages).unwrap_or(u64::MAX)
}

fn utilization(stats: &DatabaseStats, version: &Version) -> f64 {
    let room = stats.pages.saturating_mul(stats.page_size);
    let runs = version.tree.runs.iter().map(|run| run.info.tree.raw_bytes);
    let raw: u64 = runs.chain([version.tree.base.raw_bytes]).sum();
    if room == 0 { 1.0 } else { (raw as f64 / room as f64).min(1.0) }
}

/// How old the oldest commit may be that some repository lacks.
fn archive_lag(manifest: &Manifest, now_micros: i64, last: u64) -> Duration {
    let behind = manifest.repositories.iter().filter_map(|cursor| match &cursor.archived {
        Some(end) if end.sequence.0 >= last => None,
        Some(end) => Some(end.time_micros),
        None => Some(manifest.created_micros),
    });
    let oldest = behind.min().map_or(0, |since| now_micros.saturating_sub(since));
    Duration::from_micros(u64::try_from(oldest).unwrap_or_default())
}
