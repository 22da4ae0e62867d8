//! Threads that take turns as a seed says.
//!
//! The tasks of a simulation are threads of the operating system, of which exactly one runs. Whenever it acquires or
//! releases a lock, waits, signals, starts or joins a thread, sleeps or calls [`switch_point`], a scheduler decides who
//! goes on. Time is virtual: each such step takes a little, and when nobody can go on it jumps to the next moment for
//! which somebody waits. When there is none, the tasks are in a deadlock.
//!
//! What takes part: tasks are what [`run`] began and what tasks started through [`thread`](crate::thread). A lock or
//! condition variable that tasks use is used by tasks of one simulation only. A lock that is not of this crate must not be
//! held across a step: who waits for it would really wait, and never give the turn back.
//!
//! A failure ends a run, not its threads: they wait for ever, and what they hold is never released. Who simulates much
//! does it in processes of their own.

mod random;
mod seat;
mod state;
mod task;

use std::fmt::{self, Display, Formatter};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use random::Random;
pub(crate) use state::{Place, TaskId, Wait, Woken};
pub(crate) use task::{Child, Task, in_task};
use task::{Simulation, catch_messages};

/// What a run depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// How the next task is chosen.
    pub policy: Policy,
    /// Whether tasks are slow at some places.
    pub naps: Option<Naps>,
    /// How much time a step takes.
    pub tick: Duration,
    /// A run that is longer fails.
    pub steps_max: u64,
    /// How many of the newest events a report shows. Remembering them costs time.
    pub tail: usize,
}

/// How the next task is chosen among those that can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// By lot, once in `stay` steps; in all others the same task stays.
    Random {
        /// Steps in which one moves the turn.
        stay: u32,
    },
    /// Each task has a priority, drawn when it begins, and the highest goes on. Once in `change` steps the running task
    /// gets the lowest. (After Burckhardt and others, "A randomized scheduler with probabilistic guarantees of finding
    /// bugs", 2010.)
    Priorities {
        /// Steps in which one changes a priority.
        change: u32,
    },
}

/// Some places in the source are slow: a task that comes to one may stay there while others do much. So what can only
/// happen in between two neighbouring steps happens often in some runs, instead of rarely in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naps {
    /// One place in so many is slow; the seed decides which.
    pub places: u32,
    /// A task naps there once in so many times.
    pub odds: u32,
    /// At most for so many steps of others, and only while others can go on.
    pub steps_max: u32,
}

impl Options {
    /// Policy, naps and tick drawn by `seed`; at most 20 million steps; no tail.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(!seed);
        let policy = match random.below(9) {
            0 => Policy::Priorities { change: 50 },
            1 => Policy::Priorities { change: 500 },
            2 => Policy::Priorities { change: 5000 },
            nth => Policy::Random { stay: [2, 4, 16, 64, 256, 1024][nth - 3] },
        };
        let tick = Duration::from_micros([1, 10, 100][random.below(3)]);
        let naps = (random.below(4) != 0).then(|| Naps {
            places: [4, 8, 32][random.below(3)],
            odds: [2, 8, 32][random.below(3)],
            steps_max: [100, 1000, 10_000][random.below(3)],
        });
        Self { seed, policy, naps, tick, steps_max: 20_000_000, tail: 0 }
    }
}

/// A run that came to its end: all its tasks have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<T> {
    /// What the first task returned.
    pub value: T,
    /// Steps of all tasks.
    pub steps: u64,
    /// How often the turn moved.
    pub switches: u64,
    /// Virtual time at the end.
    pub elapsed: Duration,
    /// A hash of every step, decision and note.
    pub trace: u64,
    /// The newest events, as many as were asked for.
    pub tail: Vec<String>,
}

/// A run that did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// Whose turn it was.
    pub task: String,
    /// The run's seed.
    pub seed: u64,
    /// Steps of all tasks until then.
    pub steps: u64,
    /// Virtual time.
    pub elapsed: Duration,
    /// A hash of every step, decision and note until then.
    pub trace: u64,
    /// The newest events, as many as were asked for.
    pub tail: Vec<String>,
}

/// How a run can fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// A task panicked.
    Panic {
        /// What it said, and where.
        message: String,
    },
    /// Nobody can ever go on.
    Deadlock {
        /// Who waits for what, and where.
        waiting: Vec<String>,
    },
    /// It went on for longer than it was allowed to.
    TooManySteps,
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kind, task, seed, steps, elapsed, .. } = self;
        match kind {
            FailureKind::Panic { message } => write!(f, "task {task} panicked: {message}")?,
            FailureKind::Deadlock { waiting } => write!(f, "deadlock: {}", waiting.join("; "))?,
            FailureKind::TooManySteps => write!(f, "no end in sight, in task {task}")?,
        }
        write!(f, " (schedule {seed}, {steps} steps, {:.6} s)", elapsed.as_secs_f64())?;
        self.tail.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl std::error::Error for Failure {}

/// Runs `main` and all that it starts to the end, in turns.
///
/// # Errors
/// [`Failure`]: a panic in any task, a deadlock, too many steps. Threads that had not ended wait for ever then.
///
/// # Panics
/// When the system gives no thread.
pub fn run<T: Send + 'static>(
    options: Options,
    main: impl FnOnce() -> T + Send + 'static,
) -> Result<Report<T>, Failure> {
    catch_messages();
    let simulation = Arc::new(Simulation::new(options));
    let child = Child::of(&simulation, "main");
    let seat = child.seat();
    let spawned = std::thread::Builder::new().name("main".to_owned()).spawn(move || child.run(main));
    let thread = spawned.expect("the system has a thread left");
    seat.belongs_to(thread.thread().clone());
    seat.call();
    let Report { value: (), steps, switches, elapsed, trace, tail } = simulation.wait_for_end()?;
    let value = thread.join().expect("a task that panicked would have failed the run");
    Ok(Report { value, steps, switches, elapsed, trace, tail })
}

/// Lets the scheduler decide who goes on. Does nothing outside of a simulation.
#[track_caller]
pub fn switch_point() {
    let at = Location::caller();
    in_task(|task| task.switch(at));
}

/// The time in which tasks wait: virtual in a simulation, else that since this was first asked.
#[must_use]
pub fn now() -> Duration {
    in_task(Task::now).unwrap_or_else(task::real_time)
}

/// Whether the calling thread is a task of a simulation.
#[must_use]
pub fn is_task() -> bool {
    in_task(|_| ()).is_some()
}

/// Lets time pass at once. Does nothing outside of a simulation.
pub fn advance(time: Duration) {
    in_task(|task| task.pass(time));
}

/// Makes `bytes` part of the trace. Does nothing outside of a simulation.
pub fn note(bytes: &[u8]) {
    in_task(|task| task.note(bytes));
}

#[cfg(test)]
mod tests;
