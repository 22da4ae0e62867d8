//! Durations in buckets that grow with them.
//!
//! A power of two of nanoseconds is divided in four, so a duration is known to one part in eight. Bucket `i` begins
//! at `i` up to 4, and at `(4 + i % 4) << (i / 4 - 1)` from there on; the last one, which begins after 15 minutes, has
//! no end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BUCKETS: usize = 160;

/// Collects durations.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
    max_nanos: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            sum_nanos: AtomicU64::new(0),
            max_nanos: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> LatencyHistogram {
        LatencyHistogram {
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_nanos: self.sum_nanos.load(Ordering::Relaxed),
            max_nanos: self.max_nanos.load(Ordering::Relaxed),
        }
    }
}

/// How long a sample of the operations took. Each duration is known to about 12%.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: Vec<u64>,
    sum_nanos: u64,
    max_nanos: u64,
}

impl LatencyHistogram {
    /// How many operations were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean duration; zero when nothing was measured.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.checked_div(self.count()).unwrap_or(0))
    }

    /// The longest duration.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_nanos)
    }

    /// The duration that a part `q` (0 to 1) of the operations did not exceed; zero when nothing was measured.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = (q.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle_of(bucket).min(self.max());
            }
        }
        Duration::ZERO
    }

    /// The buckets that grew since `earlier`, each by its middle and how much it grew.
    pub(crate) fn since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = (Duration, u64)> + 'a {
        self.counts.iter().enumerate().filter_map(|(bucket, count)| {
            let before = earlier.counts.get(bucket).copied().unwrap_or(0);
            let grown = count.saturating_sub(before);
            (grown > 0).then(|| (middle_of(bucket), grown))
        })
    }
}

fn bucket_of(nanos: u64) -> usize {
    let Some(power) = nanos.checked_ilog2().filter(|power| *power >= 2) else { return nanos as usize };
    let quarter = (nanos >> (power - 2)) & 3;
    ((power as usize - 1) * 4 + quarter as usize).min(BUCKETS - 1)
}

fn lowest_of(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, bucket as u64 % 4);
    if power == 0 { quarter } else { (4 + quarter) << (power - 1) }
}

fn middle_of(bucket: usize) -> Duration {
    Duration::from_nanos(lowest_of(bucket).midpoint(lowest_of(bucket + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_lies_between_its_bounds() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(lowest_of(bucket)), bucket);
            assert_eq!(bucket_of(lowest_of(bucket + 1) - 1), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!(lowest_of(BUCKETS - 1) > Duration::from_secs(900).as_nanos() as u64);
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let recorder = Recorder::default();
        (1..=10_000).for_each(|micros| recorder.record(Duration::from_micros(micros)));
        let seen = recorder.snapshot();
        assert_eq!(seen.count(), 10_000);
        assert_eq!(seen.max(), Duration::from_millis(10));
        assert_eq!(seen.mean(), Duration::from_nanos(5_000_500));
        for q in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let (truth, found) = (q * 10e-3, seen.quantile(q).as_secs_f64());
            assert!((found / truth - 1.0).abs() < 0.13, "quantile {q}: {found} for {truth}");
        }
        assert!(seen.quantile(1.0) <= seen.max());
        assert_eq!(LatencyHistogram::default().quantile(0.5), Duration::ZERO);
        assert_eq!(LatencyHistogram::default().mean(), Duration::ZERO);
    }

    #[test]
    fn growth_is_told_once() {
        let recorder = Recorder::default();
        recorder.record(Duration::from_nanos(100));
        let first = recorder.snapshot();
        recorder.record(Duration::from_nanos(100));
        recorder.record(Duration::MAX);
        let second = recorder.snapshot();
        assert_eq!(first.since(&LatencyHistogram::default()).map(|(_, count)| count).sum::<u64>(), 1);
        assert_eq!(second.since(&first).map(|(_, count)| count).collect::<Vec<_>>(), [1, 1]);
    }
}
