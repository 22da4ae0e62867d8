//! Slowing writers down before they have to stop.
//!
//! Commits outrun flushes, or flushes outrun merges, only for so long: memory and the number of runs are bounded. A
//! writer is delayed a little when half of the room is taken, more when nearly all is, and waits when there is none.
//!
//! The delay is for the bytes that are written, not for the commit, so that small commits pay little. What is owed adds up
//! until it is long enough to sleep for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lightning_db_sync::{Instant, thread};

use super::Engine;
use super::flush::MAX_FROZEN;
use super::op::Op;
use crate::error::Result;

/// From this many runs on, writers are slowed.
const SLOW_RUNS: usize = 20;
/// From this many on, they wait for merges.
const STOP_RUNS: usize = 40;
/// The delay at [`SLOW_RUNS`], for each byte: about 60 MB a second. Each run more adds half as much again.
const RUN_DELAY_NANOS: u64 = 16;
/// The delay when the last write buffer is full, for each byte: about 10 MB a second.
const BUFFER_DELAY_NANOS: u64 = 100;
/// What a commit counts beside its keys and values.
const COMMIT_BYTES: u64 = 64;
/// A commit is delayed by at most this long at a time.
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// Less than this is not slept for by itself.
const SLEEP_NANOS: u64 = 1_000_000;
/// How long a waiting writer sleeps before it looks again, if nobody wakes it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Delays that writers owe, nanoseconds.
#[derive(Default)]
pub(super) struct Owed(AtomicU64);

impl Owed {
    /// Adds to what is owed. Returns how long to sleep now.
    fn add(&self, nanos: u64) -> Option<Duration> {
        let owed = self.0.fetch_add(nanos, Ordering::Relaxed).saturating_add(nanos);
        if owed < SLEEP_NANOS {
            return None;
        }
        Some(Duration::from_nanos(self.0.swap(0, Ordering::Relaxed)))
    }
}

impl Engine {
    /// Returns when there is room for a commit. One that only deletes may use the room set aside for a full disk.
    ///
    /// # Errors
    /// Why there will be none: the flush that must make it fails.
    pub(super) fn throttle(&self, ops: &[Op<'_>]) -> Result<()> {
        let only_deletes = ops.iter().all(|op| op.value.is_none());
        let mut waited = None;
        let outcome = loop {
            match self.versions.with_view(|version, _| self.pressure(version)) {
                Pressure::None => break Ok(()),
                Pressure::Slow { nanos_per_byte } => {
                    let bytes: u64 = ops.iter().map(|op| op.key.len() as u64 + op.value_len()).sum();
                    let owed = bytes.saturating_add(COMMIT_BYTES).saturating_mul(nanos_per_byte);
                    if let Some(delay) = self.owed.add(owed) {
                        waited.get_or_insert_with(Instant::now);
                        thread::sleep(delay.min(LONGEST_DELAY));
                    }
                    break Ok(());
                }
                Pressure::Stop => {
                    waited.get_or_insert_with(Instant::now);
                    if let Err(error) = self.wait_for_room(only_deletes) {
                        break Err(error);
                    }
                }
            }
        };
        if let Some(since) = waited {
            let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.metrics.stall_micros.add(micros);
        }
        outcome
    }

    fn wait_for_room(&self, only_deletes: bool) -> Result<()> {
        self.health.check()?;
        if self.health.flush_error().is_some() {
            // The newest attempt failed: this one says whether it still does.
            return self.flush_frozen(only_deletes);
        }
        self.signals.wake_flush();
        self.signals.wait_for_room(LOOK_AGAIN);
        Ok(())
    }

    /// Whether a writer that came now would have to wait.
    pub(super) fn is_stalled(&self) -> bool {
        self.versions.with_view(|version, _| matches!(self.pressure(version), Pressure::Stop))
    }

    fn pressure(&self, version: &super::Version) -> Pressure {
        let limit = self.config.write_buffer_size;
        let active = version.active.memtable.memory_bytes();
        if version.frozen.len() >= MAX_FROZEN {
            if active >= limit {
                return Pressure::Stop;
            }
            if active > limit / 2 {
                let taken = (active - limit / 2) as u64;
                return Pressure::Slow {
                    nanos_per_byte: BUFFER_DELAY_NANOS * taken / (limit as u64 / 2 + 1),
                };
            }
        }
        let runs = version.tree.runs.len();
        match runs {
            _ if !self.config.background_compaction || runs < SLOW_RUNS => Pressure::None,
            STOP_RUNS.. if self.health.merge_error().is_none() => Pressure::Stop,
            _ => {
                let more = (runs - SLOW_RUNS).min(STOP_RUNS) as u64;
                Pressure::Slow { nanos_per_byte: RUN_DELAY_NANOS * (2 + more) / 2 }
            }
        }
    }
}

enum Pressure {
    None,
    Slow { nanos_per_byte: u64 },
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_delays_add_up_and_nothing_is_owed_twice() {
        let owed = Owed::default();
        assert_eq!(owed.add(SLEEP_NANOS - 10), None);
        assert_eq!(owed.add(9), None);
        assert_eq!(owed.add(1), Some(Duration::from_nanos(SLEEP_NANOS)));
        assert_eq!(owed.add(5), None);
        assert_eq!(owed.add(3 * SLEEP_NANOS), Some(Duration::from_nanos(3 * SLEEP_NANOS + 5)));
    }
}
