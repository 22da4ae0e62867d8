//! Publication through the `metrics` facade: whatever recorder the application has installed takes it from there.

use lightning_db_sync::Mutex;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::histogram::LatencyHistogram;
use super::metrics::MetricsSnapshot;

/// Publishes snapshots. Counters are set to their absolute value; a histogram gets what came since the last time.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    published: Mutex<[LatencyHistogram; 3]>,
}

impl Publisher {
    pub(crate) fn publish(&self, seen: &MetricsSnapshot) {
        describe();
        counters(seen);
        gauges(seen);
        let kinds =
            [("read", &seen.read_latency), ("write", &seen.write_latency), ("delete", &seen.delete_latency)];
        for ((kind, now), before) in kinds.into_iter().zip(self.published.lock().iter_mut()) {
            let histogram = histogram!("lightning_db_operation_duration_seconds", "type" => kind);
            for (duration, count) in now.since(before) {
                histogram.record_many(duration.as_secs_f64(), usize::try_from(count).unwrap_or(usize::MAX));
            }
            before.clone_from(now);
        }
    }
}

fn counters(seen: &MetricsSnapshot) {
    counter!("lightning_db_operations_total", "type" => "read").absolute(seen.reads);
    counter!("lightning_db_operations_total", "type" => "write").absolute(seen.writes);
    counter!("lightning_db_operations_total", "type" => "delete").absolute(seen.deletes);
    counter!("lightning_db_transactions_committed_total").absolute(seen.transactions_committed);
    counter!("lightning_db_transactions_aborted_total").absolute(seen.transactions_aborted);
    counter!("lightning_db_cache_hits_total").absolute(seen.cache_hits);
    counter!("lightning_db_cache_misses_total").absolute(seen.cache_misses);
    counter!("lightning_db_cache_evictions_total").absolute(seen.cache_evictions);
    counter!("lightning_db_flushes_total").absolute(seen.flushes);
    counter!("lightning_db_merges_total").absolute(seen.merges);
    counter!("lightning_db_wal_bytes_total").absolute(seen.wal_bytes);
    counter!("lightning_db_wal_syncs_total").absolute(seen.wal_syncs);
}

fn gauges(seen: &MetricsSnapshot) {
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    gauge!("lightning_db_transactions_active").set(seen.transactions_active as f64);
    gauge!("lightning_db_storage_bytes").set(seen.storage_bytes as f64);
    gauge!("lightning_db_pages_total").set(seen.pages as f64);
    gauge!("lightning_db_compression_ratio").set(seen.compression_ratio);
    gauge!("lightning_db_up").set(flag(seen.up));
    gauge!("lightning_db_healthy").set(flag(seen.healthy));
    gauge!("lightning_db_memory_used_bytes").set(seen.memory_used_bytes as f64);
    gauge!("lightning_db_pending_compaction_bytes").set(seen.pending_compaction_bytes as f64);
    gauge!("lightning_db_write_stall_seconds").set(seen.write_stall.as_secs_f64());
    gauge!("lightning_db_archive_lag_seconds").set(seen.archive_lag.as_secs_f64());
    gauge!("lightning_db_retained_log_bytes").set(seen.retained_log_bytes as f64);
    gauge!("lightning_db_log_gaps").set(seen.log_gaps as f64);
}

/// Done each time, because the application can install its recorder at any time.
fn describe() {
    describe_counter!("lightning_db_operations_total", "Keys read, written and deleted");
    let sampled = "Durations of a sample of the operations";
    describe_histogram!("lightning_db_operation_duration_seconds", Unit::Seconds, sampled);
    describe_gauge!("lightning_db_transactions_active", "Open transactions");
    describe_counter!("lightning_db_transactions_committed_total", "Committed transactions");
    describe_counter!("lightning_db_transactions_aborted_total", "Aborted transactions");
    describe_counter!("lightning_db_cache_hits_total", "Reads answered from memory");
    describe_counter!("lightning_db_cache_misses_total", "Page reads that went to a file");
    describe_counter!("lightning_db_cache_evictions_total", "Pages that gave way to others");
    describe_gauge!("lightning_db_storage_bytes", Unit::Bytes, "Length of all files");
    describe_gauge!("lightning_db_pages_total", "Pages in use");
    describe_gauge!("lightning_db_compression_ratio", "Page bytes before compression by those after");
    describe_gauge!("lightning_db_up", "1 while the database is open");
    describe_gauge!("lightning_db_healthy", "1 while the health check finds nothing");
    describe_gauge!("lightning_db_memory_used_bytes", Unit::Bytes, "Memory held by the database");
    describe_gauge!("lightning_db_pending_compaction_bytes", Unit::Bytes, "Bytes that wait to be merged");
    describe_gauge!("lightning_db_write_stall_seconds", Unit::Seconds, "How long writers were held back");
    describe_counter!("lightning_db_flushes_total", "Write buffers that became files");
    describe_counter!("lightning_db_merges_total", "Merges of files");
    describe_counter!("lightning_db_wal_bytes_total", Unit::Bytes, "Bytes written to the log");
    describe_counter!("lightning_db_wal_syncs_total", "Syncs of the log");
    let lag = "Age of the oldest commit that a backup repository lacks";
    describe_gauge!("lightning_db_archive_lag_seconds", Unit::Seconds, lag);
    describe_gauge!("lightning_db_retained_log_bytes", Unit::Bytes, "Log kept for backup repositories");
    describe_gauge!("lightning_db_log_gaps", "Intervals of history that cannot be restored");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use lightning_db_storage::clock::ManualClock;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::super::metrics::{Metrics, Operation};
    use super::*;

    type Published = BTreeMap<String, (DebugValue, bool)>;

    fn publish(metrics: &Metrics, change: impl FnOnce(&mut MetricsSnapshot)) -> Published {
        let recorder = DebuggingRecorder::new();
        let mut snapshot = metrics.snapshot();
        change(&mut snapshot);
        ::metrics::with_local_recorder(&recorder, || metrics.publish(&snapshot));
        let published = recorder.snapshotter().snapshot().into_vec().into_iter();
        let named = published.map(|(key, _, description, value)| {
            let labels = key.key().labels().map(|label| format!("{{{}={}}}", label.key(), label.value()));
            let name = format!("{}{}", key.key().name(), labels.collect::<String>());
            (name, (value, description.is_some()))
        });
        named.collect()
    }

    fn measured() -> Metrics {
        let clock = ManualClock::new(0);
        let metrics = Metrics::new(Arc::new(clock.clone()), true);
        for operation in [Operation::Read, Operation::Write, Operation::Delete] {
            let timer = metrics.start(operation);
            clock.advance(Duration::from_micros(8));
            drop(timer);
        }
        metrics
    }

    #[test]
    fn every_documented_name_is_published_and_described() {
        let published = publish(&measured(), |seen| seen.up = true);
        for name in [
            "lightning_db_operations_total{type=read}",
            "lightning_db_operations_total{type=write}",
            "lightning_db_operations_total{type=delete}",
            "lightning_db_operation_duration_seconds{type=read}",
            "lightning_db_operation_duration_seconds{type=write}",
            "lightning_db_operation_duration_seconds{type=delete}",
            "lightning_db_transactions_active",
            "lightning_db_transactions_committed_total",
            "lightning_db_transactions_aborted_total",
            "lightning_db_cache_hits_total",
            "lightning_db_cache_misses_total",
            "lightning_db_cache_evictions_total",
            "lightning_db_storage_bytes",
            "lightning_db_pages_total",
            "lightning_db_compression_ratio",
            "lightning_db_up",
            "lightning_db_healthy",
        ] {
            assert!(published.contains_key(name), "{name} is not published");
        }
        assert!(published.iter().all(|(_, (_, described))| *described));
        assert_eq!(published["lightning_db_operations_total{type=read}"].0, DebugValue::Counter(1));
        assert_eq!(published["lightning_db_up"].0, DebugValue::Gauge(1.0.into()));
        assert_eq!(published["lightning_db_healthy"].0, DebugValue::Gauge(0.0.into()));
    }

    #[test]
    fn what_the_snapshot_documents_is_what_is_published() {
        let text = include_str!("metrics.rs");
        let documented = text.lines().filter_map(|line| line.trim().strip_prefix("///"));
        let names =
            documented.filter_map(|line| line.split('`').find(|part| part.starts_with("lightning_db_")));
        let names: Vec<String> = names.map(|name| name.replace('"', "")).collect();
        let published = publish(&measured(), |_| {});
        assert_eq!(names.len(), published.len());
        assert!(names.iter().all(|name| published.contains_key(name)), "{names:?}");
    }

    #[test]
    fn a_duration_is_published_once_and_a_count_as_it_stands() {
        let metrics = measured();
        let name = "lightning_db_operation_duration_seconds{type=read}";
        let published = publish(&metrics, |_| {});
        let DebugValue::Histogram(first) = &published[name].0 else { panic!("no histogram") };
        assert_eq!(first.len(), 1);
        assert!((first[0].into_inner() - 8e-6).abs() < 1e-6);
        let again = publish(&metrics, |_| {});
        assert_eq!(again[name].0, DebugValue::Histogram(Vec::new()));
        assert_eq!(again["lightning_db_operations_total{type=read}"].0, DebugValue::Counter(1));
    }

    #[test]
    fn turned_off_it_publishes_nothing() {
        let metrics = Metrics::new(Arc::new(ManualClock::new(0)), false);
        assert!(publish(&metrics, |_| {}).is_empty());
    }
}
