//! A loop that is timed: how many operations, how long each, how steadily.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Latency, Reading};
use crate::Result;

/// The time that one number of a series stands for.
const WINDOW: Duration = Duration::from_millis(100);

/// Steps that take longer count as this long, an hour: none does.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Gaps longer than this are stalls.
const STALL: Duration = Duration::from_millis(10);

/// When a loop ends: after so many steps or so much time, whichever is first.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Steps at most.
    pub steps: u64,
    /// Seconds at most.
    pub seconds: f64,
}

/// Which steps are timed: one in so many. Two looks at the clock cost as much as a read from a cache.
#[derive(Clone, Copy, Debug)]
pub struct Every(pub u64);

/// What a loop gave.
#[derive(Clone, Debug)]
pub struct Run {
    /// Operations that were done; a step can be several.
    pub operations: u64,
    /// How long all of it took.
    pub seconds: f64,
    /// Nanoseconds of the steps that were timed, by the kind of step.
    pub latencies: Vec<(&'static str, Histogram<u64>)>,
    /// Processor time of the whole process meanwhile, background threads included.
    pub processor_seconds: f64,
    /// The longest time in which less than one timed step ended.
    pub gap_max: Duration,
    /// How many such times were longer than 10 ms.
    pub stalls: u64,
    /// Operations in each window.
    pub windows: Vec<u64>,
    /// Whether the time was over before the steps were.
    pub ran_out_of_time: bool,
}

impl Run {
    /// Does `step` until the limit; it is given its number, and returns how many operations it was, and of which of
    /// `kinds`.
    ///
    /// # Errors
    /// The first error of a step.
    pub fn measure(
        limit: Limit,
        every: Every,
        kinds: &[&'static str],
        mut step: impl FnMut(u64) -> Result<(u64, usize)>,
    ) -> Result<Self> {
        let mut latencies = Vec::new();
        for kind in kinds {
            latencies.push((*kind, Histogram::new_with_max(LONGEST_NS, 3)?));
        }
        let mut run = Self {
            operations: 0,
            seconds: 0.0,
            latencies,
            processor_seconds: 0.0,
            gap_max: Duration::ZERO,
            stalls: 0,
            windows: Vec::new(),
            ran_out_of_time: false,
        };
        let processor_before = processor_seconds();
        let (began, mut number) = (Instant::now(), 0);
        let mut before = began;
        while number < limit.steps {
            let start = if every.0 == 1 { before } else { Instant::now() };
            let (operations, kind) = step(number)?;
            let now = Instant::now();
            run.latencies[kind].1.saturating_record((now - start).as_nanos() as u64);
            run.operations += operations;
            let mut counted = operations;
            for next in number + 1..(number + every.0).min(limit.steps) {
                let (operations, _) = step(next)?;
                counted += operations;
            }
            run.operations += counted - operations;
            number += every.0;
            run.note(began, before, now, counted);
            before = now;
            if (now - began).as_secs_f64() >= limit.seconds {
                run.ran_out_of_time = number < limit.steps;
                break;
            }
        }
        run.seconds = began.elapsed().as_secs_f64();
        run.processor_seconds = processor_seconds() - processor_before;
        Ok(run)
    }

    fn note(&mut self, began: Instant, before: Instant, now: Instant, operations: u64) {
        let gap = now - before;
        if gap > self.gap_max {
            self.gap_max = gap;
        }
        self.stalls += u64::from(gap > STALL);
        let window = ((now - began).as_millis() / WINDOW.as_millis()) as usize;
        if window >= self.windows.len() {
            self.windows.resize(window + 1, 0);
        }
        self.windows[window] += operations;
    }

    /// Operations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }

    /// Adds what another thread did at the same time.
    ///
    /// # Errors
    /// Never, of runs with the same kinds.
    pub fn join(&mut self, other: &Self) -> Result<()> {
        self.operations += other.operations;
        self.seconds = self.seconds.max(other.seconds);
        self.processor_seconds = self.processor_seconds.max(other.processor_seconds);
        for ((_, mine), (_, others)) in self.latencies.iter_mut().zip(&other.latencies) {
            mine.add(others)?;
        }
        self.gap_max = self.gap_max.max(other.gap_max);
        self.stalls += other.stalls;
        self.windows.resize(self.windows.len().max(other.windows.len()), 0);
        for (mine, others) in self.windows.iter_mut().zip(&other.windows) {
            *mine += others;
        }
        self.ran_out_of_time |= other.ran_out_of_time;
        Ok(())
    }

    /// As a reading in operations a second.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let mut reading = Reading::of(self.rate())
            .with("operations", self.operations as f64)
            .with("processor_ns_each", self.processor_seconds * 1e9 / self.operations.max(1) as f64)
            .with("gap_max_ms", self.gap_max.as_secs_f64() * 1e3)
            .with("stalls_over_10_ms", self.stalls as f64);
        for (kind, histogram) in self.latencies.iter().filter(|(_, histogram)| !histogram.is_empty()) {
            let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64;
            let latency = Latency {
                p50: at(0.5),
                p99: at(0.99),
                p999: at(0.999),
                p9999: at(0.9999),
                max: histogram.max() as f64,
            };
            reading.latencies.insert((*kind).to_owned(), latency);
        }
        // The last window is not whole.
        let whole = self.windows.len().saturating_sub(1);
        reading.series = self.windows[..whole].iter().map(|&n| n as f64 / WINDOW.as_secs_f64()).collect();
        reading
    }
}

fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs `work` in several threads at once, and adds up what they did.
///
/// # Errors
/// The first error of a thread.
pub fn in_threads(threads: u64, work: impl Fn(u64) -> Result<Run> + Sync) -> Result<Run> {
    if threads == 1 {
        return work(0);
    }
    let runs: Vec<Result<Run>> = std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Run>>| {
            thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
        };
        running.into_iter().map(join).collect()
    });
    let mut runs = runs.into_iter().collect::<Result<Vec<Run>>>()?.into_iter();
    let mut all = runs.next().ok_or("no threads")?;
    for run in runs {
        all.join(&run)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_and_one_in_some_is_timed() -> Result<()> {
        let limit = Limit { steps: 100, seconds: 60.0 };
        let run = in_threads(2, |_| {
            Run::measure(limit, Every(8), &["a", "b"], |number| Ok((2, (number % 16 / 8) as usize)))
        })?;
        assert_eq!((run.operations, run.ran_out_of_time), (400, false));
        assert_eq!((run.latencies[0].1.len(), run.latencies[1].1.len()), (14, 12));
        let slow = Run::measure(Limit { steps: 3, seconds: 60.0 }, Every(1), &["a"], |_| {
            std::thread::sleep(Duration::from_millis(2));
            Ok((1, 0))
        })?;
        assert!(slow.reading().latencies["a"].p50 >= 2e6 && slow.gap_max >= Duration::from_millis(2));
        let short = Run::measure(Limit { steps: u64::MAX, seconds: 0.01 }, Every(1), &["a"], |_| Ok((1, 0)))?;
        assert!(short.ran_out_of_time && short.seconds < 1.0);
        Ok(())
    }
}
