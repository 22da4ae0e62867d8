//! A count that many threads add to without waiting for each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const SHARDS: usize = 8;

/// Alone on its cache lines (two, because processors fetch them in pairs), so that adding to one does not slow down
/// adding to its neighbour.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// Only grows. Each thread adds to one of a few shards; the value is their sum.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    shards: [Padded; SHARDS],
}

impl Counter {
    /// Adds, and returns what this thread's shard held before.
    pub(crate) fn add(&self, count: u64) -> u64 {
        let shard = SHARD.with(|shard| *shard);
        self.shards[shard % SHARDS].0.fetch_add(count, Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.0.load(Ordering::Relaxed)))
    }
}

thread_local! {
    /// Threads take shards in turn.
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_among_threads() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| _ = counter.add(3)));
            }
        });
        assert_eq!(counter.get(), 2 * SHARDS as u64 * 3000);
    }
}
