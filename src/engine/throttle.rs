//! Slowing writers down before they have to stop.
//!
//! Commits outrun flushes, or flushes outrun merges, only for so long: memory and the number of runs are bounded. A
//! writer is delayed a little when half of the room is taken, more when nearly all is, and waits when there is none.

use std::time::{Duration, Instant};

use super::Engine;
use super::flush::MAX_FROZEN;
use crate::error::Result;

/// From this many runs on, writers are slowed.
const SLOW_RUNS: usize = 20;
/// From this many on, they wait for merges.
const STOP_RUNS: usize = 40;
/// How long a waiting writer sleeps before it looks again, if nobody wakes it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Engine {
    /// Returns when there is room for a commit. One that only deletes may use the room set aside for a full disk.
    ///
    /// # Errors
    /// Why there will be none: the flush that must make it fails.
    pub(super) fn throttle(&self, only_deletes: bool) -> Result<()> {
        let mut waited = None;
        let outcome = loop {
            match self.versions.with_view(|version, _| self.pressure(version)) {
                Pressure::None => break Ok(()),
                Pressure::Slow(delay) => {
                    waited.get_or_insert_with(Instant::now);
                    std::thread::sleep(delay);
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
                // From nothing to a millisecond over the second half of the last buffer.
                let share = (active - limit / 2) * 1000 / (limit / 2 + 1);
                return Pressure::Slow(Duration::from_micros(share as u64));
            }
        }
        let runs = version.tree.runs.len();
        match runs {
            _ if !self.config.background_compaction || runs < SLOW_RUNS => Pressure::None,
            STOP_RUNS.. if self.health.merge_error().is_none() => Pressure::Stop,
            _ => Pressure::Slow(Duration::from_micros(100 * (runs - SLOW_RUNS + 1) as u64)),
        }
    }
}

enum Pressure {
    None,
    Slow(Duration),
    Stop,
}
