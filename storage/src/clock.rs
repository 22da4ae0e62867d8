//! The one place from which the database learns what time it is.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Wall time and elapsed time.
///
/// Wall time may step in either direction at any moment; only
/// [`monotonic`](Clock::monotonic) may be used to measure how long something took.
pub trait Clock: Send + Sync + Debug {
    /// Wall time in microseconds since 1970-01-01T00:00:00Z; negative before it.
    fn now_micros(&self) -> i64;

    /// Time since an arbitrary fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clock of the operating system.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam through which wall time comes in")]
    fn now_micros(&self) -> i64 {
        signed_micros(SystemTime::now())
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when it is told to. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    time: Arc<Mutex<ManualTime>>,
}

#[derive(Debug, Default)]
struct ManualTime {
    wall_micros: i64,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that shows `wall_micros` (microseconds since 1970) and a monotonic time of zero.
    #[must_use]
    pub fn new(wall_micros: i64) -> Self {
        let time = ManualTime { wall_micros, monotonic: Duration::ZERO };
        Self { time: Arc::new(Mutex::new(time)) }
    }

    /// Steps the wall time, forwards or back. The monotonic time stays.
    pub fn set(&self, wall_micros: i64) {
        self.time.lock().wall_micros = wall_micros;
    }

    /// Lets `by` pass: both times move.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time.lock();
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        time.wall_micros = time.wall_micros.saturating_add(micros);
        time.monotonic = time.monotonic.saturating_add(by);
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.time.lock().wall_micros
    }

    fn monotonic(&self) -> Duration {
        self.time.lock().monotonic
    }
}

fn signed_micros(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_leaves_elapsed_time_alone() {
        let clock = ManualClock::new(5_000_000);
        let twin = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(twin.now_micros(), 7_000_000);
        clock.set(-1);
        assert_eq!(twin.now_micros(), -1);
        assert_eq!(twin.monotonic(), Duration::from_secs(2));
    }

    #[test]
    fn the_system_clock_runs_forward_from_zero() {
        let clock = SystemClock::new();
        let first = clock.monotonic();
        assert!(first < Duration::from_secs(60));
        assert!(clock.monotonic() >= first);
        // 2020-01-01: nothing here was built before.
        assert!(clock.now_micros() > 1_577_836_800_000_000);
    }

    #[test]
    fn moments_before_1970_are_negative() {
        assert_eq!(signed_micros(UNIX_EPOCH), 0);
        assert_eq!(signed_micros(UNIX_EPOCH - Duration::from_millis(3)), -3_000);
    }
}
