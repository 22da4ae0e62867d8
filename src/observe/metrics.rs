//! The counters of one open database.
//!
//! Counting costs an uncontended addition. Looking at the clock twice would cost more than a read from the cache, so
//! durations are measured for one operation in [`SAMPLE`] of each kind and thread shard, the first one included.

use std::sync::Arc;
use std::time::Duration;

use lightning_db_storage::clock::Clock;

use super::counter::Counter;
use super::histogram::{LatencyHistogram, Recorder};
use super::publish::Publisher;

/// One operation in this many is measured. A prime, so that a loop over a round number of keys does not have the same
/// key measured each time.
const SAMPLE: u64 = 61;

/// What is counted and measured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Delete,
}

/// Counters since the database was opened. The engine adds to them as things happen.
#[derive(Debug)]
pub(crate) struct Metrics {
    clock: Arc<dyn Clock>,
    enabled: bool,
    operations: [Measured; 3],
    publisher: Publisher,
    pub(crate) transactions_committed: Counter,
    pub(crate) transactions_aborted: Counter,
    /// Bytes that went to the log.
    pub(crate) wal_bytes: Counter,
    pub(crate) wal_syncs: Counter,
    /// Memtables that became files.
    pub(crate) flushes: Counter,
    pub(crate) merges: Counter,
    /// How long writers were held back, all together.
    pub(crate) stall_micros: Counter,
}

#[derive(Debug, Default)]
struct Measured {
    count: Counter,
    durations: Recorder,
}

/// Measures an operation from its creation until it is dropped, if it is one of the sample.
#[must_use = "the operation is measured until this is dropped"]
pub(crate) struct Timer<'a>(Option<Running<'a>>);

struct Running<'a> {
    clock: &'a dyn Clock,
    durations: &'a Recorder,
    started: Duration,
    operations: u32,
}

impl Metrics {
    /// With `enabled` false, counts, but measures and publishes nothing.
    pub(crate) fn new(clock: Arc<dyn Clock>, enabled: bool) -> Self {
        Self {
            clock,
            enabled,
            operations: Default::default(),
            publisher: Publisher::default(),
            transactions_committed: Counter::default(),
            transactions_aborted: Counter::default(),
            wal_bytes: Counter::default(),
            wal_syncs: Counter::default(),
            flushes: Counter::default(),
            merges: Counter::default(),
            stall_micros: Counter::default(),
        }
    }

    /// Counts one operation.
    pub(crate) fn start(&self, operation: Operation) -> Timer<'_> {
        self.start_many(operation, 1)
    }

    /// Counts `count` operations that are done together; each takes its share of the time.
    pub(crate) fn start_many(&self, operation: Operation, count: usize) -> Timer<'_> {
        let Measured { count: counter, durations } = &self.operations[operation as usize];
        let before = counter.add(count as u64);
        if !self.enabled || !samples(before, count as u64) {
            return Timer(None);
        }
        Timer(Some(Running {
            clock: &*self.clock,
            durations,
            started: self.clock.monotonic(),
            operations: u32::try_from(count).unwrap_or(u32::MAX),
        }))
    }

    /// The counters and durations. What the engine knows (sizes, caches, health) is left at zero, for it to fill in.
    pub(crate) fn snapshot(&self) -> MetricsSnapshot {
        let [reads, writes, deletes] = &self.operations;
        MetricsSnapshot {
            reads: reads.count.get(),
            writes: writes.count.get(),
            deletes: deletes.count.get(),
            read_latency: reads.durations.snapshot(),
            write_latency: writes.durations.snapshot(),
            delete_latency: deletes.durations.snapshot(),
            transactions_committed: self.transactions_committed.get(),
            transactions_aborted: self.transactions_aborted.get(),
            wal_bytes: self.wal_bytes.get(),
            wal_syncs: self.wal_syncs.get(),
            flushes: self.flushes.get(),
            merges: self.merges.get(),
            write_stall: Duration::from_micros(self.stall_micros.get()),
            ..MetricsSnapshot::default()
        }
    }

    /// Hands a complete snapshot to the `metrics` facade. Called for each `get_metrics`, after each background
    /// interval, and when the database closes.
    pub(crate) fn publish(&self, snapshot: &MetricsSnapshot) {
        if self.enabled {
            self.publisher.publish(snapshot);
        }
    }
}

/// Whether one of the operations numbered from `before` on, `count` of them, is a multiple of [`SAMPLE`].
fn samples(before: u64, count: u64) -> bool {
    let passed = before % SAMPLE;
    let until_next = if passed == 0 { 0 } else { SAMPLE - passed };
    until_next < count
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if let Some(running) = &self.0 {
            let took = running.clock.monotonic().saturating_sub(running.started);
            running.durations.record(took / running.operations);
        }
    }
}

/// What a database counted since it was opened, and what it measures now.
///
/// The same figures are published through the `metrics` facade under the names given here, when
/// [`metrics_enabled`](crate::LightningDbConfig::metrics_enabled) is set: for each call of `get_metrics`, and after
/// each [`compaction_interval`](crate::LightningDbConfig::compaction_interval). The names are one set for a process:
/// where it has several databases open, read their snapshots.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// Keys read. `lightning_db_operations_total{type="read"}`
    pub reads: u64,
    /// Keys written. `lightning_db_operations_total{type="write"}`
    pub writes: u64,
    /// Keys deleted. `lightning_db_operations_total{type="delete"}`
    pub deletes: u64,
    /// Durations of a sample of the reads. `lightning_db_operation_duration_seconds{type="read"}`
    pub read_latency: LatencyHistogram,
    /// Durations of a sample of the writes. `lightning_db_operation_duration_seconds{type="write"}`
    pub write_latency: LatencyHistogram,
    /// Durations of a sample of the deletions. `lightning_db_operation_duration_seconds{type="delete"}`
    pub delete_latency: LatencyHistogram,

    /// Transactions that are open. `lightning_db_transactions_active`
    pub transactions_active: u64,
    /// Transactions that were committed. `lightning_db_transactions_committed_total`
    pub transactions_committed: u64,
    /// Transactions that were aborted, for whatever reason. `lightning_db_transactions_aborted_total`
    pub transactions_aborted: u64,

    /// Reads of a record or a page that found it in memory. `lightning_db_cache_hits_total`
    pub cache_hits: u64,
    /// Reads of a page that had to go to a file. `lightning_db_cache_misses_total`
    pub cache_misses: u64,
    /// Pages that gave way to others. `lightning_db_cache_evictions_total`
    pub cache_evictions: u64,
    /// Memory that the database holds: caches, write buffers, transactions. `lightning_db_memory_used_bytes`
    pub memory_used_bytes: u64,

    /// Length of all files of the database. `lightning_db_storage_bytes`
    pub storage_bytes: u64,
    /// Pages in use. `lightning_db_pages_total`
    pub pages: u64,
    /// Bytes of pages before compression, divided by those after it. `lightning_db_compression_ratio`
    pub compression_ratio: f64,
    /// Bytes that wait to be merged. `lightning_db_pending_compaction_bytes`
    pub pending_compaction_bytes: u64,
    /// Write buffers that became files. `lightning_db_flushes_total`
    pub flushes: u64,
    /// Merges of files. `lightning_db_merges_total`
    pub merges: u64,
    /// How long writers were held back, all together, until merges caught up. `lightning_db_write_stall_seconds`
    pub write_stall: Duration,

    /// Bytes written to the log. `lightning_db_wal_bytes_total`
    pub wal_bytes: u64,
    /// Syncs of the log. `lightning_db_wal_syncs_total`
    pub wal_syncs: u64,
    /// Age of the oldest commit that a registered backup repository lacks; zero when it has all, or none is
    /// registered. `lightning_db_archive_lag_seconds`
    pub archive_lag: Duration,
    /// Log that is kept only for backup repositories. `lightning_db_retained_log_bytes`
    pub retained_log_bytes: u64,
    /// Intervals of history that cannot be restored because their log was given up or never written.
    /// `lightning_db_log_gaps`
    pub log_gaps: u64,

    /// Whether the database is open. `lightning_db_up`
    pub up: bool,
    /// Whether `health_check` finds nothing. `lightning_db_healthy`
    pub healthy: bool,
}

#[cfg(test)]
mod tests {
    use lightning_db_storage::clock::ManualClock;

    use super::*;

    #[test]
    fn everything_is_counted_and_a_sample_is_measured() {
        let clock = ManualClock::new(0);
        let metrics = Metrics::new(Arc::new(clock.clone()), true);
        for _ in 0..2 * SAMPLE {
            let timer = metrics.start(Operation::Read);
            clock.advance(Duration::from_micros(5));
            drop(timer);
        }
        let timer = metrics.start_many(Operation::Write, 1000);
        clock.advance(Duration::from_millis(2));
        drop(timer);
        metrics.transactions_committed.add(1);
        metrics.stall_micros.add(7);

        let seen = metrics.snapshot();
        assert_eq!((seen.reads, seen.writes, seen.deletes), (2 * SAMPLE, 1000, 0));
        assert_eq!((seen.read_latency.count(), seen.read_latency.mean()), (2, Duration::from_micros(5)));
        assert_eq!((seen.write_latency.count(), seen.write_latency.mean()), (1, Duration::from_micros(2)));
        assert_eq!(seen.delete_latency.count(), 0);
        assert_eq!((seen.transactions_committed, seen.write_stall), (1, Duration::from_micros(7)));
    }

    #[test]
    fn turned_off_it_counts_and_does_not_measure() {
        let metrics = Metrics::new(Arc::new(ManualClock::new(0)), false);
        drop(metrics.start(Operation::Delete));
        let seen = metrics.snapshot();
        assert_eq!((seen.deletes, seen.delete_latency.count()), (1, 0));
    }

    #[test]
    fn the_sample_is_one_in_so_many_however_they_come() {
        assert!(samples(0, 1) && !samples(1, 1) && samples(SAMPLE, 1));
        assert!(!samples(1, SAMPLE - 1) && samples(1, SAMPLE) && !samples(0, 0));
        assert!(!samples(u64::MAX, 1) || u64::MAX.is_multiple_of(SAMPLE));
        let taken = (0..100 * SAMPLE).step_by(10).filter(|before| samples(*before, 10)).count();
        assert_eq!(taken, 100);
    }
}
